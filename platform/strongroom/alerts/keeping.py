"""Alerts as rows: brought up to what is wrong now, and told in the same transaction.

One at a time, by an advisory lock of who calls; and the database lets one open alert a group in.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom.actors import Actor, ActorKind
from strongroom.alerts import deciding
from strongroom.alerts.deciding import Event, Seen, Telling, Trouble
from strongroom.alerts.models import Alert
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.errors import BadValue, NotFound
from strongroom.ids import new_id
from strongroom.notices import channels, outbox
from strongroom.notices.models import Channel
from strongroom.notices.outbox import Notice, Reader
from strongroom.notices.states import ReaderKind

WATCH = Actor(ActorKind.SYSTEM, "watch")
LONGEST_SNOOZE = timedelta(days=30)
WHY_LEAST, WHY_MOST = 3, 500


class BadAct(BadValue):
    """An alert cannot be acknowledged or silenced so."""

    code = "bad-alert-act"


def keep(
    session: Session, troubles: Iterable[Trouble], *, now: datetime, unseen: Sequence[str] = ()
) -> int:
    """Open, change and close, and tell whom it concerns; gives how many messages were put out."""
    rows = {row.group: row for row in still_open(session, lock=True)}
    decision = deciding.decide(map(seen, rows.values()), troubles, now=now, unseen=unseen)
    for trouble in decision.opened:
        rows[trouble.group] = _opened(session, trouble, now)
    for group, trouble in decision.changed.items():
        _brought_up(rows[group], trouble, now)
    for group in decision.closed:
        rows[group].closed_at = now
        _note(session, rows[group], "closed", WATCH, now)
    session.flush()
    reached = channels.in_use(session)
    # What is neither wrong now nor over has just not been seen: it may come again, or end.
    current = {each.group for each in decision.opened} | {*decision.changed} | decision.closed
    return sum(_tell(session, rows[group], reached, now) for group in sorted(current))


def seen(row: Alert) -> Seen:
    """The row as the decisions see it."""
    return Seen(**{each.name: getattr(row, each.name) for each in fields(Seen)})


def _opened(session: Session, trouble: Trouble, now: datetime) -> Alert:
    row = Alert(
        id=new_id(),
        group=trouble.group,
        code=trouble.code,
        opened_at=now,
        told_level=0,
        told_count=0,
        told_severe=False,
        tellings=0,
    )
    _brought_up(row, trouble, now)
    session.add(row)
    _note(session, row, "opened", WATCH, now)
    return row


def _brought_up(row: Alert, trouble: Trouble, now: datetime) -> None:
    row.severe, row.manner, row.count = trouble.severe, trouble.manner, trouble.count
    row.worst, row.params, row.avoid = trouble.worst, dict(trouble.params), trouble.avoid
    row.seen_at = now


def _tell(session: Session, row: Alert, reached: Sequence[Channel], now: datetime) -> int:
    told = deciding.telling(seen(row), now=now)
    if told is None:
        return 0
    chosen = choose(reached, told, avoid=row.avoid)
    if not chosen:
        return 0  # nobody is there to be told: it stands as not told until somebody is
    row.tellings += 1
    notices = [_notice(row, told.event, each) for each in chosen]
    outbox.put(session, notices, now=now)
    row.told_at, row.told_count, row.told_severe = now, row.count, row.severe
    row.told_level = max(row.told_level, *told.levels)
    return len(notices)


def choose(reached: Sequence[Channel], told: Telling, *, avoid: uuid.UUID | None) -> list[Channel]:
    """The channels of these levels; where there is none that works, whatever there is."""
    fit = [each for each in reached if each.id != avoid]
    return [each for each in fit if each.level in told.levels] or list(fit)


def _notice(row: Alert, event: Event, channel: Channel) -> Notice:
    return Notice(
        key=f"alert:{row.id}:{row.tellings}:{event}:{channel.id}",
        kind=f"alert.{event}",
        reader=Reader(ReaderKind.CHANNEL, channel.id),
        params=said(row),
        language=channel.language,
    )


def said(row: Alert) -> dict[str, Any]:
    """What the words of an alert need; the same for messages, pages and commands."""
    return {
        "alert": str(row.id),
        "group": row.group,
        "code": row.code,
        "severe": row.severe,
        "count": row.count,
        "worst": row.worst,
        "since": row.opened_at.isoformat(),
        "until": None if row.closed_at is None else row.closed_at.isoformat(),
        "params": dict(row.params),
    }


def standing(row: Alert, *, now: datetime) -> str:
    """In one word: open, acknowledged, snoozed or over."""
    if row.closed_at is not None:
        return "over"
    if row.snoozed_until is not None and now < row.snoozed_until:
        return "snoozed"
    return "open" if row.acknowledged_at is None else "acknowledged"


def still_open(session: Session, *, lock: bool = False) -> Sequence[Alert]:
    """Severe ones first, then the oldest."""
    wanted = select(Alert).where(Alert.closed_at.is_(None))
    wanted = wanted.order_by(Alert.severe.desc(), Alert.opened_at, Alert.id)
    return session.execute(wanted.with_for_update() if lock else wanted).scalars().all()


def closed(session: Session, *, most: int = 50) -> Sequence[Alert]:
    """The last to close first."""
    wanted = select(Alert).where(Alert.closed_at.is_not(None))
    return session.execute(wanted.order_by(Alert.closed_at.desc()).limit(most)).scalars().all()


def found(session: Session, alert_id: uuid.UUID) -> Alert:
    """Raises NotFound."""
    row = session.get(Alert, alert_id)
    if row is None:
        raise NotFound(
            f"There is no alert {alert_id}. `strongroom alert list` shows all.",
            code="unknown-alert",
        )
    return row


def acknowledge(
    session: Session, alert_id: uuid.UUID, *, why: str, by: Actor, now: datetime
) -> Alert:
    """Somebody is at it: told again only if it becomes worse, and when it is over. Raises BadAct."""
    row = _open_row(session, alert_id)
    row.acknowledged_at, row.acknowledged_by, row.acknowledged_why = now, str(by), _reason(why)
    _note(session, row, "acknowledged", by, now, why=row.acknowledged_why)
    return row


def snooze(
    session: Session,
    alert_id: uuid.UUID,
    *,
    until: datetime,
    why: str,
    by: Actor,
    now: datetime,
) -> Alert:
    """Nothing is told of it until then. Raises BadAct for an end that is past or too far."""
    row = _open_row(session, alert_id)
    if not now < until <= now + LONGEST_SNOOZE:
        raise BadAct(
            f"A snooze ends in the future, at most {LONGEST_SNOOZE.days} days from now.",
            code="snooze-end",
        )
    row.snoozed_at, row.snoozed_until = now, until
    row.snoozed_by, row.snoozed_why = str(by), _reason(why)
    _note(session, row, "snoozed", by, now, why=row.snoozed_why, until=until.isoformat())
    return row


def _open_row(session: Session, alert_id: uuid.UUID) -> Alert:
    row = found(session, alert_id)
    if row.closed_at is not None:
        raise BadAct(f"Alert {alert_id} is over already.", code="alert-over")
    return row


def _reason(why: str) -> str:
    words = " ".join(why.split())
    if not WHY_LEAST <= len(words) <= WHY_MOST or not words.isprintable():
        raise BadAct(
            f"Say why, in {WHY_LEAST} to {WHY_MOST} characters: whoever comes next reads it.",
            code="alert-reason",
        )
    return words


def _note(
    session: Session, row: Alert, what: str, by: Actor, now: datetime, **details: Any
) -> None:
    deed = Deed(f"alerts.{what}", "alerts", row.id, details={"group": row.group, **details})
    entries.note(session, deed, by=by, at=now)
