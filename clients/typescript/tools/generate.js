// Makes src/generated.ts and dist/trusted-documents.json out of the gateway's schema, every code that errors have, and operations/.
//
// Types are graphql-codegen's. Documents are text with the hash the gateway knows them by, so that nothing of GraphQL's
// parser is loaded by who uses the package.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codegen } from "@graphql-codegen/core";
import * as operationTypes from "@graphql-codegen/typescript-operations";
import { Kind, buildSchema, parse, print, stripIgnoredCharacters, validate, visit } from "graphql";

const PACKAGE = join(import.meta.dirname, "..");
const REPOSITORY = join(PACKAGE, "..", "..");
/** A scalar that is not here stops the build. */
const SCALARS = { ID: "string", Sats: "Sats", Long: "number", DateTime: "DateTime", Upload: "Blob" };
/** Those of Apollo Federation are the router's business. */
const FEDERATION_SCALARS = /^(_Any|federation__\w+)$/;

const read = (...path) => readFileSync(join(...path), "utf8");

/** Every operation with the fragments it needs, in the order of their files. Throws when one does not fit the schema. */
function operationsOf(schema, document) {
  const problems = validate(schema, document);
  if (problems.length > 0) throw new Error(`operations/ does not fit the schema:\n${problems.join("\n\n")}`);
  const fragments = new Map(
    document.definitions.filter((one) => one.kind === Kind.FRAGMENT_DEFINITION).map((one) => [one.name.value, one]),
  );
  return document.definitions
    .filter((one) => one.kind === Kind.OPERATION_DEFINITION)
    .map((operation) => {
      const needed = new Set();
      const collect = (node) =>
        visit(node, {
          FragmentSpread: ({ name: { value } }) => {
            if (!needed.has(value)) collect(fragments.get((needed.add(value), value)));
          },
        });
      collect(operation);
      const text = stripIgnoredCharacters([operation, ...[...needed].map((name) => fragments.get(name))].map(print).join("\n"));
      return {
        name: operation.name.value,
        kind: operation.operation,
        text,
        hash: createHash("sha256").update(text).digest("hex"),
        takesId: (operation.variableDefinitions ?? []).some(({ variable }) => variable.name.value === "id"),
      };
    });
}

/** A constant with its type. Who may be called twice with one id is `repeatable`. */
function documentSource({ name, kind, text, hash, takesId }) {
  const repeatable = kind !== "query" && takesId;
  const type = { query: "Query", mutation: "Mutation", subscription: "Subscription" }[kind];
  return [
    `export const ${name}: Document<"${kind}", Types.${name}${type}, Types.${name}${type}Variables> = {`,
    `  name: "${name}", kind: "${kind}", repeatable: ${repeatable},`,
    `  hash: "${hash}",`,
    `  text: ${JSON.stringify(text)},`,
    "};",
  ].join("\n");
}

/** Every `extensions.code` with what is said of it: the gateway's own in its README, the services' in their contracts. */
function codes() {
  const said = new Map();
  const say = (code, words) => said.set(code, [...(said.get(code) ?? []), words]);
  const table = read(REPOSITORY, "graphql_gateway", "README.md").split("\n## Errors\n")[1].split("\n## ")[0];
  for (const [, names, meaning] of table.matchAll(/^\| (`.*?) \| (.*?) \|$/gm))
    for (const [, code] of names.matchAll(/`([A-Z_]+)`/g)) say(code, meaning);
  for (const [, words, code] of read(REPOSITORY, "mesh", "errors.py").matchAll(/^    """(.*)"""\n\n(?:    code = .*\n)?    reason = "([A-Z_]+)"/gm))
    say(code, words);
  const protos = join(REPOSITORY, "protos", "satreel");
  for (const service of readdirSync(protos)) {
    for (const file of readdirSync(join(protos, service, "v1"))) {
      const body = /^enum ErrorReason \{\n(.*?)^\}/ms.exec(read(protos, service, "v1", file))?.[1] ?? "";
      for (const [, comment, reason] of body.matchAll(/((?: *\/\/.*\n)+) *ERROR_REASON_(\w+) =/g))
        if (reason !== "UNSPECIFIED") say(reason, `${service}: ${comment.replaceAll(/^ *\/\/ ?/gm, "").trim().replaceAll("\n", " ")}`);
    }
  }
  return [...said].sort(([one], [other]) => (one < other ? -1 : 1));
}

function codesSource() {
  const lines = codes().map(([code, words]) => `  /** ${words.join(" · ")} */\n  | "${code}"`);
  return `/** What the gateway and the services behind it refuse with. */\nexport type KnownCode =\n${lines.join("\n")};\n`;
}

const schemaText = read(REPOSITORY, "graphql_gateway", "schema.graphql");
const files = readdirSync(join(PACKAGE, "operations")).sort();
const document = parse(files.map((file) => read(PACKAGE, "operations", file)).join("\n"));
const schema = buildSchema(schemaText);
const operations = operationsOf(schema, document);
const federationScalars = Object.fromEntries(
  Object.keys(schema.getTypeMap())
    .filter((name) => FEDERATION_SCALARS.test(name))
    .map((name) => [name, "never"]),
);

const header = "// Generated by tools/generate.js; not kept in the repository.\n";
const types = await codegen({
  schema: parse(schemaText),
  documents: [{ location: "operations", document }],
  filename: "types.ts",
  pluginMap: { operationTypes },
  plugins: [
    {
      operationTypes: {
        scalars: { ...SCALARS, ...federationScalars },
        strictScalars: true,
        // `run` and streams throw on any error, so what is null by an error alone is never seen (@semanticNonNull).
        nullability: { errorHandlingClient: true },
        enumType: "string-literal",
        enumsAsTypes: true,
        skipTypename: true,
        avoidOptionals: { field: true, inputValue: false },
        immutableTypes: true,
        useTypeImports: true,
      },
    },
  ],
});
const generated = join(PACKAGE, "src", "generated");
mkdirSync(generated, { recursive: true });
writeFileSync(join(generated, "types.ts"), `${header}import type { DateTime, Sats } from "../scalars.js";\n\n${types}`);
writeFileSync(
  join(generated, "documents.ts"),
  `${header}import type { Document } from "../document.js";\nimport type * as Types from "./types.js";\n\n${operations.map(documentSource).join("\n\n")}\n`,
);
writeFileSync(join(generated, "codes.ts"), `${header}${codesSource()}`);

mkdirSync(join(PACKAGE, "dist"), { recursive: true });
// Apollo's manifest format: https://www.apollographql.com/docs/graphos/platform/security/persisted-queries
const manifest = {
  format: "apollo-persisted-query-manifest",
  version: 1,
  operations: operations.map(({ hash, text, name, kind }) => ({ id: hash, body: text, name, type: kind })),
};
writeFileSync(join(PACKAGE, "dist", "trusted-documents.json"), `${JSON.stringify(manifest, null, 2)}\n`);
