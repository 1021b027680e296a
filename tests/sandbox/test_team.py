"""Certificates for teams: good for calling, nobody else's, from the authority that is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from mesh.authority import Authority
from sandbox import team


def test_it_names_the_team_and_is_good_for_calling_alone(tmp_path: Path) -> None:
    Authority.open(tmp_path / "tls")
    assert (
        team.main(["analytics", "--authority", str(tmp_path / "tls"), "--into", str(tmp_path / "own")]) == 0
    )
    assert sorted(file.name for file in (tmp_path / "own").iterdir()) == [
        "analytics.key", "analytics.pem", "ca.pem",
    ]  # fmt: skip
    made = x509.load_pem_x509_certificate((tmp_path / "own" / "analytics.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://satreel/analytics"]
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize(
    "name", ["gateway", "ledger", "edge", "launcher", "ca", "user-token", "../ca", "Analytics", ""]
)
def test_nobody_gets_the_name_of_a_part_or_of_a_file(tmp_path: Path, name: str) -> None:
    Authority.open(tmp_path / "tls")
    with pytest.raises(SystemExit):
        team.main([name, "--authority", str(tmp_path / "tls"), "--into", str(tmp_path / "own")])
    assert not (tmp_path / "own").exists()


def test_no_authority_is_made_by_the_way(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        team.main(["analytics", "--authority", str(tmp_path), "--into", str(tmp_path / "own")])
    assert not list(tmp_path.iterdir())
