"""What one act may do below one prefix, as an AWS session policy.

Pure: a bucket, a prefix and an act in, the document out. Credentials made with it can do what the
document allows and nothing else, whatever the role behind them may. Three traps it avoids:

- a prefix that does not end in "/" also matches a neighbour whose id begins alike, in the
  resource and in the `s3:prefix` condition of a listing;
- deleting a *version* is an action of its own; only SWEEP has it, and others for `locks/` alone,
  whose versions nobody needs;
- who may set a retention can lock objects for years: LOCK is an act apart.

Actions by role: measured with restic 0.19.1 by counting requests and denying them one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from strongroom.errors import BadValue

LONGEST = 2048  # characters of an inline session policy, AWS STS API reference, AssumeRole
PREFIX = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*/")
PACK = re.compile(r"[0-9a-f]{64}")

Statement = dict[str, Any]

GET = "s3:GetObject"
GET_VERSION = "s3:GetObjectVersion"
PUT = "s3:PutObject"
ABORT = "s3:AbortMultipartUpload"  # of what was not ended; what lies there stays
DELETE = "s3:DeleteObject"
DELETE_VERSION = "s3:DeleteObjectVersion"
LIST_VERSIONS = "s3:ListBucketVersions"
LIST_UPLOADS = "s3:ListBucketMultipartUploads"
GET_RETENTION = "s3:GetObjectRetention"
PUT_RETENTION = "s3:PutObjectRetention"


class Act(StrEnum):
    """What credentials are for."""

    READ = "read"  # restore, check, list; with restic's --no-lock
    BACKUP = "backup"  # add packs, indexes and snapshots; be the target of a copy
    CREATE = "create"  # make a repository, change its keys
    FORGET = "forget"  # remove snapshots
    PRUNE = "prune"  # rewrite packs and indexes, remove old ones
    SWEEP = "sweep"  # remove listed object versions for good
    HEAL = "heal"  # repair: replace indexes and snapshots, and the packs that are named
    KIT = "kit"  # of an exit kit: all that stock restic does to read, its locks included
    RECORD = "record"  # read and write signed records and sealed dumps, which end in these words
    LOCK = "lock"  # set and extend Object Lock


def session_policy(
    bucket: str, prefix: str, act: Act, *, packs: Sequence[str] = ()
) -> dict[str, Any]:
    """The document for `act` below `prefix`, which ends in "/". Raises BadValue.

    `packs` are restic pack ids that HEAL may delete besides; more than fit are refused.
    """
    if not PREFIX.fullmatch(prefix):
        raise BadValue(
            f"Storage credentials need a prefix of plain parts that ends in '/', found {prefix!r}.",
            prefix=prefix,
        )
    objects = f"arn:aws:s3:::{bucket}/{prefix}"
    statements = [_listing(bucket, prefix, act), *_statements(objects, act)]
    if packs:
        statements.append(_packs(objects, act, packs))
    policy = {"Version": "2012-10-17", "Statement": statements}
    if len(as_text(policy)) > LONGEST:
        raise BadValue(
            f"A session policy has at most {LONGEST} characters, found {len(as_text(policy))}. "
            "Heal fewer packs at a time.",
            packs=len(packs),
        )
    return policy


def as_text(policy: dict[str, Any]) -> str:
    """The document as it is sent, without a space too many."""
    return json.dumps(policy, separators=(",", ":"))


def _statements(objects: str, act: Act) -> list[Statement]:
    def below(*parts: str) -> list[str]:
        return [objects + part for part in parts]

    everything = below("*")
    locks = _allow([PUT, DELETE, DELETE_VERSION], below("locks/*"))
    match act:
        case Act.READ:
            return [_allow([GET, GET_VERSION], everything)]
        case Act.KIT:
            return [_allow([GET], everything), locks]
        case Act.BACKUP:
            written = below("data/*", "index/*", "snapshots/*")
            return [_allow([GET], everything), _allow([PUT], written), locks]
        case Act.CREATE:
            return [
                _allow([GET], below("config", "keys/*", "locks/*")),
                _allow([PUT], below("config")),
                _allow([PUT, DELETE], below("keys/*")),
                locks,
            ]
        case Act.FORGET:
            return [
                _allow([GET], below("config", "keys/*", "snapshots/*", "index/*", "locks/*")),
                _allow([DELETE], below("snapshots/*")),
                locks,
            ]
        case Act.PRUNE:
            rewritten = below("data/*", "index/*")
            return [_allow([GET], everything), _allow([PUT, DELETE], rewritten), locks]
        case Act.HEAL:
            replaced = below("index/*", "snapshots/*")
            return [
                _allow([GET], everything),
                _allow([PUT], below("data/*")),
                _allow([PUT, DELETE], replaced),
                locks,
            ]
        case Act.SWEEP:
            actions = [DELETE_VERSION, ABORT, GET_RETENTION]
            return [_allow(actions, everything)]
        case Act.RECORD:
            return [_allow([GET, PUT, ABORT], below("*.json", "*.sealed", "*.note"))]
        case Act.LOCK:
            return [_allow([GET_RETENTION, PUT_RETENTION], everything)]


def _listing(bucket: str, prefix: str, act: Act) -> Statement:
    """Listing, only ever below the prefix; old versions only for those who handle them."""
    actions = ["s3:ListBucket"]
    if act not in (Act.READ, Act.HEAL, Act.KIT):
        actions.append(LIST_VERSIONS)
    if act is Act.SWEEP:
        actions.append(LIST_UPLOADS)
    statement = _allow(actions, [f"arn:aws:s3:::{bucket}"])
    return {**statement, "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}}}


def _packs(objects: str, act: Act, packs: Sequence[str]) -> Statement:
    if act is not Act.HEAL:
        raise BadValue(f"Only healing names packs, found {act}.", act=act)
    for pack in packs:
        if not PACK.fullmatch(pack):
            raise BadValue(f"A pack is named by 64 hexadecimal digits, found {pack!r}.")
    return _allow([DELETE], [f"{objects}data/{pack[:2]}/{pack}" for pack in packs])


def _allow(actions: list[str], resources: list[str]) -> Statement:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
