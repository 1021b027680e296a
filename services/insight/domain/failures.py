"""Why insight refuses. Each `reason` stands in the contract's ErrorReason."""

from __future__ import annotations

from mesh import errors


class MetricNotFound(errors.NotFound):
    """No metric has this name."""

    reason = "METRIC_NOT_FOUND"


class RangeInvalid(errors.InvalidArgument):
    """The range is empty, too long for the step, or lies in the future."""

    reason = "RANGE_INVALID"
