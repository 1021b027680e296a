import type { Document } from "./document.js";
import { type GraphQLErrorJson, SatreelError } from "./errors.js";
import type { LogIn } from "./log-in.js";
import { Mailbox } from "./mailbox.js";
import { backoffMs, sleep } from "./retry.js";
import { RENEWED, type Socket } from "./socket.js";

/** How a stream may be followed. */
export interface FollowOptions<Data, Variables> {
  /** Ends the stream when it is aborted. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Called when a broken stream has been taken up again. Streams that begin with what is (a round, a balance, a viewing) need
   * nothing, and news of the market and the pipeline go on behind the last event. What other lists show may have changed unseen.
   */
  readonly onResumed?: (() => void) | undefined;
  /** What to change in the variables when the stream is taken up again after `last`, such as a cursor. */
  readonly resume?: ((last: Data) => Partial<Variables>) | undefined;
}

type Variables = Record<string, unknown>;
type Subscribable<Data> = Document<"subscription", Data, never>;

/** Without any connection so far, so many attempts; a stream that began is taken up for ever. */
const ATTEMPTS_TO_BEGIN = 5;
/** A stream that lived so long had no trouble at its start. */
const STEADY_MS = 10_000;

// Close codes: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
const FORBIDDEN = 4403;
/** Messages that we should not have sent: they would be no better the next time. */
const OUR_MISTAKE: ReadonlySet<number> = new Set([1009, 4400, 4406, 4409, 4429]);
const NEWS_MISSING: ReadonlySet<string> = new Set(["NEWS_LOST", "FELL_BEHIND"]);

/** Streams that outlive their connections. */
export class Live {
  readonly #socket: Socket;
  readonly #logIn: LogIn;
  readonly #traceparent: (() => string | undefined) | undefined;

  constructor(socket: Socket, logIn: LogIn, traceparent?: () => string | undefined) {
    this.#socket = socket;
    this.#logIn = logIn;
    this.#traceparent = traceparent;
  }

  /** Events until the gateway ends the stream or the signal is aborted. Throws SatreelError when it cannot go on. */
  async *follow<Data>(
    document: Subscribable<Data>,
    variables: Variables,
    { signal: given, onResumed, resume }: FollowOptions<Data, Variables>,
  ): AsyncGenerator<Data, void, undefined> {
    const signal = given ? AbortSignal.any([given, this.#socket.closing]) : this.#socket.closing;
    let began = false;
    const onConnected = () => void (began ? onResumed?.() : (began = true));
    for (let [life, troubles] = [1, 0]; !signal.aborted; life++) {
      const bornMs = performance.now();
      try {
        for await (const data of this.#once(document, variables, onConnected, signal)) {
          variables = { ...variables, ...behind(document, data), ...resume?.(data) };
          yield data;
        }
        return;
      } catch (error) {
        if (!(error instanceof SatreelError)) throw error;
        // Nobody knows any more what came behind the cursor.
        if (error.code === "NEWS_LOST") variables = { ...variables, after: undefined };
        troubles = performance.now() - bornMs > STEADY_MS ? 1 : troubles + 1;
        if (!(began || troubles < ATTEMPTS_TO_BEGIN) || !(await this.#canGoOn(error, life))) throw error;
        if (error.closeCode !== RENEWED) await sleep(backoffMs(troubles), signal).catch(() => undefined);
      }
    }
  }

  /** One life of a stream. Throws SatreelError when it breaks. */
  async *#once<Data>(document: Subscribable<Data>, variables: Variables, onConnected: () => void, signal: AbortSignal) {
    const box = new Mailbox<Data>();
    const traceparent = this.#traceparent?.();
    const payload = { query: document.text, operationName: document.name, variables, ...(traceparent && { extensions: { traceparent } }) };
    const stop = this.#socket.subscribe<Data>(payload, {
      next: ({ data, errors }) => {
        if (errors) box.fail(SatreelError.of(errors as GraphQLErrorJson[], { data }));
        else if (data) box.put(data);
      },
      error: (error) => box.fail(broken(error)),
      complete: () => box.end(),
    });
    const deafen = this.#socket.whenConnected(onConnected);
    const leave = () => box.end();
    signal.addEventListener("abort", leave, { once: true });
    try {
      yield* box;
    } finally {
      deafen();
      signal.removeEventListener("abort", leave);
      stop();
    }
  }

  async #canGoOn(error: SatreelError, life: number): Promise<boolean> {
    if (error.isTokenRefused) return this.#renewed();
    // The gateway has not seen yet that the stream before broke.
    if (error.code === "ALREADY_WATCHING") return life > 1;
    return error.isTransient || NEWS_MISSING.has(error.code);
  }

  /** False: the log-in is over. A renewal that finds nobody is tried again with the stream. */
  async #renewed(): Promise<boolean> {
    const refused = this.#socket.accessToken;
    if (refused === undefined) return false;
    try {
      return (await this.#logIn.renew(refused)) !== null;
    } catch (error) {
      if (error instanceof SatreelError && (error.isTransient || error.outcomeUnknown)) return true;
      throw error;
    }
  }
}

/** Where news are gone on with: behind the last event, for documents that take its cursor as `$after`. */
function behind({ text }: { text: string }, data: unknown): Variables {
  const [event] = Object.values(data as Record<string, { cursor?: unknown } | null>);
  return typeof event?.cursor === "string" && text.includes("$after") ? { after: event.cursor } : {};
}

/** What graphql-ws says of a stream's end: GraphQL errors, a close event, or a failure to connect. */
function broken(problem: unknown): SatreelError {
  if (Array.isArray(problem)) return SatreelError.of(problem as GraphQLErrorJson[], { executed: false });
  const { code, reason } = problem as Partial<CloseEvent>;
  if (typeof code !== "number") return new SatreelError("NO_ANSWER", "The WebSocket could not be opened.", { cause: problem });
  const about = { closeCode: code, cause: problem };
  if (code === FORBIDDEN) return new SatreelError("SESSION_INVALID", reason || "The access token was refused.", about);
  const kind = OUR_MISTAKE.has(code) ? "SOCKET_CLOSED" : "NO_ANSWER";
  return new SatreelError(kind, `The WebSocket was closed: ${code} ${reason ?? ""}`.trim(), about);
}
