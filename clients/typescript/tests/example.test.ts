/** The first program of the README, as people run it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { until } from "./outcomes.js";
import { about, lineTo } from "./stage.js";

test("it shows the round, follows the leaderboard, and is done when the time is over", { skip: !globalThis.WebSocket }, async () => {
  const wire = await lineTo(about.url);
  const program = spawn(process.execPath, ["examples/first.mjs"], { env: { ...process.env, SATREEL_URL: wire.url } });
  let said = "";
  for (const stream of [program.stdout, program.stderr]) stream.on("data", (piece) => (said += String(piece)));
  try {
    await until(() => /Round \d+ is ACTIVE\n\[/.test(said));
  } finally {
    program.kill();
    wire.close();
  }
  assert.doesNotMatch(said, /Error/);
});
