/** Log-in by each kind of wallet, and how it lives on; identity is the real one, so every signature is checked. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { PrivateKey, ProtoWallet } from "@bsv/sdk";
import { type TokenStore, type Tokens, brc100Wallet, createClient, memoryTokens, okxWallet, storedTokens, unisatWallet } from "@satreel/client";
import { LogIns, Me, Tip } from "@satreel/client/operations";
import { failureOf } from "./outcomes.js";
import { act, clientOf, closeAll, unisat } from "./stage.js";
import { refusal, stubOf } from "./stub.js";

afterEach(closeAll);

const LATER = 14.5 * 60_000;

for (const kind of ["P2PKH", "P2SH", "P2WPKH", "P2TR"] as const) {
  test(`a wallet like UniSat and OKX logs in with ${kind}`, async () => {
    const client = clientOf();
    const wallet = await unisat(kind);
    const user = await client.logIn(wallet);
    assert.equal(user.address, await wallet.address());
    assert.equal((await client.run(Me)).me?.user.id, user.id);
  });
}

test("a BRC-100 wallet logs in with its identity key", async () => {
  const wallet = new ProtoWallet(PrivateKey.fromRandom());
  const client = clientOf();
  const user = await client.logIn(brc100Wallet(wallet as never));
  assert.equal(user.address, (await wallet.getPublicKey({ identityKey: true })).publicKey);
});

test("wallets are found where they put themselves", async () => {
  const provider = { requestAccounts: async () => ["1abc"], signMessage: async () => "signed" };
  Object.assign(globalThis, { unisat: provider, okxwallet: { bitcoin: provider } });
  assert.equal(await unisatWallet().address(), "1abc");
  assert.equal(await okxWallet().sign("text"), "signed");
  assert.throws(() => brc100Wallet(), /window.CWI/);
  const locked = unisatWallet({ ...provider, requestAccounts: async () => [] });
  await assert.rejects(locked.address(), /no account/);
});

test("a signature of another is refused, and nobody is logged in", async () => {
  const [mine, theirs] = [await unisat("P2PKH"), await unisat("P2PKH")];
  const client = clientOf();
  const error = await failureOf(client.logIn({ address: () => theirs.address(), sign: (text) => mine.sign(text) }));
  assert.equal(error.code, "SIGNATURE_INVALID");
  assert.equal(await client.isLoggedIn(), false);
});

test("a payout address is proved by a signature of its own", async () => {
  const client = clientOf();
  await client.logIn(await unisat("P2TR"));
  const payout = await unisat("P2PKH");
  const user = await client.setPayoutAddress(payout, { autoPayout: true });
  assert.deepEqual([user.payoutAddress, user.autoPayout], [await payout.address(), true]);
});

test("logging out ends it here and there", async () => {
  const tokens = memoryTokens();
  const told: boolean[] = [];
  const client = clientOf({ tokens, onLogIn: (loggedIn) => told.push(loggedIn) });
  await client.logIn(await unisat("P2PKH"));
  const kept = (await tokens.load()) as Tokens;
  await client.logOut();
  assert.equal(await tokens.load(), null);
  assert.deepEqual(told, [true, false]);
  assert.deepEqual(await client.run(Me), { me: null });
  await act("end_log_in", { session: kept.id });
  const thief = clientOf({ tokens: memoryTokens(kept) });
  assert.equal((await failureOf(thief.run(Me))).code, "SESSION_INVALID");
});

test("all log-ins of a user end together", async () => {
  const wallet = await unisat("P2PKH");
  const [here, there] = [clientOf(), clientOf()];
  await here.logIn(wallet);
  await there.logIn(wallet);
  assert.equal((await here.run(LogIns)).me?.logIns.length, 2);
  await here.logOut({ everywhere: true });
  assert.equal((await failureOf(there.run(LogIns))).code, "SESSION_INVALID");
  assert.equal(await there.isLoggedIn(), false);
});

test("tokens are renewed before they end, once for all who wait", async () => {
  let nowMs = Date.now();
  const tokens = memoryTokens();
  const client = clientOf({ tokens, now: () => nowMs });
  await client.logIn(await unisat("P2PKH"));
  const before = (await tokens.load()) as Tokens;
  nowMs += 16 * 60_000;
  const answers = await Promise.all([1, 2, 3].map(() => client.run(Me)));
  assert.ok(answers.every(({ me }) => me !== null));
  const after = (await tokens.load()) as Tokens;
  assert.equal(after.id, before.id);
  assert.notEqual(after.refreshToken, before.refreshToken);
  // By this clock the new one is over, too; it is not renewed again and again.
  await client.run(Me);
  assert.deepEqual(await tokens.load(), after);
});

test("nobody waits for a renewal while the token is still good", async () => {
  let nowMs = Date.now();
  const tokens = memoryTokens();
  const client = clientOf({ tokens, now: () => nowMs });
  await client.logIn(await unisat("P2PKH"));
  const before = (await tokens.load()) as Tokens;
  nowMs += LATER;
  for (let turn = 0; turn < 3; turn++) assert.notEqual((await client.run(Me)).me, null);
  assert.notEqual(((await tokens.load()) as Tokens).accessToken, before.accessToken);
});

test("tabs that share tokens take turns", async () => {
  let nowMs = Date.now();
  const tokens = shared();
  const tabs = [1, 2, 3].map(() => clientOf({ tokens, now: () => nowMs }));
  await tabs[0]!.logIn(await unisat("P2PKH"));
  nowMs += 16 * 60_000;
  const answers = await Promise.all(tabs.map((tab) => tab.run(Me)));
  assert.ok(answers.every(({ me }) => me !== null));
});

test("a refresh whose answer is lost is repeated under its name", async () => {
  let [nowMs, refreshes] = [Date.now(), 0];
  const lossy: typeof fetch = async (url, init) => {
    const answer = await fetch(url, init);
    const isRefresh = String(init?.body).includes("refreshTokens");
    if (isRefresh && ++refreshes === 1) throw new TypeError("the answer is lost");
    return answer;
  };
  const client = clientOf({ fetch: lossy, now: () => nowMs });
  await client.logIn(await unisat("P2PKH"));
  nowMs += 16 * 60_000;
  assert.notEqual((await client.run(Me)).me, null);
  assert.equal(refreshes, 2);
});

test("a token refused early is renewed, and the request sent again", async () => {
  const tokens = memoryTokens();
  const client = clientOf({ tokens });
  await client.logIn(await unisat("P2PKH"));
  const kept = (await tokens.load()) as Tokens;
  await tokens.save({ ...kept, accessToken: `${kept.id}.${"x".repeat(43)}` });
  assert.notEqual((await client.run(Me)).me, null);
});

test("a log-in that is over says so once, and is forgotten", async () => {
  const tokens = memoryTokens();
  const client = clientOf({ tokens });
  await client.logIn(await unisat("P2PKH"));
  const kept = (await tokens.load()) as Tokens;
  await client.logOut();
  await act("end_log_in", { session: kept.id });
  await tokens.save(kept);
  assert.equal((await failureOf(client.run(Tip))).code, "SESSION_INVALID");
  assert.equal(await tokens.load(), null);
  assert.equal((await client.run(Tip)).tip.height, 100);
});

test("a log-out that cannot be told still forgets", async () => {
  const tokens = memoryTokens(STALE);
  const stub = await stubOf([null]);
  const client = createClient({ url: stub.url, tokens, now: () => 0 });
  assert.equal((await failureOf(client.logOut())).code, "NO_ANSWER");
  assert.equal(await tokens.load(), null);
  stub.close();
});

test("a refresh that finds nobody loses nothing", async () => {
  const tokens = memoryTokens(STALE);
  const stub = await stubOf(({ json }) => (json.operationName === "RefreshTokens" ? refusal("BAD_GATEWAY_WORD", { status: 400 }) : refusal("SESSION_INVALID", { status: 401 })));
  const client = createClient({ url: stub.url, tokens });
  assert.equal((await failureOf(client.run(Tip))).code, "BAD_GATEWAY_WORD");
  assert.deepEqual(await tokens.load(), STALE);
  stub.close();
});

test("stored tokens survive the page", async () => {
  const kept = new Map<string, string>();
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value), removeItem: (key: string) => void kept.delete(key) };
  const client = clientOf({ tokens: storedTokens(storage) });
  await client.logIn(await unisat("P2PKH"));
  assert.notEqual((await clientOf({ tokens: storedTokens(storage) }).run(Me)).me, null);
  await client.logOut();
  assert.equal(kept.size, 0);
});

const STALE = {
  id: "s",
  accessToken: "a",
  refreshToken: "r",
  accessExpiresAt: "2026-01-01T00:00:00Z",
  refreshExpiresAt: "2026-01-01T00:00:00Z",
} as Tokens;

/** As `storedTokens` with Web Locks. */
function shared(): TokenStore {
  const store = memoryTokens();
  let last: Promise<unknown> = Promise.resolve();
  return {
    ...store,
    alone: <T>(work: () => Promise<T>): Promise<T> => {
      const mine = last.then(work);
      last = mine.catch(() => undefined);
      return mine;
    },
  };
}
