// The current round, then its leaderboard as it moves: node first.mjs
import { createClient, SatreelError } from "@satreel/client";
import { CurrentRound, LeaderboardUpdated } from "@satreel/client/operations";

const satreel = createClient({ url: process.env.SATREEL_URL ?? "http://127.0.0.1:8080/graphql" });

try {
  const { currentRound } = await satreel.run(CurrentRound, { limit: 3 });
  console.log(currentRound ? `Round ${currentRound.number} is ${currentRound.state}` : "There is no round yet");

  for await (const { leaderboardUpdated: board } of satreel.subscribe(LeaderboardUpdated, {}, { signal: AbortSignal.timeout(10_000) }))
    console.log(board.standings.slice(0, 3).map(({ rank, meme, takingsSats }) => `${rank}. ${meme?.name} ${takingsSats} sat`));
} catch (error) {
  if (!(error instanceof SatreelError)) throw error;
  console.error(error.code, error.message);
}
await satreel.close();
