"""Objects and their versions in one region, as far as the given credentials reach.

With its neighbours `credentials` and `storage_errors` the only place that knows the AWS client
library. What those define for callers is to be had from here:

    credentials = storage.assume(region, root, prefix="t/…/r/…/", act=Act.BACKUP, seconds=3600)
    store = storage.Store(region, credentials)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from strongroom.credentials import Credentials, Region, assume, s3_client, signed_by
from strongroom.errors import BadValue
from strongroom.session_policy import Act, session_policy
from strongroom.storage_errors import (
    Denied,
    Locked,
    Missing,
    Place,
    StorageError,
    Unreachable,
    Untrue,
    translated,
)

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

__all__ = [
    "Act",
    "Credentials",
    "Denied",
    "Kept",
    "Locked",
    "Missing",
    "ObjectInfo",
    "Region",
    "StorageError",
    "Store",
    "Unreachable",
    "Untrue",
    "Upload",
    "Version",
    "assume",
    "session_policy",
]

PART = 16 * 1024 * 1024  # bytes of an upload in parts, which are held in memory
MOST_PARTS = 10_000  # of one upload, AWS S3 user guide, "Multipart upload limits"
CHECKSUMS = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME")
PIECE = 256 * 1024  # bytes read at once of what is passed on
BATCH = 1000  # versions in one DeleteObjects request, AWS S3 API reference
NO_RETENTION = {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"}


@dataclass(frozen=True)
class ObjectInfo:
    """An object as it is now."""

    key: str
    size: int  # bytes
    modified: datetime  # on the region's clock
    etag: str  # changes with the content


@dataclass(frozen=True)
class Version:
    """One version of an object, or one delete marker."""

    key: str
    version_id: str
    latest: bool  # what a plain GET answers with; a latest marker means: deleted
    marker: bool  # a delete marker: no bytes
    modified: datetime  # on the region's clock
    size: int  # bytes; 0 for a marker


@dataclass(frozen=True)
class Kept:
    """A version that was to go and is still there."""

    key: str
    version_id: str
    code: str  # "locked", "denied" or "failed"
    found: str  # what the region said
    until: datetime | None = None  # locked until then, where we may ask


@dataclass(frozen=True)
class Upload:
    """A multipart upload that was begun and not ended; its parts are stored and paid."""

    key: str
    upload_id: str
    begun: datetime  # on the region's clock


class Store:
    """The bucket of a region. Safe to share between threads; raises StorageErrors."""

    def __init__(self, region: Region, credentials: Credentials, *, page: int = BATCH) -> None:
        self.region = region
        self._credentials = credentials
        self._page = page  # entries asked for in one listing request

    def get(self, key: str) -> bytes:
        """The latest version, whole. Raises Missing for what is deleted too."""
        with self._calling("read", key) as (client, bucket):
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def stream(self, key: str, *, chunk: int = 1 << 20) -> Iterator[bytes]:
        """The latest version in pieces of `chunk` bytes, so that memory stays small."""
        with self._calling("read", key) as (client, bucket):
            body = client.get_object(Bucket=bucket, Key=key)["Body"]
            try:
                yield from body.iter_chunks(chunk)
            finally:
                body.close()

    def part(
        self, key: str, first: int = 0, last: int | None = None, *, version: str | None = None
    ) -> tuple[int, Iterator[bytes]]:
        """Bytes `first` to `last`, both included, of this or the latest version: how many, and in
        pieces."""
        wanted: Any = {}  # an empty object has no first byte to ask for
        if first or last is not None:
            wanted = {"Range": f"bytes={first}-{'' if last is None else last}"}
        if version is not None:
            wanted |= {"VersionId": version}
        with self._calling("read", key) as (client, bucket):
            answer = client.get_object(Bucket=bucket, Key=key, **wanted)
        return answer["ContentLength"], self._pieces(key, answer["Body"])

    def _pieces(self, key: str, body: StreamingBody) -> Iterator[bytes]:
        try:
            with translated("read", self._place(key)):
                yield from body.iter_chunks(PIECE)
        finally:
            body.close()

    def get_version(self, key: str, version_id: str) -> bytes:
        """What the object was in that version."""
        with self._calling("read a version of", key) as (client, bucket):
            return client.get_object(Bucket=bucket, Key=key, VersionId=version_id)["Body"].read()

    def put(self, key: str, data: bytes) -> str | None:
        """Write the object, and return its version id; None in a bucket without versions."""
        with self._calling("write", key) as (client, bucket):
            return client.put_object(Bucket=bucket, Key=key, Body=data).get("VersionId")

    def put_file(self, key: str, file: IO[bytes], *, part: int = PART) -> str | None:
        """As `put`, of any size and with the memory of one part; nothing stays of what fails.

        The client library's own way to do this works in threads, which our credentials do not
        follow. Raises Untrue if what lies there then has another size.
        """
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= part:
            return self.put(key, file.read())
        begun = self.begin_upload(key)
        try:
            sent = self._parts(key, begun, file, part=max(part, -(-size // MOST_PARTS)))
            return self.end_upload(key, begun, sent, size=size)
        except BaseException:
            with suppress(StorageError):  # the first failure is the one to tell
                self.abort_upload(Upload(key, begun, datetime.now(UTC)))
            raise

    def _parts(self, key: str, upload: str, file: IO[bytes], *, part: int) -> list[Any]:
        sent: list[Any] = []
        while piece := file.read(part):
            sent.append(self.put_part(key, upload, len(sent) + 1, piece))
        return sent

    def begin_upload(self, key: str) -> str:
        """The id of an upload in parts, for what is not known to its end; nothing lies there
        before `end_upload`."""
        with self._calling("begin to write", key) as (client, bucket):
            return client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]

    def put_part(self, key: str, upload: str, number: int, piece: bytes) -> Mapping[str, Any]:
        """With the checksum that the region gave it, to be said again at the end."""
        with self._calling(f"write part {number} of", key) as (client, bucket):
            answer: Mapping[str, Any] = client.upload_part(
                Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece
            )
            sums = {name: answer[name] for name in ("ETag", *CHECKSUMS) if name in answer}
        return {"PartNumber": number, **sums}

    def end_upload(self, key: str, upload: str, sent: Sequence[Any], *, size: int) -> str | None:
        """The parts become an object; gives its version id. Raises Untrue for another size."""
        with self._calling("write", key) as (client, bucket):
            version = client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": [*sent]}
            ).get("VersionId")
        self._require_size(key, size)
        return version

    def _require_size(self, key: str, size: int) -> None:
        found = self.head(key)
        if found is None or found.size != size:
            raise Untrue(
                f"Wanted to write {size} bytes to {self._place(key)}, found "
                f"{'nothing' if found is None else found.size} there afterwards."
            )

    def delete(self, key: str) -> None:
        """Hide the object behind a delete marker; its versions stay, and stay paid."""
        with self._calling("delete", key) as (client, bucket):
            client.delete_object(Bucket=bucket, Key=key)

    def head(self, key: str) -> ObjectInfo | None:
        """None for what is not there or deleted."""
        try:
            with self._calling("look at", key) as (client, bucket):
                found = client.head_object(Bucket=bucket, Key=key)
                modified, etag = _utc(found["LastModified"]), found["ETag"]
        except Missing:
            return None
        return ObjectInfo(key, found["ContentLength"], modified, etag)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects as they are now, by key; asked for page by page while you iterate."""
        more: dict[str, Any] = {}
        while True:
            with self._calling("list", prefix) as (client, bucket):
                answer = client.list_objects_v2(
                    Bucket=bucket, Prefix=prefix, MaxKeys=self._page, **more
                )
                _require_listing(answer)
            for found in answer.get("Contents", ()):
                yield ObjectInfo(
                    found["Key"], found["Size"], _utc(found["LastModified"]), found["ETag"]
                )
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def top(self, prefix: str) -> Sequence[str]:
        """What lies directly below, in one request: objects, and folders that end in "/"."""
        with self._calling("list", prefix) as (client, bucket):
            answer = client.list_objects_v2(
                Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=self._page
            )
        folders = [found["Prefix"] for found in answer.get("CommonPrefixes", ())]
        return [*(found["Key"] for found in answer.get("Contents", ())), *folders]

    def folders(self, prefix: str) -> Iterator[str]:
        """The names directly below the prefix that have something below them, each without "/"."""
        more: dict[str, Any] = {}
        while True:
            with self._calling("list", prefix) as (client, bucket):
                answer = client.list_objects_v2(
                    Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=self._page, **more
                )
            for found in answer.get("CommonPrefixes", ()):
                yield found["Prefix"].removeprefix(prefix).rstrip("/")
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def versions(self, prefix: str) -> Iterator[Version]:
        """Every version and delete marker, page by page; of one page versions come first."""
        more: dict[str, Any] = {}
        while True:
            with self._calling("list versions below", prefix) as (client, bucket):
                answer = client.list_object_versions(
                    Bucket=bucket, Prefix=prefix, MaxKeys=self._page, **more
                )
                _require_listing(answer)
            for found in answer.get("Versions", ()):
                yield _version(found, marker=False)
            for gone in answer.get("DeleteMarkers", ()):
                yield _version(gone, marker=True)
            if not answer.get("IsTruncated"):
                return
            more = {
                "KeyMarker": answer["NextKeyMarker"],
                "VersionIdMarker": answer["NextVersionIdMarker"],
            }

    def delete_versions(self, versions: Iterable[tuple[str, str]]) -> Sequence[Kept]:
        """Remove exactly these (key, version id) for good, and return those that stayed.

        A version that is gone already counts as removed: the call may be repeated.
        """
        kept: Sequence[Kept] = []
        pairs = iter(versions)
        while batch := list(islice(pairs, BATCH)):
            kept = [*kept, *self._delete_batch(batch)]
        return kept

    def retain_until(self, key: str, version_id: str, until: datetime) -> None:
        """Lock the version in compliance mode: nobody can remove it or shorten this.

        Raises Locked if it is locked for longer already.
        """
        if until.tzinfo is None:
            raise BadValue(f"A retention ends at an aware time, found {until}.")
        try:
            with self._calling("lock", key) as (client, bucket):
                client.put_object_retention(
                    Bucket=bucket,
                    Key=key,
                    VersionId=version_id,
                    Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until.astimezone(UTC)},
                )
        except Denied:
            held = self.retained(key, version_id)
            if held is None or held <= until:
                raise
            raise Locked(
                f"Wanted to lock {self._place(key)} until {until:%Y-%m-%d %H:%M} UTC, but it is "
                f"locked until {held:%Y-%m-%d %H:%M} UTC. A lock can be made longer only.",
                key=key,
                until=held.isoformat(),
            ) from None

    def retained(self, key: str, version_id: str) -> datetime | None:
        """Until when the version is locked; None if it never was."""
        try:
            with self._calling("read the lock of", key) as (client, bucket):
                answer = client.get_object_retention(Bucket=bucket, Key=key, VersionId=version_id)
        except StorageError as error:
            if error.params.get("found") in NO_RETENTION:
                return None
            raise
        until = answer["Retention"].get("RetainUntilDate")
        return _utc(until) if until else None

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Multipart uploads that nobody ended."""
        more: dict[str, Any] = {}
        while True:
            with self._calling("list uploads below", prefix) as (client, bucket):
                answer = client.list_multipart_uploads(
                    Bucket=bucket, Prefix=prefix, MaxUploads=self._page, **more
                )
            for found in answer.get("Uploads", ()):
                yield Upload(found["Key"], found["UploadId"], _utc(found["Initiated"]))
            if not answer.get("IsTruncated"):
                return
            more = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }

    def abort_upload(self, upload: Upload) -> None:
        """Remove the parts of an upload; one that is gone already is fine."""
        try:
            with self._calling("abort an upload of", upload.key) as (client, bucket):
                client.abort_multipart_upload(
                    Bucket=bucket, Key=upload.key, UploadId=upload.upload_id
                )
        except Missing:
            return

    def server_date(self) -> datetime:
        """The region's clock, to the second, from the Date header of a HEAD request.

        Any answer will do, a refusal too: no rights are needed for it.
        """
        with translated("ask the time of", self._place("")), signed_by(self._credentials):
            try:
                answer: Any = s3_client(self.region).head_bucket(Bucket=self.region.bucket)
            except ClientError as error:
                answer = error.response
        headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
        if "date" not in headers:
            raise StorageError(
                f"Wanted the time of {self._place('')}, found no Date in its answer."
            )
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)

    def exists_bucket(self) -> bool:
        try:
            with self._calling("look for", "") as (client, bucket):
                client.head_bucket(Bucket=bucket)
        except Missing:
            return False
        return True

    def create_bucket(self) -> None:
        """With Object Lock, and so with versions; no default retention: locks are per object."""
        place: Any = {}
        if self.region.location != "us-east-1":  # which the API does not take by name
            place = {"CreateBucketConfiguration": {"LocationConstraint": self.region.location}}
        with self._calling("create", "") as (client, bucket):
            client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True, **place)
            client.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            )

    def _delete_batch(self, batch: Sequence[tuple[str, str]]) -> Sequence[Kept]:
        with self._calling(f"delete {len(batch)} versions in", "") as (client, bucket):
            answer = client.delete_objects(
                Bucket=bucket,
                Delete={
                    "Objects": [{"Key": key, "VersionId": version} for key, version in batch],
                    "Quiet": True,
                },
            )
        known = dict(batch)  # some regions leave the version out of a refusal
        return [
            self._kept(error, error.get("VersionId") or known[error["Key"]])
            for error in answer.get("Errors", ())
            if not _is_gone(error)
        ]

    def _kept(self, error: Mapping[str, Any], version_id: str) -> Kept:
        key = error["Key"]
        found = f"{error.get('Code', '')}: {error.get('Message', '')}"
        if error.get("Code") != "AccessDenied":
            return Kept(key, version_id, "failed", found)
        try:
            until = self.retained(key, version_id)
        except (Denied, Missing):  # not ours to ask
            until = None
        code = "denied" if until is None else "locked"
        return Kept(key, version_id, code, found, until)

    @contextmanager
    def _calling(self, wanted: str, key: str) -> Iterator[tuple[S3Client, str]]:
        with translated(wanted, self._place(key)), signed_by(self._credentials):
            yield s3_client(self.region), self.region.bucket

    def _place(self, key: str) -> Place:
        return Place(self.region.name, self.region.bucket, key)


def _require_listing(answer: Mapping[str, Any]) -> None:
    """Another document reads as a listing of nothing: a listing names its bucket."""
    answer["Name"]


def _version(found: Mapping[str, Any], *, marker: bool) -> Version:
    return Version(
        found["Key"],
        found["VersionId"],
        found["IsLatest"],
        marker,
        _utc(found["LastModified"]),
        found.get("Size", 0),
    )


def _is_gone(error: Mapping[str, Any]) -> bool:
    return error.get("Code") in ("NoSuchKey", "NoSuchVersion")


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
