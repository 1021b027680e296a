// graphql-transport-ws: npm graphql-ws's client, and frames written by hand with npm ws.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { assert, check, mailbox, publishRound, socket, world } from './harness.mjs';

const ROUND = 'subscription { roundUpdated { number } }';
const QUERY = '{ metrics { name } }';
const INIT = { type: 'connection_init' };

const connect = (more = {}) => createClient({ url: socket, webSocketImpl: WebSocket, retryAttempts: 0, ...more });

function one(client, payload) {
  return new Promise((resolve, reject) => {
    let last;
    client.subscribe(payload, { next: (value) => (last = value), error: reject, complete: () => resolve(last) });
  });
}

await check('client: a query', async () => {
  const client = connect();
  assert.equal((await one(client, { query: QUERY })).data.metrics[0].name, 'sats_burned');
  await client.dispose();
});

await check('client: a mutation of the user that connection_init names', async () => {
  const client = connect({ connectionParams: { authorization: `Bearer ${world.user}` } });
  const query = 'mutation { setDisplayName(displayName: "Ada W") { displayName } }';
  assert.deepEqual(await one(client, { query }), { data: { setDisplayName: { displayName: 'Ada W' } } });
  await client.dispose();
});

await check('client: a subscription begins with what is and goes on', async () => {
  const client = connect();
  const events = client.iterate({ query: ROUND });
  const first = (await events.next()).value.data.roundUpdated.number;
  assert.equal(await publishRound(), first + 1);
  assert.equal((await events.next()).value.data.roundUpdated.number, first + 1);
  await events.return();
  await client.dispose();
});

await check('client: several subscriptions side by side on one socket, one leaves', async () => {
  const client = connect();
  const [stays, leaves] = [client.iterate({ query: ROUND }), client.iterate({ query: ROUND })];
  await Promise.all([stays.next(), leaves.next()]);
  await leaves.return();
  const number = await publishRound();
  assert.equal((await stays.next()).value.data.roundUpdated.number, number);
  await stays.return();
  await client.dispose();
});

await check('client: a document with a mistake is an error, and the socket lives on', async () => {
  const client = connect({ lazy: false });
  for (const query of ['{', '{ nonsense }', 'query A { metrics { name } } query B { metrics { name } }']) {
    await assert.rejects(one(client, { query }), (errors) => errors[0].extensions.code === 'BAD_REQUEST');
  }
  await assert.rejects(one(client, { query: 'query A { a }', operationName: 'B' }), (errors) => Array.isArray(errors));
  assert.ok((await one(client, { query: QUERY })).data);
  await client.dispose();
});

await check('client: a bad token closes with 4403', async () => {
  const client = connect({ connectionParams: { authorization: 'Bearer forged-forged-forged' } });
  await assert.rejects(one(client, { query: QUERY }), (event) => event.code === 4403);
});

await check('client: its pings are answered', async () => {
  const pongs = mailbox();
  const client = connect({ lazy: false, keepAlive: 50, on: { pong: (received) => received && pongs.push(true) } });
  await pongs.next();
  await pongs.next();
  await client.dispose();
});

await check('client: @defer comes in pieces', async () => {
  const client = connect();
  const pieces = [];
  const query = 'query($id: ID!) { meme(id: $id) { name ... @defer(label: "who") { creator { id } } } }';
  for await (const piece of client.iterate({ query, variables: { id: world.meme } })) pieces.push(piece);
  assert.equal(pieces[0].data.meme.name, 'cat');
  assert.equal(pieces[0].hasNext, true);
  assert.ok(pieces.at(-1).hasNext === false && pieces.some((piece) => piece.incremental?.[0].data.creator.id));
  await client.dispose();
});

// One socket by hand: sends the frames, gives everything that comes until a message is the last, or it closes.
async function raw(frames, { until = () => false, protocol = 'graphql-transport-ws' } = {}) {
  const peer = new WebSocket(socket, protocol);
  const received = [];
  return new Promise((resolve, reject) => {
    peer.on('error', reject);
    const sent = (frame) => (typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
    peer.on('open', () => frames.forEach((frame) => peer.send(sent(frame))));
    peer.on('message', (data, isBinary) => {
      assert.equal(isBinary, false, 'messages are text');
      received.push(JSON.parse(data));
      if (until(received.at(-1))) {
        peer.terminate();
        resolve({ received });
      }
    });
    peer.on('close', (code, reason) => resolve({ received, code, reason: reason.toString(), reasonBytes: reason.length }));
  });
}

const subscribe = (id, query = QUERY, more = {}) => ({ id, type: 'subscribe', payload: { query, ...more } });

const CLOSES = [
  ['subscribe before connection_init', [subscribe('1')], 4401],
  ['connection_init twice', [INIT, INIT], 4429],
  ['the same id twice', [INIT, subscribe('1', ROUND), subscribe('1', ROUND)], 4409],
  ['silence', [], 4408],
  ['pings only', [{ type: 'ping' }], 4408],
  ['no JSON', ['nonsense'], 4400],
  ['a binary frame', [INIT, Buffer.from(JSON.stringify({ type: 'ping' }))], 4400],
  ['JSON null', [INIT, 'null'], 4400],
  ['JSON list', [INIT, '[]'], 4400],
  ['no type', [INIT, {}], 4400],
  ['an unknown type', [INIT, { type: 'start', id: '1', payload: { query: QUERY } }], 4400],
  ['a type of 10,000 characters', [INIT, { type: 'é'.repeat(10_000) }], 4400],
  ['subscribe without an id', [INIT, { type: 'subscribe', payload: { query: QUERY } }], 4400],
  ['subscribe without a payload', [INIT, { type: 'subscribe', id: '1' }], 4400],
  ['subscribe with a list of variables', [INIT, subscribe('1', QUERY, { variables: [] })], 4400],
  ['subscribe with a number as query', [INIT, subscribe('1', 7)], 4400],
  ['complete without an id', [INIT, { type: 'complete' }], 4400],
  ['a number as payload of connection_init', [{ type: 'connection_init', payload: 7 }], 4400],
  ['JSON nested 100,000 deep', [INIT, '['.repeat(100_000)], 4400],
  ['a message of 300,000 bytes', [INIT, ' '.repeat(300_000)], 1009],
];

for (const [name, frames, code] of CLOSES) {
  await check(`frames: ${name} closes with ${code}`, async () => {
    const closed = await raw(frames);
    assert.equal(closed.code, code, closed.reason);
    assert.ok(closed.reasonBytes <= 123);
  });
}

await check('frames: without a protocol the socket closes with 4406', async () => {
  assert.equal((await raw([INIT], { protocol: [] })).code, 4406);
});

await check('frames: the old graphql-ws is not agreed on', async () => {
  // This client, as browsers, ends the handshake itself when its protocol is not among the answer's headers.
  await assert.rejects(raw([INIT], { protocol: 'graphql-ws' }), /no subprotocol/);
});

await check('frames: of two protocols the new one is taken', async () => {
  const { received } = await raw([INIT], {
    protocol: ['graphql-ws', 'graphql-transport-ws'],
    until: () => true,
  });
  assert.deepEqual(received, [{ type: 'connection_ack' }]);
});

await check('frames: payloads of null, unknown ids and a pong nobody asked for do no harm', async () => {
  const calm = [
    { type: 'connection_init', payload: null },
    { type: 'ping', payload: null },
    { type: 'pong' },
    { type: 'complete', id: 'unknown' },
    subscribe('1', QUERY, { variables: null, operationName: null, extensions: null }),
  ];
  const { received } = await raw(calm, { until: (message) => message.type === 'complete' });
  assert.deepEqual(received.map((message) => message.type), ['connection_ack', 'pong', 'next', 'complete']);
});

await check('frames: an id may be used again after complete', async () => {
  const frames = [INIT, subscribe('1', ROUND), { type: 'complete', id: '1' }, subscribe('1', QUERY)];
  const { received } = await raw(frames, { until: (message) => message.type === 'complete' });
  assert.deepEqual(received.at(-1), { id: '1', type: 'complete' });
  assert.ok(received.at(-2).payload.data.metrics);
});

await check('frames: a peer that answers pings is kept, one that does not is dropped', async () => {
  const dead = new WebSocket(socket, 'graphql-transport-ws', { autoPong: false });
  const alive = new WebSocket(socket, 'graphql-transport-ws');
  for (const peer of [dead, alive]) peer.on('open', () => peer.send(JSON.stringify(INIT)));
  await new Promise((resolve) => dead.on('close', resolve));
  assert.equal(alive.readyState, WebSocket.OPEN);
  alive.terminate();
});
