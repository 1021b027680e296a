// Relay: its compiler on schema.graphql, then what it compiled with its runtime against the running gateway.
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { createClient } from 'graphql-ws';
import runtime from 'relay-runtime';
import WebSocket from 'ws';
import { assert, bearer, check, http, mailbox, PROGRAM_S, publishRound, socket, world } from './harness.mjs';

const { ConnectionHandler, Environment, Network, Observable, RecordSource, Store } = runtime;
const { commitMutation, fetchQuery, requestSubscription } = runtime;
const compiled = async (name) => (await import(`./relay/__generated__/${name}.graphql.ts`)).default;
const ws = createClient({ url: socket, webSocketImpl: WebSocket, retryAttempts: 0 });

async function ask(params, variables) {
  const answer = await fetch(http, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json', ...bearer(world.user) },
    body: JSON.stringify({ query: params.text, operationName: params.name, variables }),
  });
  return answer.json();
}

const follow = (params, variables) =>
  Observable.create((sink) => ws.subscribe({ query: params.text, operationName: params.name, variables }, sink));
const environment = () => new Environment({ network: Network.create(ask, follow), store: new Store(new RecordSource()) });

await rm('relay/__generated__', { recursive: true, force: true });
await mkdir('relay/__generated__');

await check('relay-compiler accepts the schema and compiles', async () => {
  const compiler = ['../node_modules/relay-compiler/cli.js', 'relay.config.json'];
  await promisify(execFile)(process.execPath, compiler, { cwd: 'relay' }).catch((failed) =>
    assert.fail(`${failed.stdout}\n${failed.stderr}`),
  );
}, PROGRAM_S);

await check('what fails only with an error is never null to those who let errors throw', async () => {
  const types = await readFile('relay/__generated__/operationsCertainQuery.graphql.ts', 'utf8');
  assert.match(types, /readonly tip: \{\s+readonly height: number;\s+\};/);
  assert.match(types, /readonly metrics: ReadonlyArray<\{\s+readonly name: string;\s+\}>;/);
  // Nobody may be signed in, without an error.
  assert.match(types, /readonly me: \{[^}]+\};?\s+\} \| null \| undefined/);
});

await check('pages of a connection follow one another by their cursors', async () => {
  const [names, page] = [new Set(), await compiled('operationsMemesPageQuery')];
  let memes = { pageInfo: { endCursor: null, hasNextPage: true } };
  while (memes.pageInfo.hasNextPage) {
    const answer = await ask(page.params, { count: 2, cursor: memes.pageInfo.endCursor });
    assert.equal(answer.errors, undefined);
    memes = answer.data.memes;
    for (const { node, cursor } of memes.edges) assert.ok(cursor && !names.has(node.id) && names.add(node.id));
  }
  assert.ok(names.size >= world.memes);
});

await check('the runtime keeps a connection in its store', async () => {
  const relay = environment();
  await fetchQuery(relay, await compiled('operationsMemesQuery'), {}).toPromise();
  relay.commitUpdate((store) => {
    const connection = ConnectionHandler.getConnection(store.getRoot(), 'operations_memes');
    assert.equal(connection.getLinkedRecords('edges').length, 2);
    assert.equal(connection.getLinkedRecord('pageInfo').getValue('hasNextPage'), true);
  });
});

await check('an object is found again by its global id, and is none by that of another type', async () => {
  const relay = environment();
  const query = await compiled('operationsNodeQuery');
  const answer = await ask((await compiled('operationsMemesPageQuery')).params, { count: 1, cursor: null });
  const { id } = answer.data.memes.edges[0].node;
  const found = await fetchQuery(relay, query, { id }).toPromise();
  assert.deepEqual([found.node.__typename, found.node.id], ['Meme', id]);
  const refetched = await ask((await compiled('operationsCardRefetchQuery')).params, { id });
  assert.equal(refetched.data.node.name, found.node.name);
  const missing = Buffer.from('Meme:0198c9a2-0000-7000-8000-000000000000').toString('base64');
  assert.deepEqual((await ask(query.params, { id: missing })).data, { node: null });
});

await check('a bad cursor and a bad id are errors with codes', async () => {
  const page = await compiled('operationsMemesPageQuery');
  for (const cursor of ['nonsense', 'bnVsbA==', 'W10=', 'é']) {
    const answer = await ask(page.params, { count: 1, cursor });
    assert.equal(answer.errors[0].extensions.code, 'BAD_CURSOR', cursor);
  }
  const answer = await ask((await compiled('operationsNodeQuery')).params, { id: 'nonsense' });
  assert.equal(answer.errors[0].extensions.code, 'BAD_ID');
});

await check('a mutation changes the object in the store', async () => {
  const relay = environment();
  const mutation = await compiled('operationsRenameMutation');
  const done = await new Promise((resolve, reject) => {
    commitMutation(relay, { mutation, variables: { name: 'Ada R' }, onCompleted: resolve, onError: reject });
  });
  assert.equal(done.setDisplayName.displayName, 'Ada R');
});

await check('a subscription tells news', async () => {
  const told = mailbox();
  const subscription = await compiled('operationsRoundSubscription');
  const reading = requestSubscription(environment(), { subscription, variables: {}, onNext: ({ roundUpdated }) => told.push(roundUpdated) });
  const first = await told.next();
  await publishRound();
  assert.equal((await told.next()).number, first.number + 1);
  reading.dispose();
});

await ws.dispose();
