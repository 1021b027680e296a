import { type Client, type Sink, type SubscribePayload, createClient } from "graphql-ws/client";
import { SatreelError } from "./errors.js";
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

/** One WebSocket by graphql-transport-ws: opened for the first stream, closed after the last, and always on good tokens. */
export class Socket {
  readonly #options: SocketOptions;
  readonly #forget: () => void;
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
  async close(): Promise<void> {
    this.#forget();
    this.#closed();
    await this.#client?.dispose();
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
    const tokens = await this.#options.logIn.tokens();
    if (tokens) return this.#hold(tokens);
    this.accessToken = this.#logInId = undefined;
    return undefined;
  }

  /** What to tell the gateway of these tokens; they are renewed in time. */
  #hold(tokens: Tokens): { authorization: string } {
    this.accessToken = tokens.accessToken;
    this.#logInId = tokens.id;
    this.#renewWhenStale(tokens);
    return { authorization: `Bearer ${tokens.accessToken}` };
  }

  #renewWhenStale(tokens: Tokens): void {
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => void this.#renew(tokens), Math.max(0, this.#options.logIn.msUntilStale(tokens)));
  }

  async #renew(tokens: Tokens): Promise<void> {
    const { logIn } = this.#options;
    // Timers go by another clock, and may be early by ours.
    if (logIn.msUntilStale(tokens) > 0) return this.#renewWhenStale(tokens);
    // Where it fails, the gateway ends the streams, and each renews before it comes back.
    const renewed = await logIn.renew(tokens.accessToken).catch((error: unknown) => {
      if (error instanceof SatreelError) return tokens;
      throw error;
    });
    this.use(renewed);
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
