"""What can go wrong with a region's storage.

    StorageError            1   the region did not do what was wanted
    ├── Unreachable         1   nobody answered, or the answer broke off: worth trying again
    ├── Denied              4   these credentials do not reach there
    ├── Missing             2   no such bucket, object or version
    ├── Untrue              1   what it answers is not what was stored there
    └── Locked              4   Object Lock holds that version until a date

A message names region, bucket and key, never a credential.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    ParamValidationError,
)
from botocore.parsers import ResponseParserError

from strongroom.errors import NotFound, Refused, StrongroomError

MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchUpload", "NotFound"}
DENIED = {
    "401",
    "403",
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
AGAIN = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"}


class StorageError(StrongroomError):
    """The region did not do what was wanted."""

    code = "storage-failed"


class Unreachable(StorageError):
    """The region gave no usable answer; a later try may succeed."""

    code = "storage-unreachable"


class Denied(StorageError, Refused):
    """The credentials do not allow it, or are no longer good."""

    code = "storage-denied"


class Missing(StorageError, NotFound):
    """The bucket, object or version is not there."""

    code = "storage-missing"


class Untrue(StorageError):
    """The region answers well, with something else than what was stored."""

    code = "storage-untrue"


class Locked(StorageError, Refused):
    """Object Lock forbids it for now."""

    code = "storage-locked"


@dataclass(frozen=True)
class Place:
    """What an operation was about, for messages."""

    region: str
    bucket: str
    key: str = ""  # a key or a prefix

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key} in region {self.region}"


@contextmanager
def translated(wanted: str, place: Place) -> Iterator[None]:
    """Turn what the client library raises into ours; `wanted` goes on from "Wanted to"."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, wanted, place) from error
    except ParamValidationError:
        raise  # a mistake of ours, not of the region
    except FlexibleChecksumError as error:
        raise _make(Untrue, wanted, place, "bytes that do not add up") from error
    except (BotoCoreError, OSError) as error:
        raise _make(Unreachable, wanted, place, type(error).__name__) from error
    except (ResponseParserError, KeyError) as error:  # a page of something in between, a broken one
        raise _make(Unreachable, wanted, place, "an answer that is none of S3") from error


def _from_answer(error: ClientError, wanted: str, place: Place) -> StorageError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return _make(_kind(code, status), wanted, place, code or str(status))


def _kind(code: str, status: int) -> type[StorageError]:
    if code in MISSING:
        return Missing
    if code in DENIED or status in (401, 403):
        return Denied
    if code in AGAIN or status == 429 or status >= 500:
        return Unreachable
    return Missing if status == 404 else StorageError


ADVICE = {
    Unreachable: "It is tried again later; check that the region is up.",
    Denied: "Check that the credentials are meant for this and have not expired.",
    Missing: "Check the name and the region.",
    StorageError: "The region's log says more.",
    Untrue: "The region is not used; look at what lies there.",
}


def _make(kind: type[StorageError], wanted: str, place: Place, found: str) -> StorageError:
    return kind(
        f"Wanted to {wanted} {place}, found: {found}. {ADVICE[kind]}",
        region=place.region,
        bucket=place.bucket,
        key=place.key,
        found=found,
    )
