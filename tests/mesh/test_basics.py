"""Clock, ids, failures, certificates."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from mesh import tls
from mesh.authority import Authority
from mesh.clock import NS_PER_S, Clock, ManualClock, SystemClock
from mesh.errors import Code, Failure, InvalidArgument, NotFound
from mesh.ids import is_uuid7, uuid7


async def test_a_manual_clock_wakes_sleepers_in_order_at_their_time() -> None:
    clock: Clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps_s: float) -> None:
        for nap_s in naps_s:
            await clock.sleep(nap_s)
            woken.append((name, clock.monotonic_s()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("a", 2, 2))
        group.create_task(sleeper("b", 3))
        assert isinstance(clock, ManualClock)
        await clock.advance(1)
        assert woken == []
        await clock.advance(10)
    assert woken == [("a", 2.0), ("b", 3.0), ("a", 4.0)]
    assert clock.monotonic_s() == 11.0
    assert clock.now_ns() == round(datetime(2026, 5, 1, 0, 0, 11, tzinfo=UTC).timestamp()) * NS_PER_S


async def test_a_cancelled_sleeper_does_not_stop_the_clock() -> None:
    clock = ManualClock()
    nap = asyncio.ensure_future(clock.sleep(1))
    await asyncio.sleep(0)
    nap.cancel()
    await clock.advance(2)
    assert nap.cancelled()


async def test_the_system_clock_tells_utc() -> None:
    clock = SystemClock()
    before_s = clock.monotonic_s()
    await clock.sleep(0.01)
    assert clock.monotonic_s() - before_s >= 0.009
    before = datetime.now(UTC).timestamp()
    assert before - 0.001 <= clock.now_ns() / NS_PER_S <= datetime.now(UTC).timestamp() + 0.001


@given(now_ns=st.integers(0, 4 * 10**18), random_bits=st.integers(0, 2**74 - 1))
def test_ids_are_uuid7(now_ns: int, random_bits: int) -> None:
    text = uuid7(now_ns, random_bits)
    assert is_uuid7(text)
    assert int(text.replace("-", "")[:12], 16) == now_ns // 1_000_000


@given(st.integers(0, 10**18), st.integers(10**6, 10**18))
def test_ids_sort_by_time(now_ns: int, later_by_ns: int) -> None:
    assert uuid7(now_ns) < uuid7(now_ns + later_by_ns + 10**6)


def test_ids_of_one_millisecond_sort_as_they_were_made() -> None:
    for now_ns in (None, 0, 5 * 10**15):
        made = [uuid7(now_ns) for _ in range(10_000)]
        assert made == sorted(set(made))
        assert all(map(is_uuid7, made))


A_UUID7 = uuid7(now_ns=1_790_000_000 * 10**9, random_bits=7)


@pytest.mark.parametrize("text", ["", "x", A_UUID7.upper() + "A", A_UUID7[:-1], A_UUID7 + "\n", "0" * 36])
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_uuid7(text)


def test_ids_differ() -> None:
    assert len({uuid7(0) for _ in range(1000)}) == 1000


def test_a_failure_speaks_for_itself() -> None:
    class TooSweet(Failure):
        """It is too sweet.

        More than anyone needs to know.
        """

        code = Code.FAILED_PRECONDITION
        reason = "TOO_SWEET"

    assert str(TooSweet(spoons=3)) == "It is too sweet."
    assert TooSweet(spoons=3).metadata == {"spoons": "3"}
    assert str(NotFound("no round 7")) == "no round 7"
    assert InvalidArgument().violations == ()


def _alternative_names(path: Path) -> x509.SubjectAlternativeName:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_certificates_name_the_service_and_keys_stay_private(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    Authority.open(folder).issue("ledger")
    names = _alternative_names(folder / "ledger.pem")
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://satreel/ledger"]
    assert names.get_values_for_type(x509.DNSName) == ["ledger.satreel", "localhost"]
    private, public = tls.make_user_token_keys(folder)
    for key in (folder / "ca.key", folder / "ledger.key", private):
        assert key.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in public.read_bytes() + (folder / "ledger.pem").read_bytes()


def test_good_certificates_and_keys_are_kept(tmp_path: Path) -> None:
    Authority.open(tmp_path).issue("ledger")
    tls.make_user_token_keys(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    Authority.open(tmp_path).issue("ledger")
    tls.make_user_token_keys(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_certificate_near_its_end_is_renewed(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path)
    authority.issue("ledger", valid_days=0.0001)
    old = (tmp_path / "ledger.pem").read_bytes()
    Authority.open(tmp_path).issue("ledger")
    assert (tmp_path / "ledger.pem").read_bytes() != old


def test_a_certificate_of_an_older_authority_is_replaced(tmp_path: Path) -> None:
    Authority.open(tmp_path).issue("ledger")
    old = (tmp_path / "ledger.pem").read_bytes()
    (tmp_path / "ca.key").unlink()
    Authority.open(tmp_path).issue("ledger")
    assert (tmp_path / "ledger.pem").read_bytes() != old
