"""`strongroom region undelete`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import select

from backup import losses, repositories, reproving
from backup.models import Repository
from backup.undelete import Undeleted, preview, undelete
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete, NotFound
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import side_by_side
from web.commands.regions import region
from web.failing import Stopped
from web.output import Screen
from web.session import common, connect, me

T = TypeVar("T")

AT_ONCE = 4  # tenants side by side: restic and the region are waited for most of the time
TELL_SECONDS = 3.0

Pair = tuple[Repository, Tenant]


@region.command("undelete")
@click.argument("name", metavar="REGION")
@click.option("--tenant", "slug", metavar="SLUG", help="This tenant only.")
@click.option("--since", metavar="TIME", help="Only what was deleted since; ISO 8601, UTC.")
@click.option("--dry-run", is_flag=True, help="Count, and change nothing.")
@click.option("--wait", is_flag=True, help="Until the data are proven too, or cannot be.")
@common
def undelete_(
    name: str,
    slug: str | None,
    since: str | None,
    dry_run: bool,
    wait: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """Bring back what somebody deleted or overwrote in a region, for every tenant.

    What our own retention let go stays gone. May be stopped at any moment, and run again. Exit 3 if
    something is missing, or not proven (yet): the last column says why.

    Example: strongroom region undelete region-a --since 2026-11-20T08:00 --wait
    """
    platform = connect(home)
    going = Going(platform, Screen(as_json), since=None if since is None else _moment(since))
    rows = _repositories(platform, name, slug)
    done = going.all(rows, going.preview if dry_run else going.bring_back, what="brought back")
    prove = going.prove if wait and not dry_run else going.doubt
    doubts = going.all(rows, prove, what="proven" if wait else "looked at")
    told = [
        {"tenant": tenant.slug, **each.to_json(), "proven": doubt is None, "doubt": doubt}
        for (_row, tenant), each, doubt in zip(rows, done, doubts, strict=True)
    ]
    going.screen.table(
        {"region": name, "dry_run": dry_run, "tenants": told},
        ["tenant", "brought back", "structure", "data proven", "what is missing"],
        [_line(each, dry_run=dry_run) for each in told],
    )
    whole = all(each.is_whole for each in done) and all(each["proven"] for each in told)
    if not dry_run and not whole:
        click.get_current_context().exit(Incomplete.exit_code)


@dataclass
class Going:
    """One call of the command, and what each tenant's repository is at."""

    platform: Runtime
    screen: Screen
    since: datetime | None
    at: dict[str, str] = field(default_factory=dict)  # slug to words, of those under way
    broken: set[str] = field(default_factory=set)  # slugs of those that no proof could pass

    def all(self, rows: Sequence[Pair], act: Callable[[Pair], T], *, what: str) -> list[T]:
        """A few at a time, saying every few seconds how far it is. Raises Stopped on Ctrl-C."""

        def watch(count: int) -> None:
            under_way = "; ".join(f"{slug}: {words}" for slug, words in sorted(self.at.items()))
            self.screen.say(f"{count} of {len(rows)} {what}. {under_way}")

        try:
            return side_by_side.carry_out(
                act, rows, at_once=AT_ONCE, watch=watch, every=TELL_SECONDS
            )
        except KeyboardInterrupt:
            raise Stopped(
                "Stopped. What is back stays; run the command again, and it goes on from there."
            ) from None

    def preview(self, pair: Pair) -> Undeleted:
        row, _tenant = pair
        site = repositories.site(self.platform, row.tenant_id, row.id)
        return preview(site, since=self.since)

    def bring_back(self, pair: Pair) -> Undeleted:
        row, tenant = pair
        with self._saying(tenant.slug) as say:
            done = undelete(
                self.platform, row.tenant_id, row.id, since=self.since, by=me(), say=say
            )
        if not done.clean:
            self.broken.add(tenant.slug)
        words = done.problem or ("whole" if done.is_whole else "NOT whole")
        self.screen.say(f"{tenant.slug}: {done.back} objects are back, {words}")
        return done

    def prove(self, pair: Pair) -> str | None:
        row, tenant = pair
        if tenant.slug in self.broken:
            return self.doubt(pair)
        with self._saying(tenant.slug) as say:
            doubt = reproving.wait(self.platform, row.tenant_id, row.id, say=say)
        if doubt is not None:
            self.screen.say(f"{tenant.slug}: {doubt}")
        return doubt or self._gone(row)

    def doubt(self, pair: Pair) -> str | None:
        """Why not all that should lie there counts as proven now."""
        row, _tenant = pair
        with self.platform.database.session(Role.WORKER, tenant=row.tenant_id) as session:
            left = len(reproving.unproven(session, row.id))
        return f"{left} snapshots are not proven yet" if left else self._gone(row)

    def _gone(self, row: Repository) -> str | None:
        site = repositories.site(self.platform, row.tenant_id, row.id)
        gone = len(losses.gone(site))
        return f"{gone} snapshots are missing" if gone else None

    @contextmanager
    def _saying(self, slug: str) -> Iterator[Callable[[str], None]]:
        self.at[slug] = "begins"
        try:
            yield lambda words: self.at.update({slug: words})
        finally:
            self.at.pop(slug, None)


def _repositories(platform: Runtime, name: str, slug: str | None) -> list[Pair]:
    with platform.database.session(Role.OPERATOR) as session:
        if session.execute(select(Region.id).where(Region.name == name)).first() is None:
            raise NotFound(f"There is no region {name!r}. See `strongroom region list`.")
        wanted = (
            select(Repository, Tenant)
            .join(Region, Region.id == Repository.region_id)
            .join(Tenant, Tenant.id == Repository.tenant_id)
            .where(Region.name == name, Repository.key_hint.is_not(None), Repository.counts())
            .order_by(Tenant.slug)
        )
        if slug is not None:
            wanted = wanted.where(Tenant.slug == slug)
        found = [(row.Repository, row.Tenant) for row in session.execute(wanted)]
    if slug is not None and not found:
        raise NotFound(
            f"Tenant {slug!r} has no repository in {name}. See `strongroom tenant list`."
        )
    return found


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadValue(f"--since {text!r} is no time; write it like 2026-11-20T08:00.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _line(each: dict[str, Any], *, dry_run: bool) -> list[Any]:
    if dry_run:
        return [each["tenant"], each["back"], "", "", ""]
    said = [words for words in (each["problem"], each["doubt"]) if words]
    missing = [*said, *each["missing"], *each["kept"]]
    return [
        each["tenant"],
        each["back"],
        "whole" if each["clean"] else "NOT WHOLE",
        "yes" if each["proven"] else "not yet",
        "; ".join(missing[:3]),
    ]


COMMANDS = (region,)
