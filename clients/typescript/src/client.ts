import { type Arguments, type DataOf, type Document, withId } from "./document.js";
import type { UserFieldsFragment } from "./generated/types.js";
import { type Wire, post } from "./http.js";
import { type FollowOptions, Live } from "./live.js";
import { LogIn, type Send } from "./log-in.js";
import { repeated } from "./retry.js";
import { Socket } from "./socket.js";
import { type TokenStore, memoryTokens } from "./tokens.js";
import type { Wallet } from "./wallets.js";

/** How a client is made. */
export interface ClientOptions {
  /** Of the gateway, e.g. `https://satreel.example/graphql`. */
  readonly url: string;
  /** Of its WebSockets; the same with `ws` unless given. */
  readonly webSocketUrl?: string;
  /** Where a log-in is kept; in memory unless given. */
  readonly tokens?: TokenStore;
  readonly fetch?: typeof fetch;
  /** For platforms without a WebSocket of their own, such as Node 20: `ws`. */
  readonly webSocketImpl?: unknown;
  /** Send hashes in place of texts over HTTP, for gateways with persisted queries or trusted documents. */
  readonly sendHashes?: boolean;
  /** The page's own span, e.g. `00-4bf9…-00f0…-01`, asked for each request: the gateway's trace goes on under it. */
  readonly traceparent?: () => string | undefined;
  /** Time for one attempt in milliseconds; 15,000 unless given. */
  readonly timeoutMs?: number;
  /** Attempts of what may be sent again: queries, and mutations with an id of their own; 3 unless given. */
  readonly attempts?: number;
  /** Access tokens are renewed so long before their end, in milliseconds; 60,000 unless given. */
  readonly refreshBeforeMs?: number;
  /** A silent WebSocket is asked for a sign of life so often, in milliseconds; 12,000 unless given. */
  readonly keepAliveMs?: number;
  /** Told when somebody logs in (true), and when a log-in ends by whatever cause (false). */
  readonly onLogIn?: (loggedIn: boolean) => void;
  /** Milliseconds since 1970, for tests; Date.now unless given. */
  readonly now?: () => number;
}

/** How one operation is run. */
export interface RunOptions {
  readonly signal?: AbortSignal;
}

/** A gateway, and whoever is logged in there. */
export interface Client {
  /** Carries out a query or a mutation. Throws SatreelError, also when only a part of it failed: then it has `data`. */
  run<Data, Variables extends object>(document: Document<"query" | "mutation", Data, Variables>, ...given: Arguments<Variables, RunOptions>): Promise<Data>;
  /** Follows a subscription through broken connections and renewed tokens, until it ends or the loop is left. */
  subscribe<Data, Variables extends object>(
    document: Document<"subscription", Data, Variables>,
    ...given: Arguments<Variables, FollowOptions<Data, Variables>>
  ): AsyncGenerator<Data, void, undefined>;
  /** Asks the wallet to sign, and logs in. */
  logIn(wallet: Wallet): Promise<UserFieldsFragment>;
  /** Ends this log-in, or all of the user. */
  logOut(options?: { everywhere?: boolean }): Promise<void>;
  /** Sets where the user is paid out, proved by the wallet of that address. */
  setPayoutAddress(wallet: Wallet, options?: { autoPayout?: boolean }): Promise<UserFieldsFragment>;
  isLoggedIn(): Promise<boolean>;
  /** Ends all subscriptions. */
  close(): Promise<void>;
}

/** A client of one gateway. Nothing is sent before it is asked for something. */
export function createClient(options: ClientOptions): Client {
  const wire: Wire = {
    url: options.url,
    fetch: options.fetch ?? ((...given) => fetch(...given)),
    timeoutMs: options.timeoutMs ?? 15_000,
    sendHashes: options.sendHashes ?? false,
    traceparent: options.traceparent,
  };
  const attempts = options.attempts ?? 3;
  const send: Send = async (document, variables, accessToken) => {
    const given = variables as object as Record<string, unknown>;
    return (await repeated(document, attempts, () => post(wire, document, given, accessToken))) as DataOf<typeof document>;
  };
  const logIn = new LogIn(send, options.tokens ?? memoryTokens(), options.refreshBeforeMs ?? 60_000, options.now ?? Date.now);
  if (options.onLogIn) tellChanges(logIn, options.onLogIn);
  const socket = new Socket({
    url: options.webSocketUrl ?? options.url.replace(/^http/, "ws"),
    webSocketImpl: options.webSocketImpl,
    logIn,
    keepAliveMs: options.keepAliveMs ?? 12_000,
  });
  const live = new Live(socket, logIn, options.traceparent);

  return {
    async run<Data, Variables extends object>(document: Document<"query" | "mutation", Data, Variables>, ...[variables, how]: Arguments<Variables, RunOptions>) {
      const given = withId(document, variables ?? {});
      const once = () => logIn.authorised((token) => post(wire, document, given, token, how?.signal));
      return (await repeated(document, attempts, once, how?.signal)) as Data;
    },
    subscribe: (document, ...[variables, how]) =>
      live.follow(document as never, withId(document, variables ?? {}), (how ?? {}) as FollowOptions<never, Record<string, unknown>>),
    logIn: (wallet) => logIn.begin(wallet),
    logOut: ({ everywhere = false } = {}) => logIn.end(everywhere),
    setPayoutAddress: (wallet, { autoPayout = false } = {}) => logIn.setPayoutAddress(wallet, autoPayout),
    isLoggedIn: async () => (await logIn.tokens()) !== null,
    close: async () => socket.close(),
  };
}

function tellChanges(logIn: LogIn, told: (loggedIn: boolean) => void): void {
  let before: boolean | undefined;
  logIn.onChange((tokens) => {
    if ((tokens !== null) !== before) told((before = tokens !== null));
  });
}
