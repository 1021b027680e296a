"""Run a command that ends when the process that started it ends, even by SIGKILL.

    python -I -S tether.py <parent pid> <signal number> <command> [argument…]

It asks the kernel for a signal at the parent's death (PR_SET_PDEATHSIG, which outlives exec) and becomes the
command: no process more, and no code run between fork and exec of a program that has threads. Linux only;
elsewhere it just execs. The kernel means the *thread* that forked, so start from one that lives as long as
the program: the event loop's. Standard library only: it runs without site-packages.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int, signal_number: int) -> None:
    """Arrange for `signal_number` at the death of the parent; end at once when it is dead already."""
    if not sys.platform.startswith("linux"):
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        raise SystemExit(1)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]), int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - the caller's own command, no shell wanted
