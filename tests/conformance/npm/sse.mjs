// GraphQL over SSE with npm graphql-sse's client, in both modes, and requests by hand.
import { createClient } from 'graphql-sse';
import { assert, bearer, check, http, publishRound, world } from './harness.mjs';

const ROUND = 'subscription { roundUpdated { number } }';
const QUERY = '{ metrics { name } }';
const stream = `${http}/stream`;

const MODES = [
  ['distinct connections', { url: http }],
  ['distinct connections at /graphql/stream', { url: stream }],
  ['single connection', { url: stream, singleConnection: true }],
];

for (const [mode, options] of MODES) {
  const connect = (more = {}) => createClient({ ...options, retryAttempts: 0, ...more });

  await check(`${mode}: a query`, async () => {
    const client = connect();
    const results = [];
    for await (const result of client.iterate({ query: QUERY })) results.push(result);
    assert.equal(results.length, 1);
    assert.equal(results[0].data.metrics[0].name, 'sats_burned');
    client.dispose();
  });

  await check(`${mode}: a mutation of the user that Authorization names`, async () => {
    const client = connect({ headers: () => bearer(world.user) });
    const query = 'mutation { setDisplayName(displayName: "Ada S") { displayName } }';
    const { value } = await client.iterate({ query }).next();
    assert.deepEqual(value, { data: { setDisplayName: { displayName: 'Ada S' } } });
    client.dispose();
  });

  await check(`${mode}: subscriptions side by side, one leaves`, async () => {
    const client = connect();
    const [stays, leaves] = [client.iterate({ query: ROUND }), client.iterate({ query: ROUND })];
    const first = (await stays.next()).value.data.roundUpdated.number;
    await leaves.next();
    await leaves.return();
    assert.equal(await publishRound(), first + 1);
    assert.equal((await stays.next()).value.data.roundUpdated.number, first + 1);
    await stays.return();
    client.dispose();
  });

  await check(`${mode}: a bad token is refused`, async () => {
    const client = connect({ headers: () => bearer('forged-forged-forged') });
    await assert.rejects(client.iterate({ query: QUERY }).next(), (problem) => problem.response?.status === 401);
    client.dispose();
  });

  await check(`${mode}: a mistake in the document is told`, async () => {
    const client = connect();
    const asked = client.iterate({ query: '{ nonsense }' }).next();
    if (options.singleConnection) {
      // As GraphQL over HTTP has it: the request is refused.
      await assert.rejects(asked, (problem) => problem.response?.status === 400);
    } else {
      assert.equal((await asked).value.errors[0].extensions.code, 'BAD_REQUEST');
    }
    client.dispose();
  });
}

const post = (body, headers) =>
  fetch(stream, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });
const reserve = async (headers = {}) => (await fetch(stream, { method: 'PUT', headers })).text();
const take = (token) => fetch(`${stream}?token=${token}`, { headers: { accept: 'text/event-stream' } });
const key = (token) => ({ 'x-graphql-event-stream-token': token });
const operation = (id, query = QUERY) => ({ query, extensions: { operationId: id } });

await check('by hand: a reservation is taken once', async () => {
  const token = await reserve();
  const first = await take(token);
  assert.equal(first.status, 200);
  assert.match(first.headers.get('content-type'), /^text\/event-stream/);
  assert.equal((await take(token)).status, 409);
  await first.body.cancel();
});

await check('by hand: an operation may be asked for before the stream is taken', async () => {
  const token = await reserve();
  assert.equal((await post(operation('early'), key(token))).status, 202);
  const reader = (await take(token)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('event: complete')) text += (await reader.read()).value;
  assert.match(text, /event: next\ndata: \{"id":"early","payload":\{"data"/);
  await reader.cancel();
});

await check('by hand: unknown tokens, of others and of nobody, are 404', async () => {
  const token = await reserve(bearer(world.user));
  assert.equal((await take('unknown')).status, 404);
  assert.equal((await take(token)).status, 404);
  assert.equal((await post(operation('1'), key(token))).status, 404);
  assert.equal((await fetch(`${stream}?operationId=1`, { method: 'DELETE', headers: key(token) })).status, 404);
});

await check('by hand: an operation without an id is 400, one with the id of another 409', async () => {
  const token = await reserve();
  const taken = await take(token);
  assert.equal((await post({ query: QUERY }, key(token))).status, 400);
  assert.equal((await post(operation(7), key(token))).status, 400);
  assert.equal((await post(operation('1', ROUND), key(token))).status, 202);
  assert.equal((await post(operation('1', ROUND), key(token))).status, 409);
  assert.equal((await fetch(`${stream}?operationId=1`, { method: 'DELETE', headers: key(token) })).status, 200);
  assert.equal((await post(operation('1', ROUND), key(token))).status, 202);
  await taken.body.cancel();
});

await check('by hand: a subscription without news yet is accepted at once', async () => {
  const token = await reserve();
  const taken = await take(token);
  const began = Date.now();
  assert.equal((await post(operation('1', 'subscription { marketActivity { at } }'), key(token))).status, 202);
  assert.ok(Date.now() - began < 2_000);
  await taken.body.cancel();
});

await check('by hand: an EventSource can subscribe by GET, and not mutate', async () => {
  const open = (query) => fetch(`${http}?query=${encodeURIComponent(query)}`, { headers: { accept: 'text/event-stream' } });
  const told = await open('mutation { logOut }');
  assert.match(await told.text(), /not allowed/);
  const reader = (await open(ROUND)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('roundUpdated')) text += (await reader.read()).value;
  await reader.cancel();
});
