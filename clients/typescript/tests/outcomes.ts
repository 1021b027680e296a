/** What tests wait for. */
import assert from "node:assert/strict";
import { SatreelError } from "@satreel/client";

/** The error that a promise ends with. */
export async function failureOf(work: Promise<unknown>): Promise<SatreelError> {
  const error = await work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof SatreelError)) throw error;
  return error;
}

/** Waits until it is true, on a busy machine too. */
export async function until(ready: () => boolean | Promise<boolean>, withinMs = 30_000): Promise<void> {
  const end = Date.now() + withinMs;
  while (!(await ready())) {
    assert.ok(Date.now() < end, `not within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The next event of a stream. */
export async function next<T>(stream: AsyncIterator<T>): Promise<T> {
  const { value, done } = await stream.next();
  assert.ok(!done, "the stream has ended");
  return value;
}
