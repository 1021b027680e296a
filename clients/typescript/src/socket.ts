import { type Client, type Sink, type SubscribePayload, createClient } from "graphql-ws/client";
import type { LogIn } from "./log-in.js";
import type { Tokens } from "./tokens.js";

/** How the WebSocket is made. */
export interface SocketOptions {
  readonly url: string;
  /** A WebSocket class; the platform's unless given. */
  readonly webSocketImpl: unknown;
  readonly logIn: LogIn;
  readonly keepAliveMs: number;
}

/** We close with it to come back with other tokens. */
export const RENEWED = 4205;
const IDLE_MS = 3_000;
const ACK_MS = 10_000;
const RENEW_AGAIN_MS = 10_000;
/** A timer for longer goes off at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** One WebSocket by graphql-transport-ws: opened for the first stream, closed after the last, and always on good tokens. */
export class Socket {
  readonly #options: SocketOptions;
  readonly #forget: () => void;
  readonly #closing = new AbortController();
  #client: Client | undefined;
  #open: Pick<WebSocket, "send" | "close"> | undefined;
  #acknowledged = false;
  #renewal: ReturnType<typeof setTimeout> | undefined;
  #pong: ReturnType<typeof setTimeout> | undefined;
  #logInId: string | undefined;
  /** What the socket was opened with, or was handed since. */
  accessToken: string | undefined;

  constructor(options: SocketOptions) {
    this.#options = options;
    this.#forget = options.logIn.onChange((tokens) => this.use(tokens));
  }

  /** Aborted when no stream may go on. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Starts a stream, and gives what stops it. */
  subscribe<Data>(payload: SubscribePayload, sink: Sink<{ data?: Data | null; errors?: unknown }>): () => void {
    return this.#made().subscribe(payload, sink as never);
  }

  /** Calls once what was subscribed before is sent; gives what prevents it. */
  whenConnected(call: () => void): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = () => void (timer = setTimeout(call, 0));
    const deafen = this.#acknowledged ? soon() : this.#made().on("connected", () => (deafen?.(), soon()));
    return () => (deafen?.(), clearTimeout(timer));
  }

  /** Hands over the token that follows, for streams on the old one would end within seconds; for another log-in all come back. */
  use(tokens: Tokens | null): void {
    if (!this.#open || tokens?.accessToken === this.accessToken) return;
    if (this.#acknowledged && tokens && tokens.id === this.#logInId)
      this.#open.send(JSON.stringify({ type: "ping", payload: this.#hold(tokens) }));
    else this.#open.close(RENEWED, "Other tokens");
  }

  /** Ends all streams. */
  close(): void {
    this.#forget();
    this.#closing.abort();
    this.#closed();
    // It waits for a connection that is being made, which may fail; no stream is left that it would concern.
    Promise.resolve(this.#client?.dispose()).catch(() => undefined);
  }

  #made(): Client {
    const { url, webSocketImpl, keepAliveMs } = this.#options;
    return (this.#client ??= createClient({
      url,
      webSocketImpl: webSocketImpl ?? globalThis.WebSocket,
      connectionParams: () => this.#parameters(),
      // Streams take themselves up again, each with variables of its own.
      retryAttempts: 0,
      lazyCloseTimeout: IDLE_MS,
      connectionAckWaitTimeout: ACK_MS,
      keepAlive: keepAliveMs,
      on: {
        opened: (socket) => void (this.#open = socket as WebSocket),
        connected: () => void (this.#acknowledged = true),
        closed: () => this.#closed(),
        ping: (received) => received || this.#expectPong(),
        pong: (received) => received && clearTimeout(this.#pong),
      },
    }));
  }

  async #parameters(): Promise<Record<string, unknown> | undefined> {
    const socket = this.#open;
    const tokens = await this.#options.logIn.tokens();
    if (socket !== this.#open) return undefined;
    if (tokens) return this.#hold(tokens);
    this.accessToken = this.#logInId = undefined;
    return undefined;
  }

  /** What to tell the gateway of these tokens; they are renewed in time. */
  #hold(tokens: Tokens): { authorization: string } {
    this.accessToken = tokens.accessToken;
    this.#logInId = tokens.id;
    this.#renewIn(this.#options.logIn.msUntilStale(tokens), tokens);
    return { authorization: `Bearer ${tokens.accessToken}` };
  }

  /** Whatever the clock says then: timers go by another, which nobody sets. */
  #renewIn(ms: number, tokens: Tokens): void {
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => void this.#renew(tokens), Math.min(Math.max(0, ms), TIMER_MS_MAX));
  }

  /** What follows is handed over by `use`. */
  async #renew(tokens: Tokens): Promise<void> {
    try {
      await this.#options.logIn.renew(tokens.accessToken);
    } catch {
      if (this.#open && this.accessToken === tokens.accessToken) this.#renewIn(RENEW_AGAIN_MS, tokens);
    }
  }

  /** A peer that does not answer is gone, whatever TCP says. */
  #expectPong(): void {
    clearTimeout(this.#pong);
    this.#pong = setTimeout(() => this.#client?.terminate(), this.#options.keepAliveMs);
  }

  #closed(): void {
    clearTimeout(this.#renewal);
    clearTimeout(this.#pong);
    this.#acknowledged = false;
    this.#open = undefined;
  }
}
