/** Subscriptions through everything that ends a connection. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { type Tokens, memoryTokens, sats, uuid7 } from "@satreel/client";
import { BalanceChanged, type BalanceChangedSubscription, MarketActivity, RoundUpdated, Watch } from "@satreel/client/operations";
import { failureOf, next, until } from "./outcomes.js";
import { type Line, about, act, clientOf, closeAll, lineTo, overheard, unisat } from "./stage.js";

let lines: Line[] = [];
afterEach(async () => {
  await closeAll();
  lines.forEach((line) => line.close());
  lines = [];
});

async function line(): Promise<Line> {
  const made = await lineTo(about.url);
  lines.push(made);
  return made;
}

test("what is, and then what comes", async () => {
  const rounds = clientOf().subscribe(RoundUpdated);
  const { roundUpdated } = await next(rounds);
  const { number } = await act<{ number: number }>("next_round");
  assert.equal((await next(rounds)).roundUpdated.number, number);
  assert.ok(number > roundUpdated.number);
  await rounds.return();
});

test("streams of one client share a socket, which is closed after the last", async () => {
  const wire = await line();
  const client = clientOf({ url: wire.url });
  const streams = [1, 2, 3].map(() => client.subscribe(RoundUpdated));
  await Promise.all(streams.map(next));
  assert.equal(wire.opened, 1);
  await Promise.all(streams.map((stream) => stream.return()));
});

test("a stream is taken up again when the line breaks", async () => {
  const wire = await line();
  let resumed = 0;
  const rounds = clientOf({ url: wire.url }).subscribe(RoundUpdated, {}, { onResumed: () => resumed++ });
  await next(rounds);
  wire.cut();
  const { number } = await act<{ number: number }>("next_round");
  assert.equal((await next(rounds)).roundUpdated.number, number);
  await until(() => resumed === 1);
  await rounds.return();
});

test("news that came while the line was broken are told, each once and in order", async () => {
  const wire = await line();
  const activity = clientOf({ url: wire.url }).subscribe(MarketActivity);
  let began = false;
  void next(activity).then(() => (began = true));
  await untilSold(() => began);
  // More than one may have been needed until the stream was there.
  await act("sale", { sats: 5_001 });
  while ((await next(activity)).marketActivity.sale?.priceSats !== sats(5_001));
  wire.cut();
  for (const price of [5_002, 5_003, 5_004]) await act("sale", { sats: price });
  for (const price of [5_002, 5_003, 5_004]) assert.equal((await next(activity)).marketActivity.sale?.priceSats, sats(price));
  await act("sale", { sats: 5_005 });
  assert.equal((await next(activity)).marketActivity.sale?.priceSats, sats(5_005));
  await activity.return();
});

test("what was missed can be read again", async () => {
  const wire = await line();
  const leaving = new AbortController();
  let [resumed, events] = [0, 0];
  const activity = clientOf({ url: wire.url }).subscribe(MarketActivity, {}, { signal: leaving.signal, onResumed: () => resumed++ });
  // Somebody always reads, however many were sold until the stream was there.
  const reading = (async () => {
    for await (const _ of activity) events++;
  })();
  const sold = async () => {
    const before = events;
    await untilSold(() => events > before);
  };
  await sold();
  wire.cut();
  await until(() => resumed === 1);
  await sold();
  await act("lose_news");
  await until(() => resumed === 2);
  await sold();
  leaving.abort();
  await reading;
});

/** Sells until that has been seen. */
async function untilSold(seen: () => boolean): Promise<void> {
  await until(async () => seen() || (await act("sale", { sats: 5_000 }), await new Promise((resolve) => setTimeout(resolve, 50)), seen()));
}

test("variables can follow what was seen", async () => {
  const wire = await line();
  const seen: number[] = [];
  const rounds = clientOf({ url: wire.url }).subscribe(RoundUpdated, {}, { resume: ({ roundUpdated }) => (seen.push(roundUpdated.number), {}) });
  await next(rounds);
  wire.cut();
  await next(rounds);
  assert.equal(seen.length, 2);
  await rounds.return();
});

test("a stream ends with its signal, whether it waits or not", async () => {
  const client = clientOf();
  const waiting = new AbortController();
  const rounds = client.subscribe(RoundUpdated, {}, { signal: waiting.signal });
  await next(rounds);
  const last = rounds.next();
  waiting.abort();
  assert.deepEqual(await last, { done: true, value: undefined });
  const never = client.subscribe(RoundUpdated, {}, { signal: AbortSignal.abort() });
  assert.deepEqual(await never.next(), { done: true, value: undefined });
});

test("a mistake ends a stream with its code", async () => {
  const client = clientOf();
  assert.equal((await failureOf(next(client.subscribe(Watch, { memeId: "no id", budget: sats(5) })))).code, "USER_TOKEN_MISSING");
  await client.logIn(await unisat("P2PKH"));
  assert.equal((await failureOf(next(client.subscribe(Watch, { memeId: "no id", budget: sats(5) })))).code, "BAD_ID");
});

test("a gateway that is not there is given up", { timeout: 120_000 }, async () => {
  // A port that nobody is given.
  const error = await failureOf(next(clientOf({ url: "http://127.0.0.1:1/graphql" }).subscribe(RoundUpdated)));
  assert.equal(error.code, "NO_ANSWER");
});

test("seconds are paid until the budget is spent, through a broken line", async () => {
  const wire = await line();
  const client = clientOf({ url: wire.url });
  await client.logIn(await unisat("P2PKH"));
  const id = uuid7();
  const seconds: number[] = [];
  let reason: string | null = null;
  for await (const { watch } of client.subscribe(Watch, { memeId: about.meme, budget: sats(8), id })) {
    assert.equal(watch.viewingId, id);
    seconds.push(watch.seconds);
    if (seconds.length === 2) wire.cut();
    reason = watch.stopReason;
  }
  // It waits for us: taken up again it is the same, and goes on.
  assert.equal(reason, "BUDGET_SPENT");
  const viewings = await act<{ id: string }[]>("viewings");
  assert.equal(viewings.filter((one) => one.id === id).length, 1);
});

test("leaving the loop stops what is paid for", async () => {
  const client = clientOf();
  await client.logIn(await unisat("P2PKH"));
  const id = uuid7();
  for await (const { watch } of client.subscribe(Watch, { memeId: about.meme, budget: sats(3_600), id })) if (watch.seconds > 0) break;
  await until(async () => (await act<{ id: string; stopReason: number }[]>("viewings")).some((one) => one.id === id && one.stopReason > 0));
});

const NEVER_MS = 3_600_000;
const PONG = '{"type":"pong"}';

test("a viewing outlives the access token it began with", async () => {
  let nowMs = Date.now();
  const { told, webSocketImpl } = overheard();
  const client = clientOf({ now: () => nowMs, webSocketImpl, keepAliveMs: NEVER_MS });
  await client.logIn(await unisat("P2PKH"));
  const id = uuid7();
  const reasons: (string | null)[] = [];
  for await (const { watch } of client.subscribe(Watch, { memeId: about.meme, budget: sats(15), id }, { onResumed: () => assert.fail("the stream broke") })) {
    reasons.push(watch.stopReason);
    // While the new token is on its way the gateway's time stands still: it trusts the old one, checked with the event before, for seconds.
    if (reasons.length === 2) await act("stop_clock");
    if (reasons.length !== 4) continue;
    nowMs += 16 * 60_000;
    await client.isLoggedIn();
    await until(() => told.includes(PONG));
    await act("start_clock");
  }
  assert.equal(reasons.at(-1), "BUDGET_SPENT");
});

/** A client with a stream of its user's balance, and its first event. */
async function balance(options: Parameters<typeof clientOf>[0] = {}) {
  const tokens = memoryTokens();
  const client = clientOf({ tokens, ...options });
  const user = (await client.logIn(await unisat("P2PKH"))).id;
  // Ids are global; the fakes know the bare one.
  const bare = Buffer.from(user, "base64").toString().split(":").at(-1)!;
  await act("balance", { user: bare, sats: 5 });
  const told = { resumed: 0 };
  const stream = client.subscribe(BalanceChanged, {}, { onResumed: () => told.resumed++ });
  assert.equal((await next(stream)).balanceChanged.balance, 5);
  return { client, tokens, stream, told, pay: (sats: number) => act("balance", { user: bare, sats }) };
}

/** Events until one says so. */
async function untilBalance(stream: AsyncIterator<BalanceChangedSubscription>, sats: number): Promise<void> {
  while ((await next(stream)).balanceChanged.balance !== sats);
}

test("streams go on with renewed tokens, on the same socket", async () => {
  let nowMs = Date.now();
  const { told: messages, webSocketImpl } = overheard();
  const { client, tokens, stream, pay, told } = await balance({ now: () => nowMs, webSocketImpl, keepAliveMs: NEVER_MS });
  const before = (await tokens.load()) as Tokens;
  nowMs += 16 * 60_000;
  await client.isLoggedIn();
  assert.notEqual(((await tokens.load()) as Tokens).accessToken, before.accessToken);
  await until(() => messages.includes(PONG));
  // Longer than the gateway trusts the token that was.
  await act("pass_time", { seconds: 5 });
  await pay(7);
  await untilBalance(stream, 7);
  assert.equal(told.resumed, 0);
  await stream.return();
});

test("an idle stream renews the tokens by itself", async () => {
  // A second before they should be renewed.
  const aheadMs = 15 * 60_000 - 2_000;
  const { tokens, stream, pay } = await balance({ now: () => Date.now() + aheadMs, refreshBeforeMs: 1_000 });
  const before = (await tokens.load()) as Tokens;
  const seen = untilBalance(stream, 9);
  await until(async () => ((await tokens.load()) as Tokens).accessToken !== before.accessToken);
  await pay(9);
  await seen;
  await stream.return();
});

test("a token refused by the socket is renewed", async () => {
  const { client, tokens, stream } = await balance();
  await stream.return();
  const kept = (await tokens.load()) as Tokens;
  await tokens.save({ ...kept, accessToken: `${kept.id}.${"x".repeat(43)}` });
  await client.close();
  const again = clientOf({ tokens }).subscribe(BalanceChanged);
  assert.equal((await next(again)).balanceChanged.balance, 5);
  await again.return();
});

test("a log-in that ends elsewhere ends its streams", async () => {
  const { client, tokens, stream } = await balance();
  const kept = (await tokens.load()) as Tokens;
  const other = clientOf({ tokens: memoryTokens(kept) });
  const end = failureOf(next(stream));
  await other.logOut();
  await act("end_log_in", { session: kept.id });
  assert.equal((await end).code, "SESSION_INVALID");
  assert.equal(await client.isLoggedIn(), false);
});

test("closing a client ends its streams", async () => {
  const client = clientOf();
  const rounds = client.subscribe(RoundUpdated);
  await next(rounds);
  const last = rounds.next();
  await client.close();
  assert.deepEqual(await last, { done: true, value: undefined });
});
