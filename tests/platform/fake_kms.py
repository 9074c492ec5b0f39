"""AWS KMS as its API reference has it, where moto is lenient: what is closed opens nothing.

Differences from moto that matter here: Decrypt, Encrypt and ReEncrypt with a key that waits for
its deletion or is disabled are refused; the window is 7 to 30 days; a deleted key and its aliases
are gone; a ciphertext opens only with its own key and its own encryption context. `clock` moves
the dates of deletions.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.platform.loopback import Answer, Asked

Body = dict[str, Any]


class Refusal(Exception):
    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code, self.status = code, status


@dataclass
class Key:
    id: str
    material: bytes
    state: str = "Enabled"
    deletion: datetime | None = None
    tags: list[Body] = field(default_factory=list)


class FakeKms:
    """Give `answer` to a Loopback."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.aliases: dict[str, str] = {}
        self.calls: list[str] = []
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def answer(self, asked: Asked) -> Answer:
        name = asked.headers["x-amz-target"].removeprefix("TrentService.")
        self.calls.append(name)
        self._delete_what_is_due()
        try:
            found = getattr(self, f"do_{name}")(json.loads(asked.body or b"{}"))
        except Refusal as refusal:
            return said(refusal.code, refusal.status)
        kind = {"content-type": "application/x-amz-json-1.1"}
        return Answer(200, json.dumps(found or {}).encode(), kind)

    def _delete_what_is_due(self) -> None:
        for key in list(self.keys.values()):
            if key.deletion is not None and key.deletion <= self.now():
                self.lose(key.id)

    def lose(self, key_id: str) -> None:
        del self.keys[key_id]
        self.aliases = {name: to for name, to in self.aliases.items() if to != key_id}

    def _find(self, name: str) -> Key:
        target = self.aliases.get(name, name.rpartition("/")[2] if "key/" in name else name)
        if target not in self.keys:
            raise Refusal("NotFoundException")
        return self.keys[target]

    def _usable(self, name: str) -> Key:
        key = self._find(name)
        if key.state == "Disabled":
            raise Refusal("DisabledException")
        if key.state != "Enabled":
            raise Refusal("KMSInvalidStateException")
        return key

    def do_CreateKey(self, body: Body) -> Body:
        key = Key(str(uuid.uuid4()), os.urandom(32), tags=body.get("Tags", []))
        self.keys[key.id] = key
        return {"KeyMetadata": self._metadata(key)}

    def do_DescribeKey(self, body: Body) -> Body:
        return {"KeyMetadata": self._metadata(self._find(body["KeyId"]))}

    def _metadata(self, key: Key) -> Body:
        found = {"KeyId": key.id, "Arn": arn(key), "KeyState": key.state, "Origin": "AWS_KMS"}
        if key.deletion is not None:
            found["DeletionDate"] = key.deletion.timestamp()  # type: ignore[assignment]
        return found

    def do_CreateAlias(self, body: Body) -> None:
        if body["AliasName"] in self.aliases:
            raise Refusal("AlreadyExistsException")
        self.aliases[body["AliasName"]] = self._find(body["TargetKeyId"]).id

    def do_UpdateAlias(self, body: Body) -> None:
        if body["AliasName"] not in self.aliases:
            raise Refusal("NotFoundException")
        self.aliases[body["AliasName"]] = self._find(body["TargetKeyId"]).id

    def do_DeleteAlias(self, body: Body) -> None:
        if self.aliases.pop(body["AliasName"], None) is None:
            raise Refusal("NotFoundException")

    def do_ListAliases(self, body: Body) -> Body:
        key = self._find(body["KeyId"])
        found = [
            {"AliasName": name, "TargetKeyId": to}
            for name, to in self.aliases.items()
            if to == key.id
        ]
        return {"Aliases": found, "Truncated": False}

    def do_Encrypt(self, body: Body) -> Body:
        key = self._usable(body["KeyId"])
        secret = base64.b64decode(body["Plaintext"])
        return {"KeyId": arn(key), "CiphertextBlob": seal(key, secret, body)}

    def do_Decrypt(self, body: Body) -> Body:
        context = body.get("EncryptionContext", {})
        key, secret = self._opened(body["CiphertextBlob"], body.get("KeyId"), context)
        return {"KeyId": arn(key), "Plaintext": base64.b64encode(secret).decode()}

    def do_ReEncrypt(self, body: Body) -> Body:
        context = body.get("SourceEncryptionContext", {})
        _, secret = self._opened(body["CiphertextBlob"], body.get("SourceKeyId"), context)
        key = self._usable(body["DestinationKeyId"])
        there = {"EncryptionContext": body.get("DestinationEncryptionContext", {})}
        return {"KeyId": arn(key), "CiphertextBlob": seal(key, secret, there)}

    def _opened(self, text: str, wanted: str | None, context: Body) -> tuple[Key, bytes]:
        blob = base64.b64decode(text)
        name = blob[:36].decode("ascii", "replace")
        if wanted is not None:
            key = self._usable(wanted)
            if key.id != name:
                raise Refusal("IncorrectKeyException")
        elif name not in self.keys:
            raise Refusal("InvalidCiphertextException")
        key = self._usable(name)
        try:
            secret = AESGCM(key.material).decrypt(blob[36:48], blob[48:], canonical(context))
        except InvalidTag:
            raise Refusal("InvalidCiphertextException") from None
        return key, secret

    def do_DisableKey(self, body: Body) -> None:
        self._change(body, "Disabled")

    def do_EnableKey(self, body: Body) -> None:
        self._change(body, "Enabled")

    def _change(self, body: Body, state: str) -> None:
        key = self._find(body["KeyId"])
        if key.state == "PendingDeletion":
            raise Refusal("KMSInvalidStateException")
        key.state = state

    def do_ScheduleKeyDeletion(self, body: Body) -> Body:
        key, days = self._find(body["KeyId"]), body.get("PendingWindowInDays", 30)
        if not 7 <= days <= 30:
            raise Refusal("ValidationException")
        if key.state == "PendingDeletion":
            raise Refusal("KMSInvalidStateException")
        key.state, key.deletion = "PendingDeletion", self.now() + timedelta(days=days)
        return {"KeyId": key.id, "DeletionDate": key.deletion.timestamp(), "KeyState": key.state}

    def do_CancelKeyDeletion(self, body: Body) -> Body:
        key = self._find(body["KeyId"])
        if key.state != "PendingDeletion":
            raise Refusal("KMSInvalidStateException")
        key.state, key.deletion = "Disabled", None
        return {"KeyId": key.id}


def said(code: str, status: int = 400) -> Answer:
    body = json.dumps({"__type": code, "message": "no"}).encode()
    return Answer(status, body, {"content-type": "application/x-amz-json-1.1"})


def arn(key: Key) -> str:
    return f"arn:aws:kms:eu-central-1:123456789012:key/{key.id}"


def canonical(context: Body) -> bytes:
    return json.dumps(context, sort_keys=True).encode()


def seal(key: Key, secret: bytes, body: Body) -> str:
    nonce = os.urandom(12)
    sealed = AESGCM(key.material).encrypt(
        nonce, secret, canonical(body.get("EncryptionContext", {}))
    )
    return base64.b64encode(key.id.encode() + nonce + sealed).decode()
