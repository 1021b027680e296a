/** Against the gateway: every kind of operation. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { type Document, dateTime, sats, timeOf } from "@satreel/client";
import { CreateListing, CurrentRound, Me, Meme, Metrics, Purchase, SetDisplayName, Tip } from "@satreel/client/operations";
import { failureOf } from "./outcomes.js";
import { about, act, clientOf, closeAll, unisat } from "./stage.js";

afterEach(closeAll);

test("what is public is there for everybody", async () => {
  const client = clientOf();
  const { currentRound } = await client.run(CurrentRound);
  assert.equal(currentRound?.state, "ACTIVE");
  const { meme } = await client.run(Meme, { id: about.meme });
  assert.equal(meme?.name, "cat");
  assert.ok(meme?.title && timeOf(meme.title.since) < new Date());
  assert.equal((await client.run(Metrics)).metrics[0]?.unit, "sat");
  assert.deepEqual(await client.run(Me), { me: null });
});

test("who is logged in trades", async () => {
  const client = clientOf();
  await client.logIn(await unisat("P2PKH"));
  const { createListing } = await client.run(CreateListing, {
    memeId: about.meme,
    priceSats: sats(2_000),
    expiresAt: dateTime(new Date("2027-01-01T00:00:00Z")),
  });
  assert.deepEqual([createListing.priceSats, createListing.state, createListing.version], [2_000, "OPEN", 1]);
  assert.equal(createListing.expiresAt && timeOf(createListing.expiresAt).getUTCFullYear(), 2027);
  const error = await failureOf(client.run(Purchase, { listingId: createListing.id, expectedPriceSats: sats(2_000) }));
  assert.equal(error.code, "INSUFFICIENT_FUNDS");
  assert.deepEqual(error.details.metadata, { available: "3", needed: "2000" });
});

test("a rule that is broken is named with its field", async () => {
  const client = clientOf();
  await client.logIn(await unisat("P2PKH"));
  const error = await failureOf(client.run(SetDisplayName, { displayName: "x" }));
  assert.equal(error.code, "INVALID_ARGUMENT");
  assert.equal(error.details.violations?.[0]?.field, "display_name");
});

test("what needs a log-in says so", async () => {
  const error = await failureOf(clientOf().run(SetDisplayName, { displayName: "Nobody" }));
  assert.equal(error.code, "USER_TOKEN_MISSING");
});

test("hashes say all to a gateway that has the manifest, and it takes nothing else", async () => {
  const bodies: string[] = [];
  const client = clientOf({ sendHashes: true, fetch: (url, init) => (bodies.push(String(init?.body)), fetch(url, init)) });
  assert.equal((await client.run(Tip)).tip.height, 100);
  assert.equal(bodies.length, 1);
  assert.doesNotMatch(bodies[0] ?? "", /query Tip/);
  const own: Document<"query"> = { name: "Own", kind: "query", text: "query Own{tip{height}}", hash: "00".repeat(32), repeatable: false };
  assert.equal((await failureOf(clientOf().run(own))).code, "DOCUMENT_NOT_TRUSTED");
});

test("a service that comes back is asked again", async () => {
  // Longer than the gateway remembers what others asked for before.
  await act("pass_time", { seconds: 600 });
  await act("fail", { method: "GetTip", away: true });
  let asked = 0;
  const meanwhile: typeof fetch = async (url, init) => {
    if (++asked === 2) await act("fail", { method: "GetTip", away: false });
    return fetch(url, init);
  };
  assert.equal((await clientOf({ fetch: meanwhile }).run(Tip)).tip.height, 100);
  assert.equal(asked, 2);
});
