// GraphQL over HTTP: the audits of npm graphql-http, and the same library's client.
import { auditServer } from 'graphql-http';
import { createClient } from 'graphql-http';
import { assert, bearer, check, http, tell, world } from './harness.mjs';

const results = await auditServer({ url: http });
for (const { id, name, status, reason } of results) {
  tell(`${id} ${name}`, status === 'ok' ? undefined : `${status}: ${reason}`);
}
tell('all audits have run', results.length === 61 ? undefined : `${results.length} of 61`);

function ask(client, payload) {
  return new Promise((resolve, reject) => {
    let last;
    client.subscribe(payload, { next: (value) => (last = value), error: reject, complete: () => resolve(last) });
  });
}

await check('its client queries', async () => {
  const client = createClient({ url: http });
  const result = await ask(client, { query: 'query($id: ID!) { meme(id: $id) { name } }', variables: { id: world.meme } });
  assert.deepEqual(result, { data: { meme: { name: 'cat' } } });
});

await check('its client mutates', async () => {
  const client = createClient({ url: http, headers: bearer(world.user) });
  const result = await ask(client, { query: 'mutation { setDisplayName(displayName: "Ada L") { displayName } }' });
  assert.deepEqual(result, { data: { setDisplayName: { displayName: 'Ada L' } } });
});

await check('its client is told of a bad token by the status', async () => {
  const client = createClient({ url: http, headers: bearer('forged-forged-forged'), retryAttempts: 0 });
  await assert.rejects(ask(client, { query: '{ __typename }' }), (problem) => problem.response?.status === 401);
});
