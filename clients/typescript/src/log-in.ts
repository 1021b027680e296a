import { CreateChallenge, LogIn as LogInDocument, LogOut, RefreshTokens, SetPayoutAddress } from "./generated/documents.js";
import type { ChallengePurpose, UserFieldsFragment } from "./generated/types.js";
import type { Document, Kind } from "./document.js";
import { SatreelError } from "./errors.js";
import { backoffMs, sleep } from "./retry.js";
import { timeOf } from "./scalars.js";
import type { TokenStore, Tokens } from "./tokens.js";
import type { Wallet } from "./wallets.js";

/** Sends a document with this access token, or for nobody. */
export type Send = <Data, Variables extends object>(document: Document<Kind, Data, Variables>, variables: Variables, accessToken?: string) => Promise<Data>;

/** The gateway takes a refresh again under its name for 60 s; ours has to arrive within. */
const REFRESH_AGAIN_MS = 45_000;
const LOG_IN_IS_OVER: ReadonlySet<string> = new Set(["SESSION_INVALID", "REFRESH_TOKEN_REUSED", "INVALID_ARGUMENT"]);

/** Tells that other tokens count from now on; null: nobody is logged in any more. */
export type TokensListener = (tokens: Tokens | null) => void;

/** Somebody's log-in: how it begins, is kept alive, and ends. */
export class LogIn {
  readonly #send: Send;
  readonly #store: TokenStore;
  readonly #refreshBeforeMs: number;
  readonly #now: () => number;
  readonly #listeners = new Set<TokensListener>();
  #renewing: Promise<Tokens | null> | null = null;
  #renewedAtMs = -Infinity;
  /** How the refresh with this token is called, however often it is tried. */
  #refresh = { refreshToken: "", requestId: "" };

  constructor(send: Send, store: TokenStore, refreshBeforeMs: number, now: () => number) {
    this.#send = send;
    this.#store = store;
    this.#refreshBeforeMs = refreshBeforeMs;
    this.#now = now;
  }

  /** Gives a function that ends it. */
  onChange(listener: TokensListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Tokens, renewed if need be; null when nobody is logged in. While they are still good nobody waits for the renewal. */
  async tokens(): Promise<Tokens | null> {
    const tokens = await this.#store.load();
    if (!tokens || this.msUntilStale(tokens) > 0) return tokens;
    const renewal = this.renew(tokens.accessToken);
    const isGood = timeOf(tokens.accessExpiresAt).getTime() > this.#now();
    const renewed = renewal.catch((error: unknown) => {
      if (isGood || error instanceof SatreelError) return tokens;
      throw error;
    });
    return isGood ? tokens : renewed;
  }

  /** Does work with the access token, and again with another when the gateway refuses the first before it does anything. */
  async authorised<T>(work: (accessToken?: string) => Promise<T>): Promise<T> {
    const tokens = await this.tokens();
    try {
      return await work(tokens?.accessToken);
    } catch (error) {
      if (!tokens || !(error instanceof SatreelError && error.isTokenRefused && !error.executed)) throw error;
      const renewed = await this.renew(tokens.accessToken);
      // Nobody's work is done for another who has logged in meanwhile.
      if (renewed?.id !== tokens.id) throw error;
      return work(renewed.accessToken);
    }
  }

  /** Milliseconds until the access token should be renewed. A clock that is wrong does not renew again and again. */
  msUntilStale(tokens: Tokens): number {
    const now = this.#now();
    const byExpiry = timeOf(tokens.accessExpiresAt).getTime() - this.#refreshBeforeMs - now;
    return Math.max(byExpiry, this.#renewedAtMs + this.#refreshBeforeMs - now);
  }

  /** Other tokens than those with this access token, which is refused or will be; null when the log-in is over. */
  renew(accessToken: string): Promise<Tokens | null> {
    return (this.#renewing ??= this.#alone(() => this.#renewed(accessToken)).finally(() => (this.#renewing = null)));
  }

  async #renewed(accessToken: string): Promise<Tokens | null> {
    const tokens = await this.#store.load();
    if (!tokens || tokens.accessToken !== accessToken) {
      // Another tab was faster.
      this.#tell(tokens);
      return tokens;
    }
    try {
      const { refreshTokens } = await this.#refreshed(tokens.refreshToken);
      return await this.#follow(tokens, refreshTokens);
    } catch (error) {
      if (!(error instanceof SatreelError && LOG_IN_IS_OVER.has(error.code))) throw error;
      return this.#follow(tokens, null);
    }
  }

  /** Keeps what follows these tokens; where somebody has logged in or out meanwhile, that stays. */
  async #follow(before: Tokens, after: Tokens | null): Promise<Tokens | null> {
    const kept = await this.#store.load();
    if (kept?.accessToken !== before.accessToken) return kept;
    await this.#change(after);
    return after;
  }

  /** The same request under the same name until an answer comes: a second use of the token under another would end the log-in. */
  async #refreshed(refreshToken: string) {
    if (this.#refresh.refreshToken !== refreshToken) this.#refresh = { refreshToken, requestId: crypto.randomUUID() };
    const until = performance.now() + REFRESH_AGAIN_MS;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#send(RefreshTokens, this.#refresh);
      } catch (error) {
        const again = error instanceof SatreelError && (error.isTransient || error.outcomeUnknown);
        const pauseMs = backoffMs(attempt);
        if (!again || performance.now() + pauseMs > until) throw error;
        await sleep(pauseMs);
      }
    }
  }

  /** Has the wallet sign, and keeps the tokens. */
  async begin(wallet: Wallet): Promise<UserFieldsFragment> {
    const { logIn } = await this.#send(LogInDocument, await this.#proof(wallet, "LOG_IN"));
    const { user, ...tokens } = logIn;
    await this.#alone(() => this.#change(tokens));
    return user;
  }

  /** Proves by the wallet where BSV is paid out. */
  async setPayoutAddress(wallet: Wallet, autoPayout: boolean): Promise<UserFieldsFragment> {
    return this.authorised(async (accessToken) => {
      const proof = await this.#proof(wallet, "PAYOUT_ADDRESS", accessToken);
      return (await this.#send(SetPayoutAddress, { ...proof, autoPayout }, accessToken)).setPayoutAddress;
    });
  }

  async #proof(wallet: Wallet, purpose: ChallengePurpose, accessToken?: string) {
    const address = await wallet.address();
    const { createChallenge } = await this.#send(CreateChallenge, { address, purpose }, accessToken);
    return { challengeId: createChallenge.id, address, signature: await wallet.sign(createChallenge.message) };
  }

  /** Forgets the tokens, also when the gateway cannot be told; then it throws, and the log-in runs out by itself. */
  async end(everywhere: boolean): Promise<void> {
    const tokens = await this.#store.load();
    if (!tokens) return;
    try {
      await this.authorised((accessToken) => this.#send(LogOut, everywhere ? {} : { sessionId: tokens.id }, accessToken));
    } catch (error) {
      // It has ended already.
      if (!(error instanceof SatreelError && error.isTokenRefused)) throw error;
    } finally {
      await this.#alone(() => this.#change(null));
    }
  }

  async #change(tokens: Tokens | null): Promise<void> {
    await this.#store.save(tokens);
    if (tokens) this.#renewedAtMs = this.#now();
    this.#tell(tokens);
  }

  #tell(tokens: Tokens | null): void {
    for (const listener of this.#listeners) listener(tokens);
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#store.alone ? this.#store.alone(work) : work();
  }
}
