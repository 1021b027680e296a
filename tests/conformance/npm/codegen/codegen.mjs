// Settings of @graphql-codegen/cli; SCHEMA is the gateway's address, or a file.
const Text = 'string';
const Whole = 'number';

export default {
  schema: process.env.SCHEMA,
  documents: ['operations.ts'],
  generates: {
    './generated/': {
      preset: 'client',
      presetConfig: { fragmentMasking: { unmaskFunctionName: 'useFragment' } },
      config: {
        strictScalars: true,
        useTypeImports: true,
        enumsAsTypes: true,
        scalars: { Sats: Whole, Long: Whole, DateTime: Text, Upload: 'File' },
      },
    },
  },
};
