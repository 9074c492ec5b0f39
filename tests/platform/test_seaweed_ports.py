"""The ports of a region's server that are not S3: nobody without its key gets anything there."""

from __future__ import annotations

import http.client
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.stack import certificates, seaweed
from strongroom.stack.seaweed import RegionServer, Seaweed
from strongroom.storage import Store
from tests.platform.regions import free_ports, listening, running_region

TLS_WANTED = b"Client sent an HTTP request to an HTTPS server."
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
TLS_ALERT = b"\x15\x03"
REQUESTS = [  # on whichever port: what reads, writes or destroys on one of them
    ("GET", "/col/delete?collection=vault"),
    ("GET", "/dir/assign?collection=vault"),
    ("GET", "/dir/lookup?volumeId=1&fileId=1,01637037d6"),
    ("GET", "/dir/status"),
    ("GET", "/vol/grow?count=1"),
    ("GET", "/vol/status"),
    ("GET", "/vol/vacuum?garbageThreshold=0.0001"),
    ("GET", "/collection/info?collection=vault"),
    ("POST", "/submit"),
    ("GET", "/cluster/status"),
    ("GET", "/status"),
    ("GET", "/1,01637037d6"),
    ("POST", "/1,01637037d6"),
    ("DELETE", "/1,01637037d6"),
    ("GET", "/buckets/vault/t/1/config"),
    ("PUT", "/buckets/vault/t/1/config"),
    ("DELETE", "/buckets/vault?recursive=true"),
    ("POST", "/.tus/vault"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[RegionServer]:
    with running_region() as started:
        yield started


@pytest.fixture
def locked(server: RegionServer) -> Iterator[str]:
    """A version that is locked, and must be there as it was when the test is over."""
    store = Store(server.region, server.root)
    version = str(store.put("t/1/config", b"secret" * 1_000_000))
    store.retain_until("t/1/config", version, datetime.now(UTC) + timedelta(days=1))
    yield version
    assert store.get_version("t/1/config", version) == b"secret" * 1_000_000
    assert [kept.code for kept in store.delete_versions([("t/1/config", version)])] == ["locked"]


@pytest.fixture(scope="module")
def foreign_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What another account can make for itself."""
    file = tmp_path_factory.mktemp("foreign") / "certificate.pem"
    certificates.keep(file)
    return file


def inner_ports(server: RegionServer) -> list[int]:
    """Every port it has open, save the one for S3."""
    found = {port for _, port in listening(server.running.pid)} - {server.server.ports.s3}
    assert found == set(server.server.ports.inner())
    return sorted(found)


def asked(line: http.client.HTTPConnection, method: str, path: str) -> tuple[int, bytes] | None:
    """Status and body; None when the connection was refused or ended without an answer."""
    try:
        line.request(method, path)
        answer = line.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        line.close()


def first_bytes(port: int, said: bytes) -> bytes:
    """What the other side says to that; nothing when it hangs up."""
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        try:
            line.sendall(said)
            return line.recv(1024)
        except ConnectionResetError:
            return b""


def test_plain_requests_get_nothing(server: RegionServer, locked: str) -> None:
    for port in inner_ports(server):
        for method, path in REQUESTS:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            answer = asked(line, method, path)
            assert answer is None or (answer[0] == 400 and TLS_WANTED in answer[1]), (port, path)


def test_requests_without_a_key_get_nothing(server: RegionServer, locked: str) -> None:
    context = certificates.stranger(server.server.certificate)
    for port in inner_ports(server):
        for method, path in REQUESTS:
            line = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
            assert asked(line, method, path) is None, (port, path)


def test_requests_with_a_key_of_ones_own_get_nothing(
    server: RegionServer, locked: str, foreign_key: Path
) -> None:
    context = certificates.stranger(server.server.certificate)
    context.load_cert_chain(foreign_key)
    for port in inner_ports(server):
        for method, path in REQUESTS:
            line = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
            assert asked(line, method, path) is None, (port, path)


def test_grpc_greets_nobody_without_a_key(
    server: RegionServer, locked: str, foreign_key: Path
) -> None:
    context = certificates.stranger(server.server.certificate)
    context.load_cert_chain(foreign_key)
    context.set_alpn_protocols(["h2"])
    for port in [port for port in inner_ports(server) if port > seaweed.GRPC_OFFSET]:
        assert first_bytes(port, HTTP2_HELLO)[:2] in (b"", TLS_ALERT), port
        assert certificates.refuses_strangers(port, server.server.certificate)
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as line,
            pytest.raises(ssl.SSLError, match="(?i)unknown.ca|bad.certificate"),
        ):
            line.recv(1)


def test_with_the_key_the_same_requests_are_answered(server: RegionServer, locked: str) -> None:
    """Else the tests above would prove nothing."""
    context = certificates.member(server.server.certificate)
    ports = server.server.ports

    def answer(port: int, path: str) -> tuple[int, bytes]:
        line = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        found = asked(line, "GET", path)
        assert found is not None
        return found

    assert b'"fid"' in answer(ports.master, "/dir/assign?collection=vault")[1]
    assert answer(ports.volume, "/status")[0] == 200
    assert answer(ports.filer, "/buckets/vault/t/1/config")[0] == 401  # wants a signature too


def test_sockets_and_the_key_are_the_owners_alone(server: RegionServer) -> None:
    names = [*server.server.folder.glob("*.sock"), *server.server._sockets()]
    assert len(names) == 6
    for name in names:
        found = name.stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert not found.st_mode & 0o022, name  # who may not write, may not connect
    assert stat.S_IMODE(server.server.certificate.stat().st_mode) == 0o600
    key = server.server.certificate.read_bytes().splitlines()[1]
    assert key not in (server.server.folder / "server.log").read_bytes()


def test_a_folder_made_before_certificates_were_opens_with_its_data() -> None:
    with running_region() as first:
        Store(first.region, first.root).put("t/1/config", b"kept")
        first.stop()
        first.server.certificate.unlink()
        first.server.start()
        assert Store(first.region, first.root).get("t/1/config") == b"kept"


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_certificate_is_made_once_and_again_when_it_is_damaged(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "certificate.pem"
    certificates.keep(file)
    before = file.read_bytes()
    certificates.keep(file)
    assert file.read_bytes() == before
    file.write_bytes(content)
    certificates.keep(file)
    certificates.member(file)


def test_a_place_in_tmp_that_is_taken_is_named(tmp_path: Path) -> None:
    region = Seaweed(tmp_path / "a", name="region-a", bucket="vault", ports=free_ports())
    taken = region._sockets()[0]
    taken.mkdir()  # as little ours to remove as another account's file
    try:
        with pytest.raises(seaweed.SeaweedError) as caught:
            region.start()
    finally:
        taken.rmdir()
    assert str(taken) in caught.value.message
    assert not region.alive()


@contextmanager
def answering(context: ssl.SSLContext | None) -> Iterator[int]:
    """A port where one caller is greeted, with TLS or without."""

    def greet() -> None:
        with suppress(OSError):
            line, _ = door.accept()
            with context.wrap_socket(line, server_side=True) if context else line as greeted:
                greeted.sendall(b"hello")
                greeted.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            door.shutdown(socket.SHUT_RDWR)
            thread.join()


def welcoming(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_a_port_that_greets_strangers_is_found_out(tmp_path: Path, foreign_key: Path) -> None:
    ours = tmp_path / "certificate.pem"
    certificates.keep(ours)
    for context in (None, welcoming(ours), welcoming(foreign_key)):
        with answering(context) as port:
            assert not certificates.refuses_strangers(port, ours)
    assert not certificates.refuses_strangers(free_ports().s3, ours)
