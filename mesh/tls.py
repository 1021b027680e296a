"""A local certificate authority and the credentials made from its certificates.

The folder holds `ca.pem` and, for each service, `<name>.pem` and `<name>.key`; the authority's own `ca.key`
stays with whoever runs it (the launcher) and is needed by no service. In a cluster the same files come from
cert-manager. Keys are readable by their owner only and never logged.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.interceptors.guards import SPIFFE_PREFIX

AUTHORITY_DAYS = 365
CERTIFICATE_DAYS = 30
# A certificate with less than this part of its life left is made anew.
RENEW_BELOW = 1 / 3
# Clocks of machines may differ.
_BACKDATE = timedelta(minutes=5)

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def host_name(service: str) -> str:
    """The name that a service's certificate is valid for."""
    return f"{service}.satreel"


class Authority:
    """Issues certificates into a folder. Made with `open`, which creates what is missing."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """The authority of the folder; a new one where there is none or it is about to expire.

        Raises ValueError when `ca.key` is not a key that this made.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        certificate = _still_good(folder / "ca.pem")
        if certificate is None or not (folder / "ca.key").is_file():
            certificate = _make_authority(folder)
        key = load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{folder / 'ca.key'} is not an elliptic-curve key")
        return cls(folder, certificate, key)

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

        One that has less than that part of its life left is none: with `renew_below` 1 each is made anew.
        Key and certificate are moved into their places. Who does not serve gets one for calling alone.
        """
        folder = into or self._folder
        current = _still_good(folder / f"{service}.pem", renew_below)
        if current is not None and current.issuer == self._certificate.subject and self._signed(current):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"{SPIFFE_PREFIX}{service}")]
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if serves:
            names += [
                x509.DNSName(host_name(service)),
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
        write_private(folder / f"{service}.key", _private_pem(key))
        _replace(folder / f"{service}.pem", certificate.public_bytes(Encoding.PEM), mode=0o644)

    def _signed(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def make_user_token_keys(folder: Path) -> tuple[Path, Path]:
    """Identity's key pair for user tokens (PEM, Ed25519), made once: paths of the private and public key."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private_path, public_path = folder / "user-token.key", folder / "user-token.pub"
    if not (private_path.is_file() and public_path.is_file()):
        key = ed25519.Ed25519PrivateKey.generate()
        write_private(private_path, _private_pem(key))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _replace(public_path, public, mode=0o644)
    return private_path, public_path


def server_credentials(folder: Path, service: str) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate and follow renewed files without a restart.

    Raises OSError for files that are not there, ValueError for a key that is not the certificate's.
    """

    def read() -> grpc.ServerCertificateConfiguration:
        require_pair(folder, service)
        key, chain, roots = _read(folder, service)
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        # Between two renewed files that of before goes on.
        with suppress(OSError, ValueError):
            return read()
        return None

    return grpc.dynamic_ssl_server_credentials(
        read(),
        renewed,  # type: ignore[arg-type] # None means no change; its types do not know
        require_client_authentication=True,
    )


def channel_credentials(folder: Path, service: str) -> grpc.ChannelCredentials:
    """Credentials with which `service` calls others."""
    key, chain, roots = _read(folder, service)
    return grpc.ssl_channel_credentials(roots, key, chain)


def client_context(folder: Path, service: str) -> ssl.SSLContext:
    """The same for connections of our own over HTTP/2. Reads the files anew each time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(folder / "ca.pem")
    context.load_cert_chain(folder / f"{service}.pem", folder / f"{service}.key")
    context.set_alpn_protocols(["h2"])
    return context


def write_private(path: Path, content: bytes) -> None:
    """Writes a secret that only its owner can read, whole or not at all."""
    _replace(path, content, mode=0o600)


def file_names(service: str) -> tuple[str, str, str]:
    """Key, certificate, and authority, as they are called in the folder."""
    return f"{service}.key", f"{service}.pem", "ca.pem"


def require_pair(folder: Path, service: str) -> None:
    """Raises ValueError when key and certificate do not belong together, as between two renewed files."""
    key, chain, _ = _read(folder, service)
    of_key = load_pem_private_key(key, password=None).public_key()
    if x509.load_pem_x509_certificate(chain).public_key() != of_key:
        raise ValueError(f"{service}.pem is not the certificate of {service}.key")


def _read(folder: Path, service: str) -> tuple[bytes, bytes, bytes]:
    key, chain, roots = ((folder / name).read_bytes() for name in file_names(service))
    return key, chain, roots


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    fresh.replace(path)


def _still_good(path: Path, renew_below: float = RENEW_BELOW) -> x509.Certificate | None:
    if not path.is_file():
        return None
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return certificate if left > life * renew_below else None


def _make_authority(folder: Path) -> x509.Certificate:
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
    write_private(folder / "ca.key", _private_pem(key))
    _replace(folder / "ca.pem", certificate.public_bytes(Encoding.PEM), mode=0o644)
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


def _private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
