import { SatreelError } from "./errors.js";

/** So many events may wait for who reads them. */
const WAITING_MAX = 1_000;

/** Turns calls into an async iteration. */
export class Mailbox<T> implements AsyncIterable<T> {
  #waiting: T[] = [];
  #over: { readonly error?: unknown } | null = null;
  #wake: (() => void) | null = null;

  /** Too many that nobody takes end it with FELL_BEHIND; what comes after the end does not count, for something is missing before it. */
  put(item: T): void {
    if (this.#over) return;
    if (this.#waiting.length < WAITING_MAX) this.#waiting.push(item);
    else this.fail(new SatreelError("FELL_BEHIND", "Events came faster than they were taken."));
    this.#wake?.();
  }

  /** Nothing follows what waits. */
  end(): void {
    this.#over ??= {};
    this.#wake?.();
  }

  /** The iteration throws this after what waits. */
  fail(error: unknown): void {
    this.#over ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      while (this.#waiting.length > 0) yield this.#waiting.shift()!;
      if (this.#over) {
        if ("error" in this.#over) throw this.#over.error;
        return;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
