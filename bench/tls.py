"""What TLS adds to a connection and to a delivery: the load generator of the rig speaks none, so this is Python's.

    python bench/tls.py [--rounds 5]

The server's CPU for each WebSocket that joins a room, with TLS 1.3 (a key of 256 bits, P-256) and without, in turn.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import socket
import ssl
import sys
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from rig.intervals import with_interval
from rig.process import Server, cores
from rig.targets import SERVED

CONNECTIONS = 500
HANDSHAKE = (
    b"GET /rooms/r HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def certify(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
    builder = builder.not_valid_after(now + dt.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert, private


def measure(flags: list[str], context: ssl.SSLContext | None) -> tuple[float, float]:
    """Return the server's microseconds and bytes for each connection."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = Server([*SERVED, "--store", "memory:", *flags], Path(folder), {}, settle_s=1.0)
        try:
            _connect(server, context, 20)
            before = server.sample()
            held = _connect(server, context, CONNECTIONS)
            after = server.sample()
        finally:
            server.stop()
        for connection in held:
            connection.close()
    used = (after.cpu_s - before.cpu_s) / CONNECTIONS * 1e6
    return used, (after.memory - before.memory) / CONNECTIONS


def _connect(server: Server, context: ssl.SSLContext | None, count: int) -> list[socket.socket]:
    held = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port), 10)
        if context is not None:
            connection = context.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(HANDSHAKE)
        got = b""
        while b'"joined"' not in got:
            got += connection.recv(65536)
        held.append(connection)
    return held


def main() -> None:
    """Measure in turn, and print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.sched_setaffinity(0, {cores()[1]})
    plain, secure = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        cert, key = certify(Path(folder))
        context = ssl.create_default_context(cafile=cert)
        for _ in range(rounds):
            plain.append(measure([], None))
            secure.append(measure(["--tls-cert", str(cert), "--tls-key", str(key)], context))
    for name, values in (("without TLS", plain), ("with TLS", secure)):
        used, memory = (with_interval([value[n] for value in values]) for n in (0, 1))
        sys.stdout.write(f"| {name} | {used} µs | {memory} bytes |\n")


if __name__ == "__main__":
    main()
