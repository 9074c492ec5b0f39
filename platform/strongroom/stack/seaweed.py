"""One SeaweedFS server a region: master, volume, filer and S3 in one process, on loopback only.

The region's folder holds `data`, and `settings` with what the server and its users share: root
keys, signing keys, certificate (0600, made once), rights. All ports but that of S3 talk only to
who has the key of the certificate: behind them, nothing asks for rights or heeds a lock. `kill -9` loses nothing that was acknowledged: each
write has left the process by then. Ending it gently would take 15 seconds in which the server
only waits for connections of its own, so `stop` does not ask for it.
"""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strongroom import program, storage
from strongroom.errors import BadValue, StrongroomError
from strongroom.program import Command
from strongroom.stack import certificates, files
from strongroom.storage import Credentials, Region, Store

GRPC_OFFSET = 10_000
LOCATION = "us-east-1"
ROLE = "arn:aws:iam::role/strongroom-act"
ACCOUNT = "strongroom"  # the one identity that may assume the role
VOLUME_MB = 256  # small, so that space of deleted objects comes back soon
START_SECONDS = 60.0
POLL_SECONDS = 0.05
CERTIFICATE = "certificate.pem"
PARTS = ("master", "volume", "filer", "s3", "client")  # as security.toml names them


class SeaweedError(StrongroomError):
    """The server of a region could not be started."""

    code = "seaweed-failed"


@dataclass(frozen=True)
class Ports:
    """Where one server listens on 127.0.0.1; each port + GRPC_OFFSET is taken as well."""

    master: int
    volume: int
    filer: int
    s3: int

    def inner(self) -> list[int]:
        """All that are open, save the one for S3: for the parts of the server only."""
        http = [self.master, self.volume, self.filer]
        return [*http, *(port + GRPC_OFFSET for port in (*http, self.s3))]


@dataclass(frozen=True)
class Secrets:
    """What only this region's server and we know."""

    access_key: str
    secret_key: str
    sessions: str  # signs session tokens
    volume_write: str  # signs what the parts of the server ask of each other
    volume_read: str
    filer_write: str
    filer_read: str


class Seaweed:
    """The server of one region, as a component of a stack.

    `start` takes three seconds, most of them pauses inside the server. To start several at once,
    `launch` each, then `start` each. Use it from a thread that outlives the server.
    """

    def __init__(self, folder: Path, *, name: str, bucket: str, ports: Ports) -> None:
        _check(bucket, ports)
        self.name = name
        self.folder = folder
        self.ports = ports
        endpoint = f"http://127.0.0.1:{ports.s3}"
        self.region = Region(name, endpoint, bucket, LOCATION, ROLE)
        self.running: program.Running | None = None
        self._log_from = 0

    @property
    def root(self) -> Credentials:
        """May do everything in this region; for making buckets and for AssumeRole."""
        known = _secrets(self.folder)
        return Credentials(known.access_key, known.secret_key)

    def launch(self) -> None:
        """Begin to start; nothing if it runs. Raises ProgramMissing, NotStored or SeaweedError."""
        if self.alive():
            return
        _prepare(self.folder, self.region.bucket)
        self._clear_sockets()
        self._check_sockets()
        command = Command(_argv(self.folder, self.ports), _environment(self.folder), self.folder)
        with files.open_log(self.folder, "server") as log:
            self._log_from = self._log.stat().st_size
            self.running = program.start(command, stdout=log, stderr=subprocess.STDOUT)

    def start(self, *, timeout: float = START_SECONDS) -> None:
        """Return when the bucket is there and can be written to. Raises SeaweedError."""
        try:
            self.launch()
            self._await(self._takes_writes, timeout)
            self._check_inner_ports()
            store = Store(self.region, self.root)
            self._await(lambda: _has_bucket(store), timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it at once. Safe to call on what has ended."""
        if self.running is not None:
            self.running.signal(signal.SIGKILL)
            self.running.end()
            self.running = None
        self._clear_sockets()

    def alive(self) -> bool:
        return self.running is not None and self.running.process.poll() is None

    def published(self) -> Mapping[str, str]:
        """What others need to use the region; holds the root keys."""
        root = self.root
        region = {name: value for name, value in asdict(self.region).items() if value is not None}
        return {**region, "access_key": root.access_key, "secret_key": root.secret_key}

    @property
    def certificate(self) -> Path:
        """Holds the key that opens the inner ports."""
        return self.folder / "settings" / CERTIFICATE

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _await(self, ready: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self.alive():
            if ready():
                return
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready within {timeout:.0f} seconds")
            time.sleep(POLL_SECONDS)
        raise self._failed("ended while it was starting")

    def _failed(self, what: str) -> SeaweedError:
        end = files.tail(self._log, since=self._log_from)
        return SeaweedError(
            f"The server of {self.name} {what}. Its log {self._log} ends with:\n{end}",
            region=self.name,
        )

    def _takes_writes(self) -> bool:
        """Whether the S3 port is open, and the master would say where a new object goes."""
        collection = f"/dir/assign?collection={self.region.bucket}"
        master = http.client.HTTPSConnection(
            certificates.HOST,
            self.ports.master,
            timeout=5,
            context=certificates.member(self.certificate),
        )
        s3 = http.client.HTTPConnection(certificates.HOST, self.ports.s3, timeout=5)
        return b'"fid"' in _ask(master, collection) and bool(_ask(s3, "/status"))

    def _check_inner_ports(self) -> None:
        """A part that cannot read its certificate only warns, and goes on without."""
        for port in self.ports.inner():
            if not certificates.refuses_strangers(port, self.certificate):
                raise self._failed(f"does not ask for its key at port {port}, and was ended")

    def _clear_sockets(self) -> None:
        for path in self._sockets():
            with suppress(OSError):  # gone, or somebody else's
                path.unlink()

    def _check_sockets(self) -> None:
        """With another one's socket in its place the server would talk to that, in vain."""
        for path in self._sockets():
            if path.is_symlink() or path.exists():
                raise SeaweedError(
                    f"The server of {self.name} needs the place of {path}, which belongs to "
                    "another account. Have it removed and start again.",
                    region=self.name,
                    path=str(path),
                )

    def _sockets(self) -> list[Path]:
        """The server leaves these in /tmp, and names them itself."""
        return [
            Path(f"/tmp/seaweedfs-{service}-grpc-{port + GRPC_OFFSET}.sock")  # noqa: S108
            for service, port in asdict(self.ports).items()
        ]


@dataclass(frozen=True)
class RegionServer:
    """A region that can be used."""

    region: Region
    root: Credentials
    server: Seaweed

    @property
    def running(self) -> program.Running:
        assert self.server.running is not None
        return self.server.running

    def stop(self) -> None:
        self.server.stop()


def start(folder: Path, *, name: str, bucket: str, ports: Ports) -> RegionServer:
    """Start one region and wait for it; the folder keeps its data and secrets."""
    server = Seaweed(folder, name=name, bucket=bucket, ports=ports)
    server.start()
    return RegionServer(server.region, server.root, server)


def server_program() -> Path:
    """Where `weed` is. Raises ProgramMissing."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise program.ProgramMissing(
            "Wanted the SeaweedFS server `weed`, found none. Install `strongroom[embedded]`.",
            program="weed",
        )
    return Path(found)


def _check(bucket: str, ports: Ports) -> None:
    if len(bucket) < 3:
        raise BadValue(f"A bucket name has three letters or more, found {bucket!r}.", bucket=bucket)
    every = [port + offset for port in asdict(ports).values() for offset in (0, GRPC_OFFSET)]
    if len(set(every)) < len(every) or max(every) > 65_535 or min(every) < 1:
        raise BadValue(
            f"A region needs four ports below {65_536 - GRPC_OFFSET}, all distinct, and so the "
            f"same plus {GRPC_OFFSET}; found {ports}."
        )


def _prepare(folder: Path, bucket: str) -> None:
    """Folders and settings; rights are written anew each time, secrets never."""
    for part in (folder, folder / "data", folder / "settings"):
        files.make_private(part)
    known = _secrets(folder)
    certificate = folder.resolve() / "settings" / CERTIFICATE
    certificates.keep(certificate)
    for name, content in _settings(known, bucket, certificate).items():
        files.write(folder / "settings" / name, content.encode())


def _secrets(folder: Path) -> Secrets:
    path = folder / "settings" / "secrets.json"
    if path.exists():
        return Secrets(**json.loads(path.read_text()))
    made = Secrets(secrets.token_hex(10).upper(), *(secrets.token_urlsafe(32) for _ in range(6)))
    files.write(path, json.dumps(asdict(made)).encode())
    return made


def _settings(known: Secrets, bucket: str, certificate: Path) -> dict[str, str]:
    return {
        "identities.json": json.dumps(_identities(known)),
        "rights.json": json.dumps(_rights(known, bucket)),
        "security.toml": (
            f'[jwt.signing]\nkey = "{known.volume_write}"\n'
            f'[jwt.signing.read]\nkey = "{known.volume_read}"\n'
            f'[jwt.filer_signing]\nkey = "{known.filer_write}"\n'
            f'[jwt.filer_signing.read]\nkey = "{known.filer_read}"\n' + _guarded(certificate)
        ),
        "master.toml": "[master.volume_growth]\ncopy_1 = 2\n",  # volumes made at once
    }


def _guarded(certificate: Path) -> str:
    """Both sides of every connection between the parts show the certificate and ask for it."""
    file = json.dumps(str(certificate), ensure_ascii=False)
    pair = f"cert = {file}\nkey = {file}\n"
    grpc = [f"[grpc.{part}]\n{pair}" for part in PARTS]
    https = [
        f"[https.{part}]\n{pair}ca = {file}\nenabled = true\n"  # only the client has to be told
        for part in PARTS
        if part != "s3"  # the one port that is for others
    ]
    return "".join([f"[grpc]\nca = {file}\n", *grpc, *https])


def _identities(known: Secrets) -> dict[str, Any]:
    keys = {"accessKey": known.access_key, "secretKey": known.secret_key}
    return {"identities": [{"name": ACCOUNT, "credentials": [keys], "actions": ["Admin"]}]}


def _rights(known: Secrets, bucket: str) -> dict[str, Any]:
    """One role with the rights to objects; each session policy cuts it down further."""
    trust = {  # never "*": any session could then get itself another one, for any prefix
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::000000000000:user/{ACCOUNT}"},
        "Action": ["sts:AssumeRole"],
    }
    objects = {
        "Effect": "Allow",
        "Action": ["s3:*"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "strongroom",
            "signingKey": base64.b64encode(known.sessions.encode()).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [
            {
                "roleName": ROLE.rpartition("/")[2],
                "roleArn": ROLE,
                "trustPolicy": _document(trust),
                "attachedPolicies": ["objects"],
            }
        ],
        "policies": [{"name": "objects", "document": _document(objects)}],
    }


def _document(statement: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [statement]}


def _argv(folder: Path, ports: Ports) -> list[str]:
    settings = folder.resolve() / "settings"
    return [
        str(server_program()),
        "-logtostderr=true",
        f"-config_dir={settings}",
        "server",
        f"-dir={folder.resolve() / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={ports.master}",
        "-master.peers=none",  # alone: leads at once instead of asking around first
        "-master.telemetry=false",
        f"-master.volumeSizeLimitMB={VOLUME_MB}",
        "-master.electionTimeout=300ms",  # alone it always wins; 10 s would be waited out
        "-master.heartbeatInterval=50ms",
        f"-volume.port={ports.volume}",
        "-volume.max=0",  # as many as the disk has room for
        "-volume.minFreeSpace=128MiB",  # by default one per cent, gigabytes on a large disk
        "-volume.preStopSeconds=0",
        f"-filer.port={ports.filer}",
        f"-filer.localSocket={_socket(ports.filer)}",
        "-s3",
        f"-s3.port={ports.s3}",
        f"-s3.localSocket={_socket(ports.s3)}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        f"-s3.config={settings / 'identities.json'}",
        f"-s3.iam.config={settings / 'rights.json'}",
    ]


def _socket(port: int) -> str:
    """In the server's working folder: its own choice would be /tmp."""
    return f"{port}.sock"


def _environment(folder: Path) -> dict[str, str]:
    # It begins with 240 MiB that it holds on to, most of them never touched. A limit near that has
    # it look for garbage all the time: 12 ms of CPU for a small object instead of 2.
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder.resolve()), "GOMEMLIMIT": "768MiB"}


def _ask(connection: http.client.HTTPConnection, path: str) -> bytes:
    """The body of an answer, whatever its status; empty if there was none."""
    try:
        connection.request("GET", path)
        return connection.getresponse().read() or b"-"
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def _has_bucket(store: Store) -> bool:
    try:
        if not store.exists_bucket():
            store.create_bucket()
    except (storage.Unreachable, storage.Denied):  # rights are read a moment after the port opens
        return False
    return True
