"""The transit engine of Vault and OpenBao, as their API documentation has it, with derived keys.

Encrypting with a key that is not there makes it (the trap), deletion has to be allowed first, a
ciphertext below `min_decryption_version` is refused with the same 400 as one that was changed, a
sealed server answers 503, a token without rights 403.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.platform.loopback import Answer, Asked

TOKEN = "s.token-of-the-tests"
Body = dict[str, Any]


class Refusal(Exception):
    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status, self.errors = status, list(errors)


@dataclass
class Key:
    versions: dict[int, bytes] = field(default_factory=lambda: {1: os.urandom(32)})
    config: Body = field(
        default_factory=lambda: {
            "min_decryption_version": 1,
            "min_encryption_version": 0,
            "deletion_allowed": False,
        }
    )
    fixed: Body = field(default_factory=dict)  # as it was made


class FakeTransit:
    """Give `answer` to a Loopback."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.calls: list[tuple[str, str]] = []
        self.sealed = False

    def answer(self, asked: Asked) -> Answer:
        self.calls.append((asked.method, asked.path))
        try:
            found = self._answer(asked)
        except Refusal as refusal:
            return said(refusal.status, *refusal.errors)
        if found is None:
            return Answer(204)
        return Answer(200, json.dumps({"data": found}).encode(), JSON)

    def _answer(self, asked: Asked) -> Body | None:
        if self.sealed:
            raise Refusal(503, "Vault is sealed")
        if asked.headers.get("x-vault-token") != TOKEN:
            raise Refusal(403, "permission denied")
        parts = asked.path.removeprefix("/v1/transit/").split("/")
        body = json.loads(asked.body or b"{}")
        match parts:
            case ["keys", name]:
                return self._key(asked.method, name, body)
            case ["keys", name, "rotate"]:
                key = self._there(name)
                key.versions[max(key.versions) + 1] = os.urandom(32)
                return self._shown(name)
            case ["keys", name, "config"]:
                return self._configure(name, body)
            case ["encrypt", name]:
                self.keys.setdefault(name, Key(fixed={"derived": True, "exportable": False}))
                return {"ciphertext": self._seal(name, b64(body["plaintext"]), body)}
            case ["decrypt", name]:
                return {"plaintext": base64.b64encode(self._open(name, body)).decode()}
            case ["rewrap", name]:
                return {"ciphertext": self._seal(name, self._open(name, body), body)}
        raise Refusal(404, "unsupported path")

    def _key(self, method: str, name: str, body: Body) -> Body | None:
        if method == "GET":
            if name not in self.keys:
                raise Refusal(404)
            return self._shown(name)
        if method == "DELETE":
            if name not in self.keys:
                raise Refusal(400, f"error deleting policy {name}: no existing key")
            if not self.keys[name].config["deletion_allowed"]:
                raise Refusal(400, f"error deleting policy {name}: deletion is not allowed")
            del self.keys[name]
            return None
        if name not in self.keys:
            assert body["derived"] is True
            assert body["exportable"] is False
            assert body["allow_plaintext_backup"] is False
            self.keys[name] = Key(fixed=body)
        return self._shown(name)

    def _there(self, name: str) -> Key:
        if name not in self.keys:
            raise Refusal(400, "encryption key not found")
        return self.keys[name]

    def _shown(self, name: str) -> Body:
        key = self.keys[name]
        stamps = dict.fromkeys(map(str, key.versions), 0)
        return {**key.fixed, **key.config, "latest_version": max(key.versions), "keys": stamps}

    def _configure(self, name: str, body: Body) -> Body:
        key = self._there(name)
        for setting in ("min_decryption_version", "min_encryption_version"):
            if int(body.get(setting) or 0) > max(key.versions):
                raise Refusal(400, f"cannot set {setting} above the latest version")
        wanted = {**key.config, **{k: v for k, v in body.items() if v is not None}}
        least = int(wanted["min_encryption_version"])
        if least and least < int(wanted["min_decryption_version"]):
            raise Refusal(400, "min_encryption_version is below min_decryption_version")
        key.config = wanted
        return self._shown(name)

    def _seal(self, name: str, secret: bytes, body: Body) -> str:
        key = self._there(name)
        number, nonce = max(key.versions), os.urandom(12)
        sealed = AESGCM(derived(key.versions[number], body)).encrypt(nonce, secret, b"")
        return f"vault:v{number}:{base64.b64encode(nonce + sealed).decode()}"

    def _open(self, name: str, body: Body) -> bytes:
        key = self._there(name)
        parts = body["ciphertext"].split(":", 2)
        if len(parts) != 3 or parts[0] != "vault" or not parts[1][1:].isdigit():
            raise Refusal(400, "invalid ciphertext: no prefix")
        number = int(parts[1][1:])
        if number > max(key.versions):
            raise Refusal(400, "invalid ciphertext: version is too new")
        if number < int(key.config["min_decryption_version"]):
            raise Refusal(400, "ciphertext or signature version is disallowed by policy (too old)")
        try:
            raw = base64.b64decode(parts[2], validate=True)
            return AESGCM(derived(key.versions[number], body)).decrypt(raw[:12], raw[12:], b"")
        except (ValueError, InvalidTag):
            raise Refusal(400, "cipher: message authentication failed") from None


JSON = {"content-type": "application/json"}


def said(status: int, *errors: str) -> Answer:
    return Answer(status, json.dumps({"errors": list(errors)}).encode(), JSON)


def derived(material: bytes, body: Body) -> bytes:
    if not body.get("context"):
        raise Refusal(400, "missing 'context' for key derivation")
    return hmac.new(material, b64(body["context"]), hashlib.sha256).digest()


def b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
