"""How much may be sent: the other side's windows and limits (RFC 9113, 5.2 and 6.5.2)."""

from __future__ import annotations

from mesh.http2 import frames


class Allowance:
    """What the server allows us; what is sent is taken off its `window`."""

    __slots__ = ("_frame_bytes_max", "_initial_window", "_streams_max", "window")

    def __init__(self) -> None:
        self.window = self._initial_window = frames.WINDOW_DEFAULT
        self._frame_bytes_max = frames.FRAME_BYTES_DEFAULT
        self._streams_max = frames.WINDOW_MAX

    def fits(self, size: int, running: int) -> bool:
        """Whether so many bytes may be sent at once, in a call beside so many that run."""
        return (
            size <= self.window
            and size <= self._frame_bytes_max
            and size <= self._initial_window
            and running < self._streams_max
        )

    def set(self, payload: bytes) -> None:
        """Takes the server's settings. Raises ProtocolProblem."""
        for name, value in frames.settings_in(payload):
            if name == frames.INITIAL_WINDOW:
                self._initial_window = value
            elif name == frames.FRAME_BYTES_MAX:
                self._frame_bytes_max = value
            elif name == frames.STREAMS_MAX:
                self._streams_max = value
