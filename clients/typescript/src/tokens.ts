import type { DateTime } from "./scalars.js";

/** What keeps somebody logged in. All but the id and the times is secret. */
export interface Tokens {
  /** Names the log-in; not a secret. */
  readonly id: string;
  readonly accessToken: string;
  /** Works once. */
  readonly refreshToken: string;
  readonly accessExpiresAt: DateTime;
  readonly refreshExpiresAt: DateTime;
}

type Soon<T> = T | Promise<T>;

/** Where tokens are kept between calls, page loads and tabs. */
export interface TokenStore {
  load(): Soon<Tokens | null>;
  /** Null: nobody is logged in any more. Must be done when it returns: a refresh token that is lost cannot be had again. */
  save(tokens: Tokens | null): Soon<void>;
  /**
   * Runs `work` while no other user of the same store runs theirs. A store shared by tabs or processes needs it: two
   * refreshes with one token look like theft, and end the log-in.
   */
  alone?<T>(work: () => Promise<T>): Promise<T>;
}

/** Tokens that are gone with the page: nothing for scripts of others to find. */
export function memoryTokens(tokens: Tokens | null = null): TokenStore {
  return { load: () => tokens, save: (next) => void (tokens = next) };
}

/**
 * Tokens in `localStorage`: people stay logged in, in all tabs of the site. Every script of the site can read them there, so
 * have a Content-Security-Policy. Tabs take turns by the Web Locks API.
 */
export function storedTokens(storage: Pick<Storage, "getItem" | "setItem" | "removeItem"> = localStorage, key = "satreel.tokens"): TokenStore {
  return {
    load: () => JSON.parse(storage.getItem(key) ?? "null") as Tokens | null,
    save: (tokens) => (tokens ? storage.setItem(key, JSON.stringify(tokens)) : storage.removeItem(key)),
    alone: (work) => ("locks" in navigator ? (navigator.locks.request(key, work) as ReturnType<typeof work>) : work()),
  };
}
