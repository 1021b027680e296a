/** One request and its answer: what is sent, what is sent again, and how failures look. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { type ClientOptions, createClient, sats } from "@satreel/client";
import { CurrentRound, Purchase, SetDisplayName, Tip, UploadMeme } from "@satreel/client/operations";
import { failureOf } from "./outcomes.js";
import { type Reply, type Stub, refusal, stubOf } from "./stub.js";

let stub: Stub;
afterEach(() => stub.close());

async function clientBefore(replies: Reply[], options: Partial<ClientOptions> = {}) {
  stub = await stubOf(replies);
  return createClient({ url: stub.url, ...options });
}

const TIP = { tip: { hash: "00", height: 1, previousHash: "ff", minedAt: "2026-01-31T12:00:00Z" } };
const SALE = { purchase: { id: "s", priceSats: 1_000 } };
const LISTING = { listingId: "l", expectedPriceSats: sats(1_000) };

test("a request is GraphQL over HTTP", async () => {
  const client = await clientBefore([{ body: { data: { currentRound: null } } }]);
  assert.deepEqual(await client.run(CurrentRound, { limit: 3 }), { currentRound: null });
  const [asked] = stub.asked;
  assert.equal(asked?.headers["content-type"], "application/json");
  assert.match(asked?.headers.accept ?? "", /^application\/graphql-response\+json/);
  assert.equal(asked?.headers.authorization, undefined);
  assert.deepEqual(asked?.json, { query: CurrentRound.text, operationName: "CurrentRound", variables: { limit: 3 } });
});

test("a request belongs to the page's span", async () => {
  const spans = ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", undefined];
  const client = await clientBefore([{ body: { data: TIP } }, { body: { data: TIP } }], { traceparent: () => spans.shift() });
  await client.run(Tip);
  await client.run(Tip);
  assert.deepEqual(stub.asked.map((asked) => asked.headers.traceparent), ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", undefined]);
});

test("an error has its code, and what came in spite of it", async () => {
  const extensions = { service: "market", status: "FAILED_PRECONDITION", metadata: { needed: "5" } };
  const client = await clientBefore([refusal("INSUFFICIENT_FUNDS", { data: { tip: null }, extensions })]);
  const error = await failureOf(client.run(Tip));
  assert.equal(error.code, "INSUFFICIENT_FUNDS");
  assert.deepEqual(error.details.metadata, { needed: "5" });
  assert.deepEqual(error.data, { tip: null });
  assert.ok(error.executed && !error.outcomeUnknown && !error.isTransient);
  assert.equal(stub.asked.length, 1);
});

test("a query is asked again while the trouble may pass", async () => {
  const unavailable = refusal("STORE_UNREACHABLE", { data: null, extensions: { status: "UNAVAILABLE" } });
  const client = await clientBefore([null, unavailable, { body: { data: TIP } }]);
  assert.deepEqual(await client.run(Tip), TIP);
  assert.equal(stub.asked.length, 3);
});

test("but not for ever", async () => {
  const client = await clientBefore([{ status: 502, body: "<html>Bad gateway</html>" }], { attempts: 2 });
  const error = await failureOf(client.run(Tip));
  assert.deepEqual([error.code, error.httpStatus, stub.asked.length], ["NOT_GRAPHQL", 502, 2]);
});

test("a purchase whose answer is lost is sent again with the same id", async () => {
  const client = await clientBefore([null, { body: { data: SALE } }]);
  await client.run(Purchase, LISTING);
  const [first, second] = stub.asked.map(({ json }) => json.variables["id"]);
  assert.match(String(first), /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(first, second);
  await client.run(Purchase, { ...LISTING, id: "mine" });
  assert.equal(stub.asked.at(-1)?.json.variables["id"], "mine");
});

test("what could be done twice is not sent twice", async () => {
  const client = await clientBefore([null]);
  const error = await failureOf(client.run(SetDisplayName, { displayName: "Ada" }));
  assert.deepEqual([error.code, error.outcomeUnknown, stub.asked.length], ["NO_ANSWER", true, 1]);
});

test("unless it was refused before anything was done", async () => {
  const away = refusal("REVOCATIONS_UNKNOWN", { status: 503 });
  const client = await clientBefore([away, { body: { data: { setDisplayName: null } } }]);
  await client.run(SetDisplayName, { displayName: "Ada" });
  assert.equal(stub.asked.length, 2);
});

test("the gateway says when to come back", async () => {
  const limited = { status: 429, headers: { "retry-after": "1" }, body: "slow down" };
  const client = await clientBefore([limited, { body: { data: TIP } }]);
  const began = performance.now();
  await client.run(Tip);
  assert.ok(performance.now() - began >= 990);
});

test("who would have to wait long is told", async () => {
  const client = await clientBefore([{ status: 429, headers: { "retry-after": "3600" }, body: "" }]);
  const error = await failureOf(client.run(Tip));
  assert.deepEqual([error.retryAfterMs, stub.asked.length], [3_600_000, 1]);
});

test("a moment to come back at is by the clock of who names it", async () => {
  const headers = { date: "Thu, 01 Jan 2026 00:00:00 GMT", "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT" };
  const client = await clientBefore([{ status: 429, headers, body: "" }]);
  assert.equal((await failureOf(client.run(Tip))).retryAfterMs, 30_000);
});

test("so does a service", async () => {
  const client = await clientBefore([refusal("TOO_MANY_ATTEMPTS", { extensions: { metadata: { retry_after_s: "30" } } })]);
  assert.equal((await failureOf(client.run(Tip))).retryAfterMs, 30_000);
});

test("an answer that does not come in time is no answer", async () => {
  stub = await stubOf(() => new Promise(() => undefined));
  const client = createClient({ url: stub.url, timeoutMs: 50, attempts: 1 });
  assert.equal((await failureOf(client.run(Tip))).code, "NO_ANSWER");
});

test("a request can be given up", async () => {
  const giving = new AbortController();
  const { signal } = giving;
  stub = await stubOf(() => (giving.abort(), new Promise(() => undefined)));
  const client = createClient({ url: stub.url });
  await assert.rejects(client.run(Tip, {}, { signal }), (error) => error === signal.reason);
  assert.equal(stub.asked.length, 1);
});

test("answers that are no GraphQL are named so", async () => {
  for (const body of ["", "null", "7", "[]", "{}", '{"data": null}', '{"errors": []}', '{"errors": "x"}', '{"errors": [null]}']) {
    const client = await clientBefore([{ body }]);
    assert.equal((await failureOf(client.run(Tip))).code, "NOT_GRAPHQL", body);
    stub.close();
  }
});

test("hashes are sent, and the text once to a gateway that does not know one", async () => {
  const client = await clientBefore([refusal("PERSISTED_QUERY_NOT_FOUND"), { body: { data: TIP } }], { sendHashes: true });
  await client.run(Tip);
  await client.run(Tip);
  const extensions = { persistedQuery: { version: 1, sha256Hash: Tip.hash } };
  assert.deepEqual(
    stub.asked.map(({ json }) => [json.query, json.extensions]),
    [
      [undefined, extensions],
      [Tip.text, extensions],
      [undefined, extensions],
    ],
  );
});

test("files go by the multipart specification", async () => {
  const client = await clientBefore([{ body: { data: { uploadMeme: null } } }]);
  await client.run(UploadMeme, { name: "Cat", picture: new Blob(["a picture"], { type: "image/png" }) });
  const [asked] = stub.asked;
  assert.match(asked?.headers["content-type"] ?? "", /^multipart\/form-data/);
  assert.ok(asked?.headers["x-satreel-preflight"]);
  assert.match(asked?.text ?? "", /name="operations"[^]*"picture":null[^]*name="map"\s+\{"picture":\["variables.picture"\]\}[^]*image\/png\s+a picture/);
});
