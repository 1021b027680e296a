"""A local certificate authority: it issues the mesh's certificates, and hands over to the next one.

The folder holds `ca.pem`, all authorities that are trusted, and `ca.key`, the key of the one that issues; it
stays with whoever runs it (the launcher) and is needed by no service. The next authority comes in three
steps, each of which all who check certificates follow before the one after: it is trusted too (`ca-next.key`
waits), it issues (the key before is gone), it alone is trusted. The files say how far that has come, so
whoever is stopped at any moment goes on from there.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh import tls
from mesh.interceptors.guards import SPIFFE_PREFIX

AUTHORITY_DAYS = 365
CERTIFICATE_DAYS = 30
# What has less than this part of its life left is made anew.
RENEW_BELOW = 1 / 3
# Files of the folder: who is trusted, the key that issues, the key that is to issue next.
TRUSTED, ISSUES, WAITS = "ca.pem", "ca.key", "ca-next.key"
# Clocks of machines may differ.
_BACKDATE = timedelta(minutes=5)


class Stage(Enum):
    """How far the change from one authority to the next has come."""

    ALONE = "one authority is trusted, and it issues"
    NEXT_TRUSTED = "the next one is trusted too"
    NEXT_ISSUES = "the next one issues, and the one before is still trusted"


class Authority:
    """The one of a folder, which issues certificates. `open` makes it where there is none."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError without its files, ValueError when they are not those of an authority."""
        self._folder = folder
        self._read()

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """The authority of the folder; a new one where there is none, or where it has ended.

        Raises ValueError when `ca.key` is not a key that this made.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = _of(folder / ISSUES, _trusted(folder))
        if found is None or _left(found) <= 0:
            _trust(folder, _make_authority(folder / ISSUES))
        return cls(folder)

    def _read(self) -> None:
        trusted = _trusted(self._folder)
        if (certificate := _of(self._folder / ISSUES, trusted)) is None:
            raise ValueError(f"{self._folder} holds no authority: {ISSUES} is the key of nobody in {TRUSTED}")
        self._certificate, self._key = certificate, _key(self._folder / ISSUES)
        self._others = [one for one in trusted if one != certificate]
        self._next = _of(self._folder / WAITS, self._others)

    @property
    def stage(self) -> Stage:
        """How far a change of authority has come."""
        if self._next is not None:
            return Stage.NEXT_TRUSTED
        return Stage.NEXT_ISSUES if self._others else Stage.ALONE

    def is_step_due(self) -> bool:
        """Whether it is time for the next step, if nobody hurries.

        It begins when a third of the authority's life is left; each step gives so much time as certificates
        live, in which everybody gets new ones, and with them those who are trusted.
        """
        match self.stage:
            case Stage.ALONE:
                return _left(self._certificate) <= RENEW_BELOW
            case Stage.NEXT_TRUSTED:
                assert self._next is not None
                # Begun late, it must be over before the one that issues ends, and all of its certificates.
                return _age_days(self._next) >= min(CERTIFICATE_DAYS, _days_left(self._certificate))
            case Stage.NEXT_ISSUES:
                return _age_days(self._certificate) >= 2 * CERTIFICATE_DAYS

    def step(self) -> Stage:
        """Takes the next step of a change of authority; gives how far it has come.

        After the second all certificates are to be issued anew: `issue` keeps none of another authority.
        """
        match self.stage:
            case Stage.ALONE:
                _trust(self._folder, self._certificate, _make_authority(self._folder / WAITS))
            case Stage.NEXT_TRUSTED:
                (self._folder / WAITS).replace(self._folder / ISSUES)
            case Stage.NEXT_ISSUES:
                _trust(self._folder, self._certificate)
        self._read()
        return self.stage

    def issue(
        self,
        service: str,
        *,
        valid_days: float = CERTIFICATE_DAYS,
        renew_below: float = RENEW_BELOW,
        into: Path | None = None,
        serves: bool = True,
    ) -> None:
        """Makes the service's certificate, in the authority's folder or `into` another, unless one is there.

        One that has less than that part of its life left is none (with `renew_below` 1 each is made anew),
        nor is one of another authority. Key and certificate are moved into their places. Who does not serve
        gets one for calling alone.
        """
        folder = into or self._folder
        current = _certificate(folder / f"{service}.pem")
        if current is not None and _left(current) > renew_below and self._signed(current):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"{SPIFFE_PREFIX}{service}")]
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if serves:
            names += [
                x509.DNSName(tls.host_name(service)),
                x509.DNSName("localhost"),
                x509.IPAddress(IPv4Address("127.0.0.1")),
            ]
            uses += [ExtendedKeyUsageOID.SERVER_AUTH]
        certificate = (
            _builder(service, self._certificate.subject, key.public_key(), valid_days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        tls.write_private(folder / f"{service}.key", tls.private_pem(key))
        tls.write_public(folder / f"{service}.pem", certificate.public_bytes(Encoding.PEM))

    def _signed(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not an elliptic-curve key")
    return key


def _trusted(folder: Path) -> list[x509.Certificate]:
    path = folder / TRUSTED
    return x509.load_pem_x509_certificates(path.read_bytes()) if path.is_file() else []


def _trust(folder: Path, *certificates: x509.Certificate) -> None:
    tls.write_public(folder / TRUSTED, b"".join(one.public_bytes(Encoding.PEM) for one in certificates))


def _of(key: Path, certificates: list[x509.Certificate]) -> x509.Certificate | None:
    """Whose key it is."""
    if not key.is_file():
        return None
    public = _key(key).public_key()
    return next((one for one in certificates if one.public_key() == public), None)


def _certificate(path: Path) -> x509.Certificate | None:
    return x509.load_pem_x509_certificate(path.read_bytes()) if path.is_file() else None


def _left(certificate: x509.Certificate) -> float:
    """The part of its life that is left; below zero when it has ended."""
    ends = certificate.not_valid_after_utc
    return (ends - datetime.now(UTC)) / (ends - certificate.not_valid_before_utc)


def _days_left(certificate: x509.Certificate) -> float:
    return (certificate.not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)


def _age_days(certificate: x509.Certificate) -> float:
    return (datetime.now(UTC) - certificate.not_valid_before_utc - _BACKDATE) / timedelta(days=1)


def _make_authority(key_file: Path) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"satreel local authority {os.urandom(4).hex()}")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder("", subject, key.public_key(), AUTHORITY_DAYS, subject=subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    tls.write_private(key_file, tls.private_pem(key))
    return certificate


def _builder(
    service: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    valid_days: float,
    *,
    subject: x509.Name | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject or _name(service))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=valid_days))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
