import type { AnyDocument } from "./document.js";
import { SatreelError } from "./errors.js";

/** Waits between attempts: doubling, bounded, and drawn at random so that clients do not come back together. */
const FIRST_MS = 250;
const LONGEST_MS = 15_000;

/** How long to wait before attempt number `attempt`, from 1. */
export function backoffMs(attempt: number): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt - 1, 16));
  return ceiling * (0.5 + Math.random() / 2);
}

/** Rejects with the signal's reason when it is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => (clearTimeout(timer), reject(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Who is told to wait longer than this is told so. */
const RETRY_AFTER_MS_MAX = 10_000;

/** Does it until it succeeds, was tried so often, or fails for good. Nothing is sent again that could then be done twice. */
export async function repeated<T>(document: AnyDocument, attempts: number, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt >= attempts || !mayRepeat(document, error)) throw error;
      await sleep(Math.max(backoffMs(attempt), error.retryAfterMs ?? 0), signal);
    }
  }
}

function mayRepeat({ kind, repeatable }: AnyDocument, error: unknown): error is SatreelError {
  if (!(error instanceof SatreelError) || !error.isTransient || (error.retryAfterMs ?? 0) > RETRY_AFTER_MS_MAX) return false;
  return kind === "query" || repeatable || !error.executed;
}
