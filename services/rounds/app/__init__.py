"""Use cases of rounds: driving the current round, assignment, the live leaderboard, reading, undoing."""
