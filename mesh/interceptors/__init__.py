"""What the server does around every call, one small part per concern, in this order.

telemetry (span, duration) → failures (to google.rpc.Status) → leading (who does not lead begins nothing) →
overload (bounds) → streams (ended at stop) → identity (who calls, for which user) → deadline → access (the
contract's allow-table) → validation (every request message) → servicer.

Health and reflection are exempt from all of it.
"""
