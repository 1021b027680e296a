"""Credentials of the mesh's certificates, which are followed as they are renewed; keys, and where they stand.

A folder holds `ca.pem`, who is trusted, and for each service `<name>.pem` and `<name>.key`: made by
`mesh.authority` on one machine, brought by cert-manager in a cluster. Keys are readable by their owner only
and never logged.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def host_name(service: str) -> str:
    """The name that a service's certificate is valid for."""
    return f"{service}.satreel"


def make_user_token_keys(folder: Path) -> tuple[Path, Path]:
    """Identity's key pair for user tokens (PEM, Ed25519), made once: paths of the private and public key."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private_path, public_path = folder / "user-token.key", folder / "user-token.pub"
    if not (private_path.is_file() and public_path.is_file()):
        key = ed25519.Ed25519PrivateKey.generate()
        write_private(private_path, private_pem(key))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_public(public_path, public)
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


def write_public(path: Path, content: bytes) -> None:
    """Writes what all may read, whole or not at all."""
    _replace(path, content, mode=0o644)


def private_pem(key: PrivateKey) -> bytes:
    """As key files hold it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


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
