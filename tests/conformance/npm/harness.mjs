// What every suite here stands on: checks with names, told as one JSON line each on standard output.
import assert from 'node:assert/strict';

export { assert };

// The gateway under test and what its fakes hold; made by tests/conformance/__main__.py.
export const world = JSON.parse(process.env.SATREEL_CONFORMANCE ?? '{}');
export const http = `${world.url}/graphql`;
export const socket = http.replace('http', 'ws');

const WAIT_S = 60;
// Compilers, on a machine that is busy.
export const PROGRAM_S = 150;

export function tell(name, problem) {
  const failed = problem === undefined ? {} : { problem: String(problem?.stack ?? problem).slice(0, 2_000) };
  process.stdout.write(`${JSON.stringify({ name, ...failed })}\n`);
}

// Runs one check; a thrown error, or no end in time, fails it.
export async function check(name, body, waitS = WAIT_S) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not over within ${waitS} s`)), waitS * 1_000);
  });
  try {
    await Promise.race([body(), late]);
    tell(name);
  } catch (problem) {
    tell(name, problem);
  } finally {
    clearTimeout(timer);
  }
}

export const bearer = (token) => ({ Authorization: `Bearer ${token}` });

// An async queue: what callbacks push, awaited one by one.
export function mailbox() {
  const waiting = [];
  const readers = [];
  return {
    push: (item) => (readers.length ? readers.shift()(item) : waiting.push(item)),
    next: () => (waiting.length ? Promise.resolve(waiting.shift()) : new Promise((resolve) => readers.push(resolve))),
  };
}

// Asks the fakes to publish the next round, as the rounds service would.
export async function publishRound() {
  const answer = await fetch(`${world.control}/rounds`, { method: 'POST' });
  assert.equal(answer.status, 200);
  return (await answer.json()).number;
}
