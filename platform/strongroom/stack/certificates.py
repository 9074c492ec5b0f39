"""What the parts of one region's server, and we, know each other by: a key and its certificate.

One file holds both. The certificate is its own authority, so that a part lets in whoever has
the key of this region, and nobody else.
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from strongroom.stack import files

HOST = "127.0.0.1"
FROM = datetime(2000, 1, 1, tzinfo=UTC)  # a host whose clock is wrong still opens its regions
UNTIL = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280, 4.1.2.5: no end
PATIENCE = 30.0  # seconds for an answer from this machine, which may be busy


def keep(file: Path) -> None:
    """Have a certificate there: made once, and again when the file is gone or damaged.

    Nothing is lost with it: only the parts of a running server and we need the same one.
    """
    try:
        member(file)
    except OSError:
        files.write(file, make())


def make() -> bytes:
    """A new key and its certificate for the server on loopback, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + _certificate(key).public_bytes(serialization.Encoding.PEM)


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "strongroom region")])
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST))]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def refuses_strangers(port: int, file: Path) -> bool:
    """Whether what listens there is of this region, and says it wants a key we did not show."""
    context = stranger(file)
    context.set_alpn_protocols(["h2", "http/1.1"])  # gRPC would miss h2 before it misses a key
    try:
        with (
            socket.create_connection((HOST, port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as line,
        ):
            line.recv(1)  # the refusal is the first thing it says
    except ssl.SSLError as refusal:
        return refusal.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    except OSError:
        return False
    return False


def member(file: Path) -> ssl.SSLContext:
    """For one who has the key, and talks to nobody without it."""
    context = stranger(file)
    context.load_cert_chain(file)
    return context


def stranger(file: Path) -> ssl.SSLContext:
    """For one who knows the server, and has no key to show."""
    context = ssl.create_default_context(cafile=file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
