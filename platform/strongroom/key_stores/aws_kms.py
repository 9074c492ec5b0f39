"""KEKs in AWS KMS: a key for each version of each tenant, or one key for all by setting.

KMS tells nobody which of a key's own rotations wrapped something and retires none, so a version
here is a KMS key of its own: `alias/strongroom/<tenant>/v<n>` names each, `…/current` the newest.
Retiring an old one, and destroying them all, is KMS's scheduled deletion: closed at once, gone
after 7 to 30 days, and can be called off until then. KMS never exports a key, which is why
destroying a tenant's own key purges by cryptographic erase. A destroyed key is not remembered by
KMS: it is MISSING there, and our own tombstones say that it was destroyed.

With one key for all (`STRONGROOM_KEYS_AWS_KEY`) nothing may be claimed for one tenant, and its
rotation and destruction are KMS's own business, not ours.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from strongroom import keys
from strongroom.clock import aware
from strongroom.errors import BadValue
from strongroom.keys import (
    Claims,
    Context,
    KeyDenied,
    KeyMissing,
    KeyState,
    KeyStatus,
    KeyUnreachable,
    NotOffered,
    Wrapped,
)

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

ALGORITHM = "SYMMETRIC_DEFAULT"  # AES-256-GCM inside KMS
WINDOW = (7, 30)  # days, AWS KMS API reference, ScheduleKeyDeletion
RETIRED_DAYS = 7
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 3, 5, 2
DENIED = {
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "UnrecognizedClientException",
}
STATES = {
    "Enabled": KeyState.ENABLED,
    "PendingDeletion": KeyState.PENDING_DESTRUCTION,
    "PendingReplicaDeletion": KeyState.PENDING_DESTRUCTION,
}


@dataclass(frozen=True)
class Account:
    """Where KMS is, and who we are there."""

    region: str
    endpoint: str | None = None  # None: AWS's own
    access_key: str | None = None  # None: whatever the machine's role gives
    secret_key: str | None = field(default=None, repr=False)
    shared_key: str | None = None  # id, ARN or alias of one key for all tenants


class AwsKmsKeys:
    """KEKs in AWS KMS."""

    name = "aws-kms"

    def __init__(self, account: Account) -> None:
        self._account = account
        self._where = f"AWS KMS in {account.region}"
        self._made: KMSClient | None = None

    @property
    def claims(self) -> Claims:
        own = self._account.shared_key is None
        return Claims(copyable=False, window=WINDOW, disables=own, rotates=own, per_tenant=own)

    def create(self, tenant: uuid.UUID) -> None:
        if self._account.shared_key is not None:
            self._ask("look at the key", lambda: self._describe(str(self._account.shared_key)))
        elif self._version(tenant) is None:
            self._make(tenant, 1)

    def wrap(self, secret: bytes, context: Context) -> Wrapped:
        name, version = self._newest(context.tenant)
        with self._using(context.tenant):
            answer = self._kms.encrypt(
                KeyId=name, Plaintext=secret, EncryptionContext=context.fields()
            )
        return self._wrapped(answer["KeyId"], version, answer["CiphertextBlob"])

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        with self._using(context.tenant, wrapped, context):
            return self._kms.decrypt(
                KeyId=wrapped.key_id,
                CiphertextBlob=wrapped.ciphertext,
                EncryptionContext=context.fields(),
            )["Plaintext"]

    def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        """Inside KMS: the secret does not come out."""
        name, version = self._newest(context.tenant)
        with self._using(context.tenant, wrapped, context):
            answer = self._kms.re_encrypt(
                CiphertextBlob=wrapped.ciphertext,
                SourceKeyId=wrapped.key_id,
                SourceEncryptionContext=context.fields(),
                DestinationKeyId=name,
                DestinationEncryptionContext=context.fields(),
            )
        return self._wrapped(answer["KeyId"], version, answer["CiphertextBlob"])

    def add_version(self, tenant: uuid.UUID) -> int:
        self._require_own("be given a new version for one tenant")
        status = self.status(tenant)
        keys.require_open(status, tenant, self._where)
        assert status.version is not None  # it is enabled
        return self._make(tenant, status.version + 1)

    def retire(self, tenant: uuid.UUID, *, below: int) -> None:
        self._require_own("retire versions of one tenant")
        newest = self._version(tenant) or 1
        old = list(self._older(tenant, min(below, newest) - 1))
        for number, found in reversed(old):  # a crash leaves no gap that hides what is older
            if found["KeyState"] != "PendingDeletion":
                self._schedule(found["KeyId"], RETIRED_DAYS)
            self._ask("let an old name go", lambda n=number: self._forget(tenant, n))  # type: ignore[misc]

    def disable(self, tenant: uuid.UUID) -> None:
        self._require_own("be disabled for one tenant")
        self._each(tenant, lambda key: self._kms.disable_key(KeyId=key))

    def enable(self, tenant: uuid.UUID) -> None:
        self._require_own("be enabled for one tenant")
        status = self.status(tenant)
        if status.state is not KeyState.DISABLED:
            keys.require_open(status, tenant, self._where)
        self._each(tenant, lambda key: self._kms.enable_key(KeyId=key))

    def schedule_destruction(self, tenant: uuid.UUID, days: int) -> datetime:
        self._require_own("be destroyed for one tenant")
        if not WINDOW[0] <= days <= WINDOW[1]:
            raise BadValue(f"AWS KMS waits {WINDOW[0]} to {WINDOW[1]} days, found {days}.")
        moments = []
        for _, found in self._all(tenant):
            pending = found["KeyState"] == "PendingDeletion"
            at = found["DeletionDate"] if pending else self._schedule(found["KeyId"], days)
            moments.append(aware(at))
        return max(moments)

    def cancel_destruction(self, tenant: uuid.UUID) -> None:
        self._require_own("be called back for one tenant")
        for _, found in self._all(tenant):
            if found["KeyState"] == "PendingDeletion":
                self._call_off(found["KeyId"])

    def _call_off(self, key: str) -> None:
        self._ask("call a deletion off", lambda: self._kms.cancel_key_deletion(KeyId=key))

    def status(self, tenant: uuid.UUID) -> KeyStatus:
        if self._account.shared_key is not None:
            shared = str(self._account.shared_key)
            found = self._ask("look at the key", lambda: self._describe(shared))
            return _said(found, 1, 1)
        version = self._version(tenant)
        found = [] if version is None else list(self._older(tenant, version))
        if not found:
            return KeyStatus(KeyState.MISSING)
        newest, oldest = found[0], found[-1]
        said = _said(newest[1], newest[0], oldest[0])
        ends = [aware(each["DeletionDate"]) for _, each in found if each.get("DeletionDate")]
        return replace(said, until=max(ends)) if said.until is not None else said

    def probe(self) -> str:
        shared = self._account.shared_key
        if shared is None:
            self._ask("look for a name", lambda: self._describe("alias/strongroom/probe"))
        elif self._ask("look at the key", lambda: self._describe(shared)) is None:
            raise KeyMissing(
                f"The key {shared} is not in {self._where}; see STRONGROOM_KEYS_AWS_KEY."
            )
        return self._where

    def _make(self, tenant: uuid.UUID, version: int) -> int:
        """A twin that was faster keeps its key, and ours goes again."""
        made = self._ask(
            "make a key",
            lambda: self._kms.create_key(
                Description=f"Strongroom, tenant {tenant}, version {version}",
                Tags=[
                    {"TagKey": "strongroom-tenant", "TagValue": str(tenant)},
                    {"TagKey": "strongroom-version", "TagValue": str(version)},
                ],
            )["KeyMetadata"]["KeyId"],
        )
        try:
            self._kms.create_alias(AliasName=_alias(tenant, version), TargetKeyId=made)
        except self._kms.exceptions.AlreadyExistsException:
            self._schedule(made, RETIRED_DAYS)
        except (ClientError, BotoCoreError, OSError) as error:
            raise self._unreachable("name a key", error) from error
        self._ask("name the newest key", lambda: self._point(tenant, version))
        return version

    def _point(self, tenant: uuid.UUID, version: int) -> None:
        """`current` names the key that this version's own name leads to."""
        found = self._describe(_alias(tenant, version))
        if found is None:
            raise keys.missing(tenant, self._where)
        target = found["KeyId"]
        try:
            self._kms.create_alias(AliasName=_alias(tenant), TargetKeyId=target)
        except self._kms.exceptions.AlreadyExistsException:
            self._kms.update_alias(AliasName=_alias(tenant), TargetKeyId=target)

    def _newest(self, tenant: uuid.UUID) -> tuple[str, int]:
        if self._account.shared_key is not None:
            return self._account.shared_key, 1
        version = self._version(tenant)
        if version is None:
            raise keys.missing(tenant, self._where)
        return _alias(tenant, version), version

    def _version(self, tenant: uuid.UUID) -> int | None:
        """The newest, by the names of the key that `current` leads to; None if there is none.

        A crash before `current` was moved leaves the version before as the newest, and the one
        that was made is taken up by the next that wants to add it.
        """
        found = self._ask("look for the key", lambda: self._describe(_alias(tenant)))
        if found is None:
            first: int | None = self._ask("look for the key", lambda: self._first(tenant))
            return first
        names = self._ask(
            "list the names of a key",
            lambda: [
                alias["AliasName"]
                for page in self._kms.get_paginator("list_aliases").paginate(KeyId=found["KeyId"])
                for alias in page["Aliases"]
            ],
        )
        head = f"alias/strongroom/{tenant}/v"
        numbers = [int(name.removeprefix(head)) for name in names if name.startswith(head)]
        return max(numbers, default=None)

    def _first(self, tenant: uuid.UUID) -> int | None:
        return None if self._describe(_alias(tenant, 1)) is None else 1

    def _older(self, tenant: uuid.UUID, version: int) -> Iterator[tuple[int, Any]]:
        """From this version down to the oldest that still has its name."""
        while version > 0:
            name = _alias(tenant, version)
            found = self._ask("look at an old key", lambda n=name: self._describe(n))  # type: ignore[misc]
            if found is None:
                return
            yield version, found
            version -= 1

    def _all(self, tenant: uuid.UUID) -> list[tuple[int, Any]]:
        version = self._version(tenant)
        found = [] if version is None else list(self._older(tenant, version))
        if not found:
            raise keys.missing(tenant, self._where)
        return found

    def _each(self, tenant: uuid.UUID, act: Callable[[str], object]) -> None:
        for _, found in self._all(tenant):
            with self._using(tenant):
                act(found["KeyId"])

    def _forget(self, tenant: uuid.UUID, version: int) -> None:
        self._kms.delete_alias(AliasName=_alias(tenant, version))

    def _schedule(self, key: str, days: int) -> datetime:
        answer = self._ask(
            "schedule a deletion",
            lambda: self._kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=days),
        )
        return aware(answer["DeletionDate"])

    def _describe(self, name: str) -> Any:
        """What KMS knows of a key; None when it answers that there is none."""
        try:
            return self._kms.describe_key(KeyId=name)["KeyMetadata"]
        except self._kms.exceptions.NotFoundException:
            return None

    def _wrapped(self, key: str, version: int, ciphertext: bytes) -> Wrapped:
        return Wrapped(self.name, key, version, ALGORITHM, b"", ciphertext)

    def _require_own(self, wanted: str) -> None:
        if self._account.shared_key is not None:
            raise NotOffered(
                f"One key in {self._where} serves all tenants, so it cannot {wanted}. Do it in "
                "KMS for all, or give each tenant a key: leave STRONGROOM_KEYS_AWS_KEY unset."
            )

    @contextmanager
    def _using(
        self, tenant: uuid.UUID, wrapped: Wrapped | None = None, context: Context | None = None
    ) -> Iterator[None]:
        """Turn what KMS says about using a key into what it means for the tenant."""
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code == "NotFoundException":
                status = self.status(tenant)
                if wrapped is not None and context is not None and _is_old(wrapped, status):
                    raise keys.retired(wrapped, context) from error
                raise keys.missing(tenant, self._where) from error
            if code in ("DisabledException", "KMSInvalidStateException"):
                status = self.status(tenant)
                if wrapped is not None and context is not None and _is_old(wrapped, status):
                    raise keys.retired(wrapped, context) from error
                keys.require_open(status, tenant, self._where)
                raise self._unreachable("use a key", error) from error
            if context is not None and code in (
                "InvalidCiphertextException",
                "IncorrectKeyException",
            ):
                raise keys.wrong_context(context) from error
            raise self._unreachable("use a key", error) from error
        except (BotoCoreError, OSError) as error:
            raise self._unreachable("use a key", error) from error

    def _ask(self, wanted: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (ClientError, BotoCoreError, OSError) as error:
            raise self._unreachable(wanted, error) from error

    def _unreachable(self, wanted: str, error: Exception) -> KeyUnreachable:
        code = _code(error) if isinstance(error, ClientError) else type(error).__name__
        kind = KeyDenied if code in DENIED else KeyUnreachable
        advice = (
            "Give our role the right to use the keys."
            if kind is KeyDenied
            else "Work waits, and goes on by itself once KMS answers."
        )
        return kind(f"Wanted to {wanted} in {self._where}, found: {code}. {advice}", found=code)

    @property
    def _kms(self) -> KMSClient:
        if self._made is None:
            self._made = _client(self._account)
        return self._made


def _said(found: Any, version: int, oldest: int) -> KeyStatus:
    if found is None:
        return KeyStatus(KeyState.MISSING)
    state = STATES.get(found["KeyState"], KeyState.DISABLED)
    until = found.get("DeletionDate") if state is KeyState.PENDING_DESTRUCTION else None
    return KeyStatus(state, version, oldest, None if until is None else aware(until))


def _is_old(wrapped: Wrapped, status: KeyStatus) -> bool:
    return status.oldest is not None and wrapped.key_version < status.oldest


def _alias(tenant: uuid.UUID, version: int | None = None) -> str:
    return f"alias/strongroom/{tenant}/" + ("current" if version is None else f"v{version}")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _client(account: Account) -> KMSClient:
    """Where no keys are given, the library's own chain finds the machine's role."""
    made = botocore.session.Session().create_client(
        "kms",
        region_name=account.region,
        endpoint_url=account.endpoint,
        aws_access_key_id=account.access_key,
        aws_secret_access_key=account.secret_key,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            proxies={} if account.endpoint and "//127.0.0.1" in account.endpoint else None,
        ),
    )
    return cast("KMSClient", made)
