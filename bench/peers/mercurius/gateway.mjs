// A small Mercurius gateway with its JIT, loaders and persisted queries:
//
//   node gateway.mjs DESCRIPTORS SERVICES_ADDRESS PERSISTED_QUERIES
//
// It prints one line of JSON, {port}, when it is ready, and runs until its standard input ends.
import { readFileSync } from "node:fs";
import Fastify from "fastify";
import mercurius from "mercurius";
import { connect } from "./services.mjs";

const [descriptors, address, persisted] = process.argv.slice(2);
const services = connect(descriptors, address);
const globalId = (type, id) => Buffer.from(`${type}:${id}`).toString("base64");
const idOf = (type) => ({ id }) => globalId(type, id);
const instant = ({ seconds, nanos }) => {
  const text = new Date(seconds * 1000).toISOString();
  return nanos ? text.replace(".000Z", `.${String(nanos).padStart(9, "0")}Z`) : text.replace(".000Z", "Z");
};

const resolvers = {
  Query: {
    currentRound: async () => (await services.call("rounds", "getCurrentRound", {})).round,
    memes: async (_, { first }) => {
      const request = { state: "MEME_STATE_PUBLISHED", pageSize: first };
      const page = await services.call("content", "listMemes", request);
      return { nodes: page.memes, pageInfo: { hasNextPage: page.nextPageToken !== "" } };
    },
    me: (_, __, { viewer }) => viewer && { user: viewer.user },
  },
  Mutation: {
    setDisplayName: async (_, { displayName }, { viewer }) =>
      (await services.call("identity", "setDisplayName", { displayName }, viewer?.userToken)).user,
  },
  Round: {
    id: idOf("Round"),
    state: ({ state }) => state.slice("ROUND_STATE_".length),
    leaderboard: async ({ id }, { limit }) =>
      (await services.call("rounds", "getLeaderboard", { roundId: id, limit })).leaderboard,
  },
  Meme: {
    id: idOf("Meme"),
    posterUrl: ({ id, film }) => (film ? `/media/${id}/poster` : null),
  },
  User: { id: idOf("User") },
  Listing: { id: idOf("Listing") },
  Me: {
    balance: async ({ user }, _, { viewer }) =>
      (await services.call("ledger", "getAccount", { accountId: `user:${user.id}` }, viewer.userToken)).account,
    statement: async ({ user }, { first }, { viewer }) => {
      const request = { accountId: `user:${user.id}`, pageSize: first };
      const page = await services.call("ledger", "listPostings", request, viewer.userToken);
      return { nodes: page.postings, pageInfo: { hasNextPage: page.nextPageToken !== "" } };
    },
  },
  Posting: { postedAt: ({ postedAt }) => instant(postedAt) },
};

// One call for all objects of a request that ask for it.
const batched = (service, method, parameter, list, wanted, key) => async (queries) => {
  const ids = queries.map(({ obj }) => wanted(obj));
  const found = await services.call(service, method, { [parameter]: [...new Set(ids)] });
  const byId = new Map(found[list].map((item) => [item[key], item]));
  return ids.map((id) => byId.get(id) ?? null);
};
const users = batched("identity", "batchGetUsers", "userIds", "users", ({ creatorId }) => creatorId, "id");
const loaders = {
  Standing: {
    meme: batched("content", "batchGetMemes", "memeIds", "memes", ({ memeId }) => memeId, "id"),
    creator: users,
  },
  Meme: {
    creator: users,
    quote: batched("market", "batchGetQuotes", "memeIds", "quotes", ({ id }) => id, "memeId"),
  },
};
// What is cached for longer than a request would answer less than was asked.
for (const fields of Object.values(loaders))
  for (const [name, loader] of Object.entries(fields)) fields[name] = { loader, opts: { cache: false } };

const app = Fastify();
await app.register(mercurius, {
  schema: readFileSync(new URL("../schema.graphql", import.meta.url), "utf8"),
  resolvers,
  loaders,
  jit: 1,
  persistedQueries: JSON.parse(readFileSync(persisted, "utf8")),
  context: async (request) => ({ viewer: await services.viewer(request.headers.authorization) }),
});
await app.listen({ port: 0, host: "127.0.0.1" });
console.log(JSON.stringify({ port: app.server.address().port }));
process.stdin.resume().on("end", () => process.exit(0));
