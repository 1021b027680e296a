"""Use cases of rounds: the driver of the current round, assignment, the live leaderboard, what can be read."""
