// The peer for subscriptions: npm graphql-ws over ws, with graphql-js, as its documentation sets it up.
//
//   node sockets.mjs DESCRIPTORS SERVICES_ADDRESS
//
// It prints one line of JSON, {port}, when it is ready, and runs until its standard input ends.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { buildSchema } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";
import { connect } from "./services.mjs";

const [descriptors, address] = process.argv.slice(2);
const services = connect(descriptors, address);
const schema = buildSchema(readFileSync(new URL("../schema.graphql", import.meta.url), "utf8"));

// One stream for all subscribers. Each event is a promise that names the next one: readers go on by themselves.
// Memes are loaded once for each event, not for each subscriber.
const link = () => {
  const found = {};
  found.told = new Promise((resolve) => (found.tell = resolve));
  return found;
};
let last = link();
let latest;
const withMemes = async (leaderboard) => {
  const memeIds = leaderboard.standings.map(({ memeId }) => memeId);
  const { memes } = await services.call("content", "batchGetMemes", { memeIds });
  const byId = new Map(memes.map((meme) => [meme.id, meme]));
  return {
    ...leaderboard,
    standings: leaderboard.standings.map((standing) => ({ ...standing, meme: byId.get(standing.memeId) })),
  };
};
services.watchRounds().on("data", async ({ snapshot, event }) => {
  const leaderboard = (snapshot ?? event)?.leaderboard;
  if (!leaderboard) return;
  latest = await withMemes(leaderboard);
  const told = last;
  last = link();
  told.tell({ leaderboard: latest, next: last });
});
schema.getSubscriptionType().getFields().leaderboardUpdated.subscribe = async function* () {
  let at = last;
  if (latest) yield { leaderboardUpdated: latest };
  for (;;) {
    const { leaderboard, next } = await at.told;
    at = next;
    yield { leaderboardUpdated: leaderboard };
  }
};

const server = createServer();
useServer({ schema }, new WebSocketServer({ server, path: "/graphql" }));
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () =>
  console.log(JSON.stringify({ port: server.address().port })),
);
process.stdin.resume().on("end", () => process.exit(0));
