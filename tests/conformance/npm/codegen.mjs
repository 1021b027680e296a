// Code generation: @graphql-codegen/cli reads the schema from the running gateway; tsc judges what it made.
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { buildClientSchema, buildSchema, findBreakingChanges, getIntrospectionQuery } from 'graphql';
import { assert, check, http, PROGRAM_S } from './harness.mjs';

const run = promisify(execFile);
const node = (script, args, env = {}) =>
  run(process.execPath, [`../node_modules/${script}`, ...args], { cwd: 'codegen', env: { ...process.env, ...env } }).catch(
    (failed) => assert.fail(`${failed.stdout}\n${failed.stderr}`),
  );

await rm('codegen/generated', { recursive: true, force: true });

await check('graphql-codegen makes the client preset from the running gateway', async () => {
  await node('@graphql-codegen/cli/cjs/bin.js', ['--config', 'codegen.mjs'], { SCHEMA: http });
  assert.match(await readFile('codegen/generated/graphql.ts', 'utf8'), /export type MemesQuery = /);
}, PROGRAM_S);

await check('tsc accepts it and the operations that stand on it, with all checks on', async () => {
  await node('typescript/bin/tsc', ['--project', 'tsconfig.json']);
}, PROGRAM_S);

await check('introspection and schema.graphql say the same', async () => {
  const answer = await fetch(http, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: getIntrospectionQuery({ specifiedByUrl: true, inputValueDeprecation: true }) }),
  });
  const served = buildClientSchema((await answer.json()).data);
  const written = buildSchema(await readFile('../../../graphql_gateway/schema.graphql', 'utf8'));
  // Introspection does not tell what only the text carries: directives on fields, and the scalars they take.
  const told = (one) => !one.type.startsWith('DIRECTIVE_') && !one.description.startsWith('federation__');
  const changes = (from, to) => findBreakingChanges(from, to).filter(told);
  assert.deepEqual(changes(served, written), []);
  assert.deepEqual(changes(written, served), []);
});
