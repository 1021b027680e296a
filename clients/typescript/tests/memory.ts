/** A gateway in memory, in time that passes when a test says so. */
import type { TestContext } from "node:test";
import { type ClientOptions, type DateTime, type Tokens, createClient, memoryTokens } from "@satreel/client";

type Message = { type: string; id?: string; payload?: unknown };

/** A WebSocket; the test is its other end. */
export class FakeSocket {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSING = 2;
  static readonly CLOSED = 3;
  static made: FakeSocket[] = [];
  static get last(): FakeSocket {
    return FakeSocket.made.at(-1)!;
  }
  readyState = FakeSocket.CONNECTING;
  onopen?: () => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: (event: object) => void;
  onerror?: (event: object) => void;
  readonly sent: Message[] = [];

  constructor() {
    FakeSocket.made.push(this);
  }

  /** Of our client: the last message of this type. */
  heard<Payload = Record<string, any>>(type: string): (Message & { payload: Payload }) | undefined {
    return this.sent.findLast((message) => message.type === type) as never;
  }

  opens(): void {
    this.readyState = FakeSocket.OPEN;
    this.onopen?.();
  }

  says(message: Message): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** An event of the stream that was begun last. */
  tells(data: object): void {
    this.says({ type: "next", id: this.heard("subscribe")!.id!, payload: { data } });
  }

  fails(): void {
    this.onerror?.({ type: "error" });
  }

  closes(code: number): void {
    this.readyState = FakeSocket.CLOSED;
    this.onclose?.({ code, reason: "" });
  }

  send(text: string): void {
    const message = JSON.parse(text) as Message;
    this.sent.push(message);
    const answer = { connection_init: "connection_ack", ping: "pong" }[message.type];
    if (answer) queueMicrotask(() => this.says({ type: answer }));
  }

  close(code: number): void {
    this.readyState = FakeSocket.CLOSING;
    queueMicrotask(() => this.closes(code));
  }
}

/** Timers, and the clock that they go by. */
class Timers {
  nowMs = 0;
  readonly #set = new Map<object, { readonly atMs: number; readonly call: () => void }>();

  constructor(t: TestContext) {
    t.mock.method(performance, "now", () => this.nowMs);
    t.mock.method(globalThis, "setTimeout", (call: () => void, ms = 0) => {
      const timer = {};
      // As the platform: what is too long for it goes off at once.
      this.#set.set(timer, { atMs: this.nowMs + (ms >= 2 ** 31 ? 1 : Math.max(1, ms)), call });
      return timer;
    });
    t.mock.method(globalThis, "clearTimeout", (timer: object) => this.#set.delete(timer));
  }

  /** The earliest, if it goes off by then. */
  takeUntil(untilMs: number): { readonly atMs: number; readonly call: () => void } | undefined {
    const [first] = [...this.#set].sort(([, one], [, other]) => one.atMs - other.atMs);
    if (!first || first[1].atMs > untilMs) return undefined;
    this.#set.delete(first[0]);
    return first[1];
  }
}

/** What the gateway answers to a refresh; throw: nobody answers. */
type Refresh = (asked: { refreshToken: string; requestId: string }) => object | Promise<object>;

/** Time that a test moves, a client in it, and what the client asked for. */
export function world(t: TestContext, given: Partial<ClientOptions> = {}) {
  FakeSocket.made = [];
  const clock = { wallMs: Date.parse("2026-01-01T00:00:00Z") };
  const timers = new Timers(t);
  const refreshes: { refreshToken: string; requestId: string }[] = [];
  const gateway = {
    refresh: (() => refreshed(tokensOf("next", clock.wallMs))) as Refresh,
    /** All other operations. */
    answer: (_operation: string, _headers: Headers): object => ({ data: {} }),
  };
  const tokens = given.tokens ?? memoryTokens(tokensOf("first", clock.wallMs));
  const client = createClient({
    url: "http://gateway/graphql",
    webSocketImpl: FakeSocket,
    tokens,
    now: () => clock.wallMs,
    async fetch(_url, init) {
      const { operationName, variables } = JSON.parse(String(init?.body)) as { operationName: string; variables: never };
      if (operationName === "RefreshTokens") refreshes.push(variables);
      const answer = operationName === "RefreshTokens" ? await gateway.refresh(variables) : gateway.answer(operationName, init?.headers as Headers);
      return new Response(JSON.stringify(answer));
    },
    ...given,
  });
  t.after(() => client.close());
  /** So many milliseconds, from timer to timer; gives how many went off. */
  async function passes(ms: number): Promise<number> {
    let wentOff = 0;
    const untilMs = timers.nowMs + ms;
    const moveTo = (atMs: number) => void ((clock.wallMs += atMs - timers.nowMs), (timers.nowMs = atMs));
    await settled();
    for (let due = timers.takeUntil(untilMs); due && wentOff < 1_000; due = timers.takeUntil(untilMs), wentOff++) {
      moveTo(due.atMs);
      due.call();
      await settled();
    }
    moveTo(untilMs);
    return wentOff;
  }
  return { client, tokens, clock, gateway, refreshes, passes };
}

/** Everything has run that waits for no time. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Those of a log-in, good for a quarter of an hour. */
export function tokensOf(name: string, nowMs: number, id = "log-in"): Tokens {
  const until = (ms: number) => new Date(nowMs + ms).toISOString() as DateTime;
  return { id, accessToken: `access ${name}`, refreshToken: `refresh ${name}`, accessExpiresAt: until(15 * 60_000), refreshExpiresAt: until(30 * 86_400_000) };
}

export function refreshed(tokens: Tokens): object {
  return { data: { refreshTokens: tokens } };
}

export function error(code: string): object {
  return { errors: [{ message: code, extensions: { code } }] };
}
