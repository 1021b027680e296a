// Uploads: the clients that front ends use, and the multipart request specification by hand.
import { ApolloClient, InMemoryCache, gql } from '@apollo/client';
import { Client, fetchExchange } from '@urql/core';
import UploadHttpLink from 'apollo-upload-client/UploadHttpLink.mjs';
import { assert, bearer, check, http, world } from './harness.mjs';

const BYTES = new Uint8Array(200_000).map((_, place) => place);
const UPLOAD = 'mutation Upload($picture: Upload!, $name: String!) { uploadMeme(picture: $picture, name: $name) { name state } }';
const TWICE = 'mutation Twice($a: Upload!, $b: Upload!) { a: uploadMeme(picture: $a, name: "a") { name } b: uploadMeme(picture: $b, name: "b") { name } }';
const PREFLIGHT = { 'X-Satreel-Preflight': '1' };

const picture = () => new File([BYTES], 'cat.png', { type: 'image/png' });
// What content has taken since the last time, as [name, bytes].
const taken = async () =>
  (await (await fetch(`${world.control}/uploads`, { method: 'DELETE' })).json()).map((one) => [one.name, one.bytes]);

const apollo = (headers) =>
  new ApolloClient({ cache: new InMemoryCache(), link: new UploadHttpLink({ uri: http, headers: { ...bearer(world.admin), ...headers } }) });

await check('apollo-upload-client: a file', async () => {
  const client = apollo({ 'Apollo-Require-Preflight': 'true' });
  const { data } = await client.mutate({ mutation: gql(UPLOAD), variables: { picture: picture(), name: 'cat' } });
  assert.equal(data.uploadMeme.state, 'UPLOADED');
  assert.deepEqual(await taken(), [['cat', BYTES.length]]);
});

await check('apollo-upload-client: one file in two places is read twice', async () => {
  const file = picture();
  const client = apollo(PREFLIGHT);
  const { data } = await client.mutate({ mutation: gql(TWICE), variables: { a: file, b: file } });
  assert.deepEqual([data.a.name, data.b.name], ['a', 'b']);
  assert.deepEqual(await taken(), [['a', BYTES.length], ['b', BYTES.length]]);
});

await check('apollo-upload-client: without a preflight header it is refused', async () => {
  const asked = apollo({}).mutate({ mutation: gql(UPLOAD), variables: { picture: picture(), name: 'cat' } });
  await assert.rejects(asked, (problem) => problem.statusCode === 400 || /X-Satreel-Preflight/.test(problem.message));
  assert.deepEqual(await taken(), []);
});

await check('urql: a file', async () => {
  const fetchOptions = { headers: { ...bearer(world.admin), ...PREFLIGHT } };
  const client = new Client({ url: http, exchanges: [fetchExchange], fetchOptions, preferGetMethod: false });
  const { data, error } = await client.mutation(UPLOAD, { picture: picture(), name: 'bee' }).toPromise();
  assert.equal(error, undefined);
  assert.equal(data.uploadMeme.name, 'bee');
  assert.deepEqual(await taken(), [['bee', BYTES.length]]);
});

function form(operations, map, files) {
  const body = new FormData();
  if (operations !== undefined) body.append('operations', operations);
  if (map !== undefined) body.append('map', map);
  for (const [name, file] of Object.entries(files)) body.append(name, file);
  return body;
}

const send = (body, headers = { ...bearer(world.admin), ...PREFLIGHT }) => fetch(http, { method: 'POST', body, headers });
const operations = JSON.stringify({ query: UPLOAD, variables: { picture: null, name: 'cat' } });
const map = JSON.stringify({ 0: ['variables.picture'] });

await check('by hand: the example of the specification', async () => {
  const answer = await send(form(operations, map, { 0: picture() }));
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), { data: { uploadMeme: { name: 'cat', state: 'UPLOADED' } } });
  assert.equal((await taken()).length, 1);
});

const WRONG = [
  ['no operations', form(undefined, map, { 0: picture() }), 400],
  ['no map', form(operations, undefined, { 0: picture() }), 400],
  ['operations that are no JSON', form('{', map, { 0: picture() }), 400],
  ['a batch', form(`[${operations}]`, map, { 0: picture() }), 400],
  ['a map that names no file', form(operations, '{}', { 0: picture() }), 400],
  ['a map that names another file', form(operations, '{"1": ["variables.picture"]}', { 0: picture() }), 400],
  ['a place that is not there', form(operations, '{"0": ["variables.film"]}', { 0: picture() }), 400],
  ['a place in the prototype', form(operations, '{"0": ["variables.__proto__.picture"]}', { 0: picture() }), 400],
  ['a file that is missing', form(operations, map, {}), 400],
  ['seven files', form(operations, map, Object.fromEntries([...'0123456'].map((name) => [name, picture()]))), 400],
  ['11 MB', form(operations, map, { 0: new File([new Uint8Array(11_000_000)], 'large.png') }), 413],
];

for (const [name, body, status] of WRONG) {
  await check(`by hand: ${name} is ${status}`, async () => {
    const answer = await send(body);
    assert.equal(answer.status, status, await answer.clone().text());
    const told = await answer.json();
    assert.ok(told.errors[0].message && !('data' in told));
  });
}

await check('by hand: others than administrators are refused', async () => {
  assert.equal((await send(form(operations, map, { 0: picture() }), { ...bearer(world.user), ...PREFLIGHT })).status, 403);
  assert.equal((await send(form(operations, map, { 0: picture() }), PREFLIGHT)).status, 401);
  assert.deepEqual(await taken(), []);
});
