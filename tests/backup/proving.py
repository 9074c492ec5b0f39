"""Proofs as the rota asks for them, and damage as it happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from backup import healing, verify
from backup.models import Copy, Healing, Pack, Point, Proof, Snapshot
from backup.rota import ASKED_BY
from backup.states import HealingState, Level, ProofState
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.lifecycle import Move, advance
from tests.backup.vaults import Vault

# Each kind of damage, and the levels that find it; a share of all packs, since all are old.
DAMAGE = {
    "flip a byte of data": {Level.SHARE, Level.DATA},
    "flip a byte of a header": {Level.SHARE, Level.DATA},
    "cut a pack short": {Level.STRUCTURE, Level.SHARE, Level.DATA},
    "empty a pack": {Level.STRUCTURE, Level.SHARE, Level.DATA},
    "delete a pack": {Level.STRUCTURE, Level.SHARE, Level.DATA},
    "swap two packs": {Level.STRUCTURE, Level.SHARE, Level.DATA},
    "delete every pack": {Level.STRUCTURE, Level.SHARE, Level.DATA},
    "flip a byte of the index": {Level.STRUCTURE, Level.DATA},
    "delete the index": {Level.STRUCTURE, Level.DATA},
    "flip a byte of a snapshot": {Level.STRUCTURE, Level.DATA},
    "flip a byte of config": {Level.STRUCTURE, Level.DATA},
    "delete config": {Level.STRUCTURE, Level.DATA},
    "flip a byte of the key": {Level.STRUCTURE, Level.DATA},
    "delete everything": {Level.STRUCTURE, Level.SHARE, Level.DATA},
}


def harm(held: Vault, kind: str) -> None:
    """Change what lies there, with the region's root credentials."""
    act, _, what = kind.partition(" ")
    if what == "two packs":
        first, second = packs = _keys(held, "data/")[:2]
        bytes_of = [held.store.get(each) for each in packs]
        held.store.put(first, bytes_of[1])
        held.store.put(second, bytes_of[0])
        return
    if what.startswith("every"):
        for key in _keys(held, "" if what == "everything" else "data/"):
            held.store.delete(key)
        return
    part = next(part for word, part in PLACES.items() if word in what)
    key = _keys(held, part)[0]
    data = held.store.get(key)
    if act == "delete":
        held.store.delete(key)
    elif act == "empty":
        held.store.put(key, b"")
    elif act == "cut":
        held.store.put(key, data[:-1])
    else:
        place = len(data) - 10 if "header" in what else len(data) // 4
        held.store.put(key, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def put_back(held: Vault, good: Mapping[str, bytes]) -> None:
    """What lay there before."""
    for key, data in good.items():
        held.store.put(key, data)


PLACES = {
    "index": "index/",
    "snapshot": "snapshots/",
    "config": "config",
    "key": "keys/",
} | dict.fromkeys(("data", "header", "pack"), "data/")


def _keys(held: Vault, part: str) -> list[str]:
    """The largest first: a pack of data."""
    found = sorted(held.store.list(held.prefix + part), key=lambda each: -each.size)
    return [each.key for each in found]


def prove(held: Vault, point: Point, level: Level, *, asked_by: str = ASKED_BY) -> Proof:
    """Ask for a proof of the point's copy there, and carry it out."""
    runtime, tenant = held.runtime, point.tenant_id
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        copy = (
            session.query(Copy).filter_by(point_id=point.id, repository_id=held.site.row.id).one()
        )
        proof = Proof(
            id=new_id(),
            tenant_id=tenant,
            copy_id=copy.id,
            level=level,
            state=ProofState.WAITING,
            asked_by=asked_by,
            due_at=runtime.now(),
        )
        session.add(proof)
    verify.prove(runtime, tenant, proof.id)
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        return session.get_one(Proof, proof.id)


def read_all(held: Vault, at: datetime) -> None:
    """As if every pack had last been read then."""
    with held.runtime.database.session(Role.WORKER, tenant=held.site.row.tenant_id) as session:
        session.query(Pack).filter_by(repository_id=held.site.row.id).update({"read_at": at})


def rows(held: Vault) -> Sequence[Snapshot]:
    return [each for each in held.rows() if each.forgotten_at is None]


def healings(held: Vault) -> Sequence[Healing]:
    """Those that are wanted and not carried out."""
    with held.runtime.database.session(Role.WORKER, tenant=held.site.row.tenant_id) as session:
        rows = session.query(Healing).filter_by(repository_id=held.site.row.id)
        return rows.filter(Healing.state.in_(healing.OPEN)).all()


def forget_healings(held: Vault) -> None:
    """As if they had been carried out."""
    with held.runtime.database.session(Role.WORKER, tenant=held.site.row.tenant_id) as session:
        move = Move(by=WORKER, at=held.runtime.now())
        for row in session.query(Healing).filter(Healing.state.in_(healing.OPEN)):
            advance(session, row, HealingState.HEALING, move)
            done = Move(by=WORKER, at=held.runtime.now(), values={"ended_at": held.runtime.now()})
            advance(session, row, HealingState.HEALED, done)
