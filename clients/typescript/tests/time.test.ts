/** Timers, clocks that are set, and what happens while something else is waited for. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Tokens, memoryTokens } from "@satreel/client";
import { MarketActivity, RoundUpdated, SetDisplayName } from "@satreel/client/operations";
import { FakeSocket, error, refreshed, settled, tokensOf, world } from "./memory.js";
import { failureOf, next } from "./outcomes.js";

const STALE_MS = 14 * 60_000;

/** A world with a stream that has begun. */
async function following(t: TestContext, given: Parameters<typeof world>[1] = {}) {
  const around = world(t, given);
  const stream = around.client.subscribe(RoundUpdated);
  const first = next(stream);
  await taken();
  FakeSocket.last.tells({ roundUpdated: { number: 1 } });
  await first;
  return { ...around, stream };
}

/** The socket that was made last is opened, and the stream asked for. */
async function taken(): Promise<void> {
  await settled();
  FakeSocket.last.opens();
  await settled();
}

/** The token that the gateway was handed over last. */
function handedOver(): string | undefined {
  return FakeSocket.last.sent.findLast((message) => message.type === "ping" && message.payload)?.payload?.["authorization" as never];
}

test("an idle stream's tokens are renewed in time, wherever the clock is set meanwhile", async (t) => {
  for (const byMs of [-3_600_000, -2_000, 2_000]) {
    await t.test(`by ${byMs} ms`, async (t) => {
      const { clock, passes, refreshes } = await following(t);
      clock.wallMs += byMs;
      await passes(STALE_MS - 1_000);
      assert.equal(refreshes.length, 0);
      await passes(1_000);
      assert.equal(refreshes.length, 1);
      assert.equal(handedOver(), "Bearer access next");
    });
  }
});

test("a clock that is years behind renews nothing", async (t) => {
  const { clock, client, passes, refreshes } = world(t);
  clock.wallMs = Date.parse("2020-01-01T00:00:00Z");
  const first = client.subscribe(RoundUpdated).next();
  await taken();
  assert.ok((await passes(60_000)) < 20);
  assert.notEqual(FakeSocket.last.heard("subscribe"), undefined);
  assert.equal(refreshes.length, 0);
  await client.close();
  await first;
});

test("a renewal that failed is tried again, under its name", async (t) => {
  const { gateway, passes, refreshes } = await following(t);
  const good = gateway.refresh;
  gateway.refresh = () => error("NOT_TODAY");
  await passes(STALE_MS);
  gateway.refresh = good;
  await passes(10_000);
  assert.equal(handedOver(), "Bearer access next");
  assert.equal(refreshes.length, 2);
  assert.equal(refreshes[0]?.requestId, refreshes[1]?.requestId);
  // The next token has a name of its own.
  await passes(STALE_MS);
  assert.notEqual(refreshes[2]?.requestId, refreshes[1]?.requestId);
});

test("a store that cannot keep the tokens does not end the program, nor the log-in", async (t) => {
  const kept = memoryTokens(tokensOf("first", Date.parse("2026-01-01T00:00:00Z")));
  let full = true;
  const save = (tokens: Tokens | null) => {
    if (full) throw new Error("the store is full");
    return kept.save(tokens);
  };
  const { client, clock, passes, refreshes } = await following(t, { tokens: { ...kept, save } });
  clock.wallMs += STALE_MS;
  assert.equal(await client.isLoggedIn(), true);
  await settled();
  full = false;
  await passes(STALE_MS + 20_000);
  assert.equal(handedOver(), "Bearer access next");
  assert.equal(refreshes[0]?.requestId, refreshes[1]?.requestId);
});

test("a stream outlives a log-in that cannot be renewed for long", async (t) => {
  const { gateway, passes, refreshes, stream } = await following(t);
  const good = gateway.refresh;
  gateway.refresh = () => {
    throw new TypeError("nobody is there");
  };
  const second = next(stream);
  for (let sockets = 1; sockets < 4; sockets++) {
    if (sockets === 3) gateway.refresh = good;
    assert.equal(FakeSocket.made.length, sockets);
    FakeSocket.last.closes(4403);
    // Longer than a renewal is tried, and a stream pauses.
    await passes(65_000);
    await taken();
  }
  assert.equal(new Set(refreshes.map(({ requestId }) => requestId)).size, 1);
  FakeSocket.last.tells({ roundUpdated: { number: 2 } });
  assert.equal((await second).roundUpdated.number, 2);
});

test("what another tab renewed is taken", async (t) => {
  const { clock, passes, refreshes, tokens } = await following(t);
  await tokens.save(tokensOf("of another tab", clock.wallMs + 600_000));
  await passes(STALE_MS);
  assert.deepEqual([handedOver(), refreshes.length], ["Bearer access of another tab", 0]);
});

test("a log-out in another tab is told here", async (t) => {
  const told: boolean[] = [];
  const { stream, tokens } = await following(t, { onLogIn: (loggedIn) => told.push(loggedIn) });
  await tokens.save(null);
  const end = failureOf(next(stream));
  FakeSocket.last.closes(4403);
  assert.equal((await end).code, "SESSION_INVALID");
  assert.deepEqual(told, [false]);
});

for (const [what, code] of [
  ["answered", null],
  ["refused", "SESSION_INVALID"],
] as const) {
  test(`a renewal that is ${what} after a log-out, or another log-in, changes nothing`, async (t) => {
    for (const after of [null, tokensOf("of another", 0, "another log-in")]) {
      await t.test(after ? "log-in" : "log-out", async (t) => {
        const told: boolean[] = [];
        const { client, clock, gateway, passes, tokens } = await following(t, { onLogIn: (loggedIn) => told.push(loggedIn) });
        let answer!: (body: object) => void;
        gateway.refresh = () => new Promise((resolve) => (answer = resolve));
        await passes(STALE_MS);
        if (after) await tokens.save(after);
        else await client.logOut();
        answer(code ? error(code) : refreshed(tokensOf("late", clock.wallMs)));
        await settled();
        assert.deepEqual(await tokens.load(), after);
        assert.ok(!told.includes(true));
      });
    }
  });
}

test("what one asked for is not done for another who logged in meanwhile", async (t) => {
  const { client, clock, gateway, tokens } = world(t);
  const sentBy: (string | null)[] = [];
  gateway.answer = (_, headers) => {
    sentBy.push(headers.get("authorization"));
    void tokens.save(tokensOf("of another", clock.wallMs, "another log-in"));
    return error("SESSION_INVALID");
  };
  assert.equal((await failureOf(client.run(SetDisplayName, { displayName: "Ada" }))).code, "SESSION_INVALID");
  assert.deepEqual(sentBy, ["Bearer access first"]);
});

test("a stream that fell behind goes on before the gap", async (t) => {
  const { client, passes } = world(t);
  const sold = (number: number) => FakeSocket.last.tells({ marketActivity: { cursor: `c${number}` } });
  const stream = client.subscribe(MarketActivity);
  const first = next(stream);
  await taken();
  // One is taken, a thousand wait, one is lost; then there is room again.
  for (let number = 0; number <= 1_001; number++) {
    sold(number);
    if (number === 0) await first;
  }
  const seen = [(await next(stream)).marketActivity.cursor];
  sold(1_002);
  while (seen.length < 1_000) seen.push((await next(stream)).marketActivity.cursor);
  assert.equal(seen.at(-1), "c1000");
  const gone = stream.next();
  await passes(1_000);
  assert.equal(FakeSocket.last.heard("subscribe")?.payload["variables"].after, "c1000");
  await client.close();
  await gone;
});

test("closing leaves no renewal behind, though tokens were being looked for", async (t) => {
  let found!: (tokens: Tokens) => void;
  const load = () => new Promise<Tokens>((resolve) => (found = resolve));
  const { client, clock, passes, refreshes } = world(t, { tokens: { load, save: () => undefined } });
  const first = client.subscribe(RoundUpdated).next();
  await taken();
  await client.close();
  assert.equal((await first).done, true);
  found(tokensOf("first", clock.wallMs));
  await passes(STALE_MS + 1_000);
  assert.equal(refreshes.length, 0);
});

test("closing ends a stream that is not there yet, and one that comes too late", async (t) => {
  const { client } = world(t);
  const first = client.subscribe(RoundUpdated).next();
  await settled();
  await client.close();
  assert.equal((await first).done, true);
  FakeSocket.last.fails();
  await settled();
  assert.equal((await client.subscribe(RoundUpdated).next()).done, true);
  assert.equal(FakeSocket.made.length, 1);
});

test("closing ends a stream in its pause", async (t) => {
  const { client, passes, stream } = await following(t);
  const last = stream.next();
  FakeSocket.last.closes(1012);
  await settled();
  await client.close();
  assert.equal((await last).done, true);
  await passes(20_000);
  assert.equal(FakeSocket.made.length, 1);
});

test("a silent peer is given up, and the stream taken up again", async (t) => {
  const { passes, stream } = await following(t);
  FakeSocket.last.says = () => undefined;
  const second = next(stream);
  await passes(25_000);
  await taken();
  assert.equal(FakeSocket.made.length, 2);
  FakeSocket.last.tells({ roundUpdated: { number: 2 } });
  assert.equal((await second).roundUpdated.number, 2);
});
