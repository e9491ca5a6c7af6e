"""https and wss, with clients that others wrote: aiohttp, curl, OpenSSL."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support import WAIT_S, Server, parked
from trunkline import ConfigError
from trunkline.server.tls import Certificate


def certify(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    cert.write_bytes(certificate.public_bytes(Encoding.PEM))
    return cert, private


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certify(folder, "first")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    arguments = ("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"), "--http2")
    with Server(*arguments) as running:
        running.url = f"https://localhost:{running.port}"
        assert running.line().startswith(f"Trunkline on https://127.0.0.1:{running.port}")
        yield running


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


def curl(folder: Path, *arguments: str) -> str:
    command = ["curl", "-sS", "--cacert", str(folder / "cert.pem"), "--max-time", "5", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


async def test_all_transports(server: Server, folder: Path, http: aiohttp.ClientSession) -> None:
    trust = trusting(folder)
    room = f"{server.url}/rooms/a"
    async with http.ws_connect(f"wss://localhost:{server.port}/rooms/a", ssl=trust) as socket:
        for _ in range(2):
            await socket.receive_json()
        async with http.get(room, headers={"Accept": "text/event-stream"}, ssl=trust) as events:
            poll = asyncio.ensure_future(http.get(f"{room}?since=now&wait=20", ssl=trust))
            await parked(http, server)
            async with http.post(room, json={"data": "x" * 60_000}, ssl=trust) as response:
                assert response.status == 201
            async with asyncio.timeout(WAIT_S):
                assert len((await socket.receive_json())["data"]) == 60_000
                async for line in events.content:
                    if line.startswith(b"data: "):
                        break
                async with await poll as response:
                    assert len((await response.json())["messages"]) == 1


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(server: Server, folder: Path, version: str) -> None:
    """Polls, publishing and event streams, by HTTP/1.1 and by HTTP/2."""
    room = f"{server.url}/rooms/curl{version[-1]}"
    body = ("-H", "Content-Type: application/json", "-d", '{"data":"hi"}')
    shown = "%{http_version} %{http_code}"
    assert curl(folder, version, "-o", "/dev/null", "-w", shown, *body, room) == f"{version[6:]} 201".replace(
        "2.0", "2"
    )
    assert '"data":"hi"' in curl(folder, version, f"{room}?since=start")
    events = curl(folder, version, "-N", "--max-time", "1.5", "-H", "Accept: text/event-stream", f"{room}?since=start")
    assert events.startswith(":")
    assert '"data":"hi"' in events
    # The origin rules hold there too.
    for origin, code in ((server.url, "200"), ("https://evil.com", "403")):
        assert curl(folder, version, "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Origin: {origin}", room) == code


def test_versions_and_ciphers(server: Server) -> None:
    """TLS 1.2 and 1.3, forward secrecy and authenticated encryption only."""

    def greets(*arguments: str) -> bool:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", *arguments]
        result = subprocess.run(command, input=b"", capture_output=True, timeout=10, check=False)
        return b"Cipher is (NONE)" not in result.stdout and b"Cipher    : 0000" not in result.stdout

    assert greets("-tls1_3")
    assert greets("-tls1_2")
    assert not greets("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert not greets("-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA")


async def test_a_renewed_certificate(folder: Path, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """New connections get it; those that live are not dropped; half of a pair is not used."""
    cert, key = certify(tmp_path, "first")
    with Server("--tls-cert", str(cert), "--tls-key", str(key)) as server:

        async def presented() -> str:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
            data = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return str(x509.load_der_x509_certificate(data).subject.rfc4514_string())

        old = trusting(tmp_path)
        async with http.ws_connect(f"wss://localhost:{server.port}/rooms/a", ssl=old) as socket:
            for _ in range(2):
                await socket.receive_json()
            assert await presented() == "CN=first"
            certify(tmp_path, "second")
            async with asyncio.timeout(WAIT_S):
                while await presented() != "CN=second":
                    await asyncio.sleep(0.2)
            await socket.send_json({"type": "message", "text": "still here"})
            assert (await socket.receive_json())["type"] in ("ack", "message")


def test_pairs(tmp_path: Path) -> None:
    cert, key = certify(tmp_path, "first")
    certificate = Certificate(str(cert), str(key))
    assert not certificate.renew()
    good = key.read_bytes()
    (tmp_path / "other").mkdir()
    _, other = certify(tmp_path / "other", "other")
    key.write_bytes(other.read_bytes())
    assert not certificate.renew()  # the key came first
    assert not certificate.renew()
    cert.write_bytes((tmp_path / "other" / "cert.pem").read_bytes())
    assert certificate.renew()
    cert.unlink()
    assert not certificate.renew()
    with pytest.raises(ConfigError):
        Certificate(str(cert), str(key))
    cert.write_bytes(good)
    with pytest.raises(ConfigError):
        Certificate(str(cert), str(key))


async def test_handshakes_that_do_not_end(server: Server) -> None:
    """Plain HTTP, nonsense and silence on a TLS port: the server goes on."""
    for start in (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\x00"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(start)
        if len(start) > 1:
            async with asyncio.timeout(WAIT_S):
                await reader.read()
        writer.transport.abort()
