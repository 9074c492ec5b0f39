"""`strongroom finding`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import select

from backup import findings, unexplained
from backup.models import Finding
from backup.states import Decision
from strongroom.db import Role
from strongroom.errors import Incomplete, NotFound
from tenants.models import Tenant
from web.output import Screen, when
from web.session import common, connect, me


@click.group()
def finding() -> None:
    """Findings: what was seen and needs a person."""


@finding.command("list")
@click.option("--all", "everything", is_flag=True, help="Settled ones too.")
@common
def list_(everything: bool, home: Path | None, as_json: bool) -> None:
    """All open findings, oldest first. Exit 3 if there are any.

    Example: strongroom finding list
    """
    platform = connect(home)
    with platform.database.session(Role.OPERATOR) as session:
        wanted = select(Finding, Tenant.slug).join(Tenant, Tenant.id == Finding.tenant_id)
        if not everything:
            wanted = wanted.where(Finding.settled_at.is_(None))
        rows = session.execute(wanted.order_by(Finding.first_seen_at, Finding.id)).all()
    found = [_document(row.Finding, row.slug) for row in rows]
    Screen(as_json).table(
        found,
        ["finding", "tenant", "code", "what", "since", "keeps everything", "settled"],
        [
            [
                *(each["finding"], each["tenant"], each["code"], each["subject"], each["since"]),
                *("yes" if each["freezes"] else "", each["decision"]),
            ]
            for each in found
        ],
    )
    if any(each["decision"] is None for each in found):
        click.get_current_context().exit(Incomplete.exit_code)


@finding.command()
@click.argument("finding_id", metavar="FINDING", type=click.UUID)
@click.option("--note", required=True, help="Why it is as it should be.")
@common
def accept(finding_id: UUID, note: str, home: Path | None, as_json: bool) -> None:
    """It is as it should be: go on as before.

    Example: strongroom finding accept 0199… --note "the archive was emptied on purpose"
    """
    _settle(finding_id, Decision.ACCEPTED, note, home, as_json)


@finding.command()
@click.argument("finding_id", metavar="FINDING", type=click.UUID)
@click.option("--note", required=True, help="What is wrong with it.")
@common
def reject(finding_id: UUID, note: str, home: Path | None, as_json: bool) -> None:
    """It is wrong: what it spoiled counts for nothing.

    Example: strongroom finding reject 0199… --note "the import deleted the orders"
    """
    _settle(finding_id, Decision.REJECTED, note, home, as_json)


def _settle(
    finding_id: UUID, decision: Decision, note: str, home: Path | None, as_json: bool
) -> None:
    platform = connect(home)
    with platform.database.session(Role.OPERATOR) as session:
        known = session.get(Finding, finding_id)
        if known is None:
            raise NotFound(f"There is no finding {finding_id}. See `strongroom finding list`.")
        slug = session.get_one(Tenant, known.tenant_id).slug
    with platform.database.session(Role.OPERATOR, tenant=known.tenant_id) as session:
        now = platform.now()
        row = findings.settle(
            session, (known.tenant_id, finding_id), decision, by=me(), note=note, now=now
        )
        said = f"Finding {row.id} is settled: {decision}."
        if row.code == unexplained.CODE and decision is Decision.ACCEPTED:
            unexplained.prove(session, row, by=me(), now=now)
            said += " Everything there is checked and read back now; then removal goes on."
    Screen(as_json).give(_document(row, slug), text=said)


def _document(row: Finding, slug: str) -> dict[str, Any]:
    return {
        "finding": str(row.id),
        "tenant": slug,
        "code": row.code,
        "subject": row.subject,
        "params": row.params,
        "freezes": row.freezes,
        "since": when(row.first_seen_at),
        "last_seen": when(row.last_seen_at),
        "decision": None if row.decision is None else str(row.decision),
        "by": row.settled_by,
        "note": row.note,
    }


COMMANDS = (finding,)
