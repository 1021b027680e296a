"""Why rounds refuses. Each `reason` stands in the contract's ErrorReason."""

from __future__ import annotations

from mesh import errors


class RoundNotFound(errors.NotFound):
    """No round has this id."""

    reason = "ROUND_NOT_FOUND"


class NoCurrentRound(errors.NotFound):
    """No round is pending, active or calculating."""

    reason = "NO_CURRENT_ROUND"


class StateConflict(errors.FailedPrecondition):
    """The round is not in a state that allows this."""

    reason = "STATE_CONFLICT"


class NotLeader(errors.Unavailable):
    """This instance does not lead; ask the one that serves."""

    reason = "NOT_LEADER"


class RoundImbalanceError(Exception):
    """The ledger's numbers of a round do not add up; nothing is recorded until somebody has looked at it."""
