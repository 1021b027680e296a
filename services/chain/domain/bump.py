"""BSV Unified Merkle Path: the branches of one or more transactions of a block in one (BRC-74).

https://bsv.brc.dev/transactions/0074: height, depth, then level by level its leaves (offset, flags, hash).
Read strictly: numbers in their shortest form, no offset twice or outside the tree, no unknown flag, and every
leaf must be needed and fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from services.chain.domain.merkle import DEPTH_MAX, NODE_BYTES, BadProof, Branch, node_of, parent_of
from services.chain.domain.values import Txid
from services.chain.domain.wire import BadBytes, ByteReader, hash_text, sha256d, varint


class Flag(IntEnum):
    """What a leaf is: a node, its left neighbour again (no hash follows), or a transaction that is proven."""

    NODE = 0
    REPEATED = 1
    TXID = 2


_FLAGS = {int(flag): flag for flag in Flag}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A given node; `hash` is in the order of bytes that is hashed, and empty when it is repeated."""

    flag: Flag
    hash: bytes = b""


Level = dict[int, Leaf]


@dataclass(frozen=True, slots=True)
class Bump:
    """The paths. `levels` are by offset, in the order they came; the transactions are level 0."""

    height: int
    levels: tuple[Level, ...]

    @classmethod
    def from_hex(cls, text: str) -> Bump:
        """Reads exactly one from hex. Raises BadProof."""
        try:
            raw = bytes.fromhex(text)
        except ValueError as problem:
            raise BadProof("the text is not hex") from problem
        return cls.parse(raw)

    @classmethod
    def parse(cls, raw: bytes) -> Bump:
        """Reads exactly one. Raises BadProof."""
        reader = ByteReader(raw)
        try:
            found = cls.read(reader)
            reader.end("the path")
        except BadBytes as problem:
            raise BadProof(str(problem)) from problem
        return found

    @classmethod
    def read(cls, reader: ByteReader) -> Bump:
        """Reads one from where the reader is, as in BEEF. Raises BadProof, BadBytes."""
        height, depth = reader.shortest_varint(), reader.take(1)[0]
        if not 1 <= depth <= DEPTH_MAX:
            raise BadProof(f"a tree of {depth} levels; 1 to {DEPTH_MAX} are possible")
        found = cls(height, tuple(_read_level(reader, depth - level) for level in range(depth)))
        found._climb()
        return found

    def __bytes__(self) -> bytes:
        parts = [varint(self.height), bytes((len(self.levels),))]
        for level in self.levels:
            parts.append(varint(len(level)))
            parts += (varint(at) + bytes((leaf.flag,)) + leaf.hash for at, leaf in level.items())
        return b"".join(parts)

    @property
    def txids(self) -> list[Txid]:
        """The transactions that it is said to prove."""
        return [Txid(hash_text(leaf.hash)) for leaf in self.levels[0].values() if leaf.flag is Flag.TXID]

    @property
    def root(self) -> str:
        """The one root that all leaves lead to. Raises BadProof."""
        return hash_text(self._climb()[-1][0])

    def branch(self, txid: Txid) -> Branch:
        """The branch of a transaction on level 0. Raises BadProof."""
        wanted = node_of(txid)
        place = next((at for at, leaf in self.levels[0].items() if leaf.hash == wanted), None)
        if place is None:
            raise BadProof(f"{txid} is not among the transactions of the path")
        *nodes, _ = self._climb()
        # A repeated node is not among them.
        return Branch(place, tuple(known.get(place >> level ^ 1) for level, known in enumerate(nodes)))

    def _climb(self) -> list[dict[int, bytes]]:
        """The nodes of every level, given and computed, up to the root."""
        climbed: list[dict[int, bytes]] = []
        nodes: dict[int, bytes] = {}
        size: int | None = None
        for number, level in enumerate(self.levels):
            climbed.append(_merged(number, nodes, level))
            if self._is_alone:
                return climbed
            size = _size(number, level, climbed[-1], size)
            nodes = _parents(number, climbed[-1], size)
            size = None if size is None else (size + 1) // 2
        if list(nodes) != [0]:
            raise BadProof("the leaves do not lead to one root")
        return [*climbed, nodes]

    @property
    def _is_alone(self) -> bool:
        """Whether it is the path of a block's only transaction, which is the root itself."""
        return len(self.levels) == 1 and list(self.levels[0]) == [0]


def _merged(number: int, computed: dict[int, bytes], level: Level) -> dict[int, bytes]:
    """Nodes of a level: those computed from below, and those given."""
    nodes = dict(computed)
    for at, leaf in level.items():
        if leaf.flag is not Flag.REPEATED and nodes.setdefault(at, leaf.hash) != leaf.hash:
            raise BadProof(f"level {number}: the leaves below lead to another node at {at}")
    return nodes


def _size(number: int, level: Level, nodes: dict[int, bytes], size: int | None) -> int | None:
    """How many nodes the level has, if a repeated one here or below says it."""
    for at, leaf in level.items():
        if leaf.flag is Flag.REPEATED:
            if at % 2 == 0 or at == 1 or size not in (None, at):
                raise BadProof(f"level {number}: there is no node to be repeated at {at}")
            size = at
    if size is not None and any(at >= size for at in nodes):
        raise BadProof(f"level {number}: there is a node behind the one that was the last")
    return size


def _parents(number: int, nodes: dict[int, bytes], size: int | None) -> dict[int, bytes]:
    """The nodes above; every node needs its sibling."""
    found: dict[int, bytes] = {}
    for at, node in nodes.items():
        if at // 2 in found:
            continue
        if at ^ 1 in nodes:
            found[at // 2] = parent_of(nodes[at & ~1], nodes[at | 1])
        elif at + 1 == size:
            found[at // 2] = sha256d(node * 2)
        else:
            raise BadProof(f"level {number}: the sibling of {at} is missing")
    return found


def _read_level(reader: ByteReader, levels_left: int) -> Level:
    level: Level = {}
    for _ in range(reader.shortest_varint()):
        at, flag = reader.shortest_varint(), reader.take(1)[0]
        if flag not in _FLAGS:
            raise BadProof(f"a leaf has the unknown flags {flag:02x}")
        if at >> levels_left or at in level:
            raise BadProof(f"offset {at} is there twice or outside the tree")
        level[at] = Leaf(_FLAGS[flag], b"" if flag == Flag.REPEATED else reader.take(NODE_BYTES))
    return level
