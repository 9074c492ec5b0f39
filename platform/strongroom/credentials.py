"""Who may do what in which region: regions, credentials, and credentials cut to one act.

One client per endpoint serves all tenants: making a client costs tens of milliseconds, and each
would keep connections of its own. The credentials of the moment are lent to it per call, so they
never rest in it. Nothing is looked up: no environment, no profile, no instance metadata.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.credentials import ReadOnlyCredentials
from botocore.loaders import Loader
from botocore.utils import parse_timestamp

from strongroom.errors import BadValue
from strongroom.session_policy import Act, as_text, session_policy
from strongroom.storage_errors import Place, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

SHORTEST, LONGEST = 900, 43_200  # seconds of a session, AWS STS API reference, AssumeRole
CONNECT_SECONDS = 3
READ_SECONDS = 30
ATTEMPTS = 2  # of one request; longer patience belongs to who holds the lease
CONNECTIONS = 32  # kept open per endpoint and process


# In place of the client library's list of all endpoints of a provider, 7 MB once it is read: our
# endpoints are always given in full.
ANYWHERE: Any = {
    "partition": "aws",
    "partitionName": "any",
    "dnsSuffix": "amazonaws.com",
    "regionRegex": "^.+$",
    "defaults": {
        "hostname": "{service}.{region}.{dnsSuffix}",
        "protocols": ["https"],
        "signatureVersions": ["v4"],
    },
    "regions": {},
    "services": {
        service: {
            "partitionEndpoint": "aws-global",
            "endpoints": {
                "aws-global": {
                    "hostname": f"{service}.amazonaws.com",
                    "credentialScope": {"region": "us-east-1"},
                    "signatureVersions": [signature],
                }
            },
        }
        for service, signature in (("s3", "s3v4"), ("sts", "v4"))
    },
}


@dataclass(frozen=True)
class Region:
    """One place where copies lie."""

    name: str  # ours, such as "region-a"
    endpoint: str  # http://127.0.0.1:8333
    bucket: str
    location: str  # as AWS names regions; part of every signature
    role_arn: str  # the role whose rights are cut down for each act
    sts_endpoint: str | None = None  # None: the endpoint answers AssumeRole itself


@dataclass(frozen=True)
class Credentials:
    """What signs requests."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires: datetime | None = None  # aware; None: never

    def shared_file(self) -> bytes:
        """The text of an AWS shared credentials file, for AWS_SHARED_CREDENTIALS_FILE."""
        lines = [
            "[default]",
            f"aws_access_key_id = {self.access_key}",
            f"aws_secret_access_key = {self.secret_key}",
        ]
        if self.session_token is not None:
            lines.append(f"aws_session_token = {self.session_token}")
        return ("\n".join(lines) + "\n").encode()


def assume(
    region: Region,
    root: Credentials,
    *,
    prefix: str,
    act: Act,
    seconds: int,
    packs: tuple[str, ...] = (),
) -> Credentials:
    """Short credentials for one act below one prefix. Raises BadValue or a StorageError."""
    if not SHORTEST <= seconds <= LONGEST:
        raise BadValue(
            f"A storage session lasts {SHORTEST} to {LONGEST} seconds, found {seconds}.",
            seconds=seconds,
        )
    policy = session_policy(region.bucket, prefix, act, packs=packs)
    with (
        translated(f"get credentials to {act}", Place(region.name, region.bucket, prefix)),
        signed_by(root),
    ):
        answer = sts_client(region).assume_role(
            RoleArn=region.role_arn,
            RoleSessionName=f"strongroom-{act}",
            Policy=as_text(policy),
            DurationSeconds=seconds,
        )
        given = answer["Credentials"]
        return Credentials(
            given["AccessKeyId"],
            given["SecretAccessKey"],
            given["SessionToken"],
            given["Expiration"].astimezone(UTC),
        )


_lent: ContextVar[Credentials] = ContextVar("strongroom_storage_credentials")


@contextmanager
def signed_by(credentials: Credentials) -> Iterator[None]:
    """Requests made inside, in this thread, are signed with these."""
    before = _lent.set(credentials)
    try:
        yield
    finally:
        _lent.reset(before)


class _Lent(BotocoreCredentials):
    """Asked at every signature, in the thread that makes the request."""

    def __init__(self) -> None:
        super().__init__("lent", "lent")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        now = _lent.get()
        return ReadOnlyCredentials(now.access_key, now.secret_key, now.session_token)


def s3_client(region: Region) -> S3Client:
    """The client all share; use it inside `signed_by`."""
    return cast("S3Client", _client("s3", region.endpoint, region.location))


def sts_client(region: Region) -> STSClient:
    """The client all share; use it inside `signed_by`."""
    endpoint = region.sts_endpoint or region.endpoint
    return cast("STSClient", _client("sts", endpoint, region.location))


_making = threading.RLock()
_clients: dict[tuple[str, str, str], Any] = {}
_session: list[botocore.session.Session] = []


def _forget_clients() -> None:
    """A child must not share its parent's connections, nor a lock some thread there held."""
    global _making
    _making = threading.RLock()
    _clients.clear()
    _session.clear()


os.register_at_fork(after_in_child=_forget_clients)


def _client(service: Literal["s3", "sts"], endpoint: str, location: str) -> Any:
    name = (service, endpoint, location)
    found = _clients.get(name)
    if found is not None:
        return found
    with _making:
        if name not in _clients:
            _clients[name] = _new_session().create_client(
                service, region_name=location, endpoint_url=endpoint, config=_config(endpoint)
            )
        return _clients[name]


def _new_session() -> botocore.session.Session:
    """The one session; it reads no profile and no file, whatever the environment says."""
    if not _session:
        nothing = (None, None, os.devnull, None)
        session = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": nothing,
                "credentials_file": nothing,
            }
        )
        session.register_component("data_loader", _Lean())
        session._credentials = _Lent()  # type: ignore[attr-defined]  # no public way to lend
        session.get_component("response_parser_factory").set_parser_defaults(
            timestamp_parser=_moment
        )
        _session.append(session)
    return _session[0]


class _Lean(Loader):
    """Knows the services, and no endpoints."""

    def load_data_with_path(self, name: str) -> Any:
        if name == "endpoints":
            return {"version": 3, "partitions": [ANYWHERE]}, ""
        return super().load_data_with_path(name)


def _moment(text: Any) -> datetime:
    """A listing has a thousand times in ISO 8601; the library's own way takes 0.3 ms for each."""
    if isinstance(text, str) and text.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(text)
    return parse_timestamp(text)


def _config(endpoint: str) -> Config:
    loopback = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path"},
        proxies={} if loopback else None,  # an ambient proxy must not see loopback traffic
    )
