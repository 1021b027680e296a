// Apollo Client and urql, with their caches, paging, subscriptions and incremental delivery.
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { CombinedGraphQLErrors, ServerError } from '@apollo/client/errors';
import { GraphQL17Alpha9Handler } from '@apollo/client/incremental';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { OperationTypeNode } from 'graphql';
import { relayStylePagination } from '@apollo/client/utilities';
import { Client, cacheExchange, fetchExchange, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { assert, bearer, check, http, mailbox, publishRound, socket, world } from './harness.mjs';

const MEME = 'query Meme($id: ID!) { meme(id: $id) { id name creator { id displayName } } }';
const DEFERRED = 'query Deferred($id: ID!) { meme(id: $id) { id name ... on Meme @defer { creator { id displayName } } } }';
const PAGE = 'query Page($after: String) { memes(first: 2, after: $after) { edges { cursor node { id name } } pageInfo { endCursor hasNextPage hasPreviousPage startCursor } } }';
const ROUND = 'subscription Round { roundUpdated { id number state } }';
const RENAME = 'mutation Rename { setDisplayName(displayName: "Ada A") { id displayName } }';

const wsClient = () => createClient({ url: socket, webSocketImpl: WebSocket, retryAttempts: 0 });

function apollo(headers = {}) {
  const ws = wsClient();
  const link = ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(ws),
    new HttpLink({ uri: http, headers }),
  );
  const cache = new InMemoryCache({ typePolicies: { Query: { fields: { memes: relayStylePagination() } } } });
  return { ws, client: new ApolloClient({ cache, link, incrementalHandler: new GraphQL17Alpha9Handler() }) };
}

await check('Apollo Client: a query, then the same from its cache', async () => {
  const { client } = apollo();
  const variables = { id: world.meme };
  const { data } = await client.query({ query: gql(MEME), variables });
  assert.equal(data.meme.name, 'cat');
  const cached = client.readQuery({ query: gql(MEME), variables });
  assert.equal(cached.meme.creator.id, data.meme.creator.id);
});

await check('Apollo Client: a mutation changes the object in its cache', async () => {
  const { client } = apollo(bearer(world.user));
  const variables = { id: world.meme };
  await client.query({ query: gql(MEME), variables });
  await client.mutate({ mutation: gql(RENAME) });
  assert.equal(client.readQuery({ query: gql(MEME), variables }).meme.creator.displayName, 'Ada A');
});

await check('Apollo Client: pages of a connection, by its cursors', async () => {
  const { client } = apollo();
  let memes = { pageInfo: { endCursor: null, hasNextPage: true } };
  while (memes.pageInfo.hasNextPage) {
    const variables = { after: memes.pageInfo.endCursor };
    memes = (await client.query({ query: gql(PAGE), variables, fetchPolicy: 'network-only' })).data.memes;
  }
  // Its cache has joined the pages.
  assert.ok(memes.edges.length >= world.memes);
  assert.equal(new Set(memes.edges.map((edge) => edge.node.id)).size, memes.edges.length);
});

await check('Apollo Client: errors have their codes', async () => {
  const { client } = apollo();
  const asked = client.query({ query: gql('query { me { user { id } } }'), errorPolicy: 'none' });
  const { data } = await asked.catch((error) => {
    assert.ok(CombinedGraphQLErrors.is(error), String(error));
    return { data: error.errors[0].extensions.code };
  });
  assert.ok(data === 'UNAUTHENTICATED' || data.me === null, JSON.stringify(data));
  const wrong = client.query({ query: gql('query { nonsense }') });
  await assert.rejects(wrong, (error) => CombinedGraphQLErrors.is(error) || ServerError.is(error));
});

await check('Apollo Client: a subscription over graphql-ws', async () => {
  const { client, ws } = apollo();
  const events = mailbox();
  const reading = client.subscribe({ query: gql(ROUND) }).subscribe({ next: ({ data }) => events.push(data.roundUpdated) });
  const first = await events.next();
  await publishRound();
  assert.equal((await events.next()).number, first.number + 1);
  reading.unsubscribe();
  await ws.dispose();
});

await check('Apollo Client: @defer over multipart/mixed', async () => {
  const { client } = apollo();
  const results = [];
  const done = new Promise((resolve, reject) => {
    client.watchQuery({ query: gql(DEFERRED), variables: { id: world.meme } }).subscribe({
      next: (result) => {
        results.push(result);
        if (result.dataState === 'complete') resolve();
      },
      error: reject,
    });
  });
  await done;
  assert.ok(results.some((result) => result.dataState === 'streaming' && result.data.meme.name === 'cat'));
  assert.ok(results.at(-1).data.meme.creator.id);
});

const urql = (more = {}) => new Client({ url: http, exchanges: [cacheExchange, fetchExchange], preferGetMethod: false, ...more });

await check('urql: a query by POST, and from its cache', async () => {
  const client = urql();
  const { data } = await client.query(MEME, { id: world.meme }).toPromise();
  assert.equal(data.meme.name, 'cat');
  const again = await client.query(MEME, { id: world.meme }).toPromise();
  assert.equal(again.operation.context.meta.cacheOutcome, 'hit');
});

await check('urql: a query by GET', async () => {
  const { data, error } = await urql({ preferGetMethod: 'force' }).query(MEME, { id: world.meme }).toPromise();
  assert.equal(error, undefined);
  assert.equal(data.meme.name, 'cat');
});

await check('urql: a mutation', async () => {
  const { data, error } = await urql({ fetchOptions: { headers: bearer(world.user) } }).mutation(RENAME, {}).toPromise();
  assert.equal(error, undefined);
  assert.equal(data.setDisplayName.displayName, 'Ada A');
});

await check('urql: a mistake is an error with its code', async () => {
  const { error } = await urql().query('{ nonsense }', {}).toPromise();
  assert.equal(error.graphQLErrors[0].extensions.code, 'BAD_REQUEST');
});

function events(client) {
  const told = mailbox();
  const { unsubscribe } = client.subscription(ROUND, {}).subscribe(({ data, error }) => told.push(data?.roundUpdated ?? error));
  return { told, unsubscribe };
}

await check('urql: a subscription over graphql-ws', async () => {
  const ws = wsClient();
  const forwardSubscription = (request) => ({ subscribe: (sink) => ({ unsubscribe: ws.subscribe(request, sink) }) });
  const { told, unsubscribe } = events(urql({ exchanges: [subscriptionExchange({ forwardSubscription })] }));
  const first = await told.next();
  await publishRound();
  assert.equal((await told.next()).number, first.number + 1);
  unsubscribe();
  await ws.dispose();
});

await check('urql: a subscription over server-sent events', async () => {
  const { told, unsubscribe } = events(urql({ fetchSubscriptions: true }));
  const first = await told.next();
  await publishRound();
  assert.equal((await told.next()).number, first.number + 1);
  unsubscribe();
});

await check('urql: @defer over multipart/mixed', async () => {
  const told = mailbox();
  const { unsubscribe } = urql({ exchanges: [fetchExchange] }).query(DEFERRED, { id: world.meme }).subscribe((result) => told.push(result));
  const first = await told.next();
  assert.deepEqual([first.data?.meme?.name, first.hasNext], ['cat', true], String(first.error));
  let last = first;
  while (last.hasNext) last = await told.next();
  assert.ok(last.data.meme.creator.id, String(last.error));
  unsubscribe();
});
