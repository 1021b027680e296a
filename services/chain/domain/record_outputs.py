"""The data output that carries a round's result: B with the payload, MAP about it, AIP over both.

docs/ROUND-RECORD.md describes it. It is read in this layout only, field by field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.chain.domain.aip import Authored, aip_fields, read_aip, signed_message
from services.chain.domain.bitcom import APP, PIPE, data_output, file_fields, map_fields, read_data_output
from services.chain.domain.scripts import BadScript

MIME = "application/json"
# B has 5 fields, MAP 10 (prefix, SET, four keys with values), pipes behind; its third value is the round.
_FIELDS, _ROUND_FIELD = 17, 13


@dataclass(frozen=True, slots=True)
class RecordOutput:
    """What the output says: the payload as it stands there, the round it is about, who signed it."""

    round_id: str
    payload: bytes
    authored: Authored


def record_output(round_id: str, payload: bytes, address: str, sign: Callable[[bytes], bytes]) -> bytes:
    """The script of the output, signed by the owner of the address."""
    fields = _fields(round_id, payload)
    return data_output([*fields, *aip_fields(address, sign(signed_message(fields)))])


def read_record_output(script: bytes) -> RecordOutput:
    """The record that a script carries. Raises BadScript, which says why it carries none.

    The signature is not verified here (`aip.verify`); that the payload has the hash that MAP names is.
    """
    fields = read_data_output(script)
    if len(fields) <= _FIELDS:
        raise BadScript("not a round's record: the output is cut off, or another kind of data")
    round_id = fields[_ROUND_FIELD].decode(errors="replace")
    payload = fields[1]
    for what, found, wanted in zip(_NAMES, fields, _fields(round_id, payload), strict=False):
        if found != wanted:
            raise BadScript(f"not a round's record: {what} is {found[:64]!r} where {wanted[:64]!r} is due")
    return RecordOutput(round_id, payload, _only(read_aip(fields), fields[_FIELDS:]))


def _fields(round_id: str, payload: bytes) -> list[bytes]:
    about = {
        "app": APP,
        "type": "round",
        "round": round_id,
        "sha256": hashlib.sha256(payload).hexdigest(),
    }
    return [*file_fields(payload, MIME, f"{round_id}.json"), PIPE, *map_fields(about), PIPE]


_MAP_NAMES = (
    f"{part} {key} in MAP"
    for key in ("app", "type", "round", "sha256")
    for part in ("the key", "the value of")
)
_NAMES = (
    *("the prefix of B", "the payload", "its type", "its encoding", "its name", "the pipe behind B"),
    *("the prefix of MAP", "the command of MAP", *_MAP_NAMES, "the pipe behind MAP"),
)


def _only(signatures: Sequence[Authored], rest: Sequence[bytes]) -> Authored:
    if len(signatures) != 1 or len(rest) != 4:
        raise BadScript("not a round's record: not exactly one AIP signature at its end")
    return signatures[0]
