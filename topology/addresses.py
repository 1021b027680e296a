"""Who may come in by address: two lists in one small file, which Envoy reads again when it is moved in place.

    python -m topology.addresses FOLDER --deny 203.0.113.0/24 --deny 2001:db8::/32
    python -m topology.addresses FOLDER --allow 198.51.100.0/24
    python -m topology.addresses FOLDER                   shows the lists
    python -m topology.addresses FOLDER --everybody       empties them

Each call with addresses sets both lists anew. Nothing on the list of those allowed means everybody; those
denied are refused whatever the other list says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from topology.edge import ADDRESSES_FILE, place, read_lists, resource


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 2 for what is no address, or no folder."""
    parser = argparse.ArgumentParser(
        prog="python -m topology.addresses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder of the edge's files")
    parser.add_argument("--allow", action="append", default=[], metavar="ADDRESS", help="only those on it")
    parser.add_argument("--deny", action="append", default=[], metavar="ADDRESS", help="none of those on it")
    parser.add_argument("--everybody", action="store_true", help="empty both lists")
    told = parser.parse_args(arguments)
    if told.allow or told.deny or told.everybody:
        try:
            place(told.folder, resource(told.allow, told.deny))
        except (OSError, ValueError) as problem:
            parser.error(str(problem))
    try:
        allow, deny = read_lists((told.folder / ADDRESSES_FILE).read_text())
    except OSError as problem:
        parser.error(f"no lists here: {problem}")
    print(f"allowed: {', '.join(allow) or 'everybody'}\ndenied: {', '.join(deny) or 'nobody'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
