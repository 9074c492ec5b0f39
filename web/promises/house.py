"""Measures of the platform itself: what it encrypts, holds, sets, publishes and signs."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from itertools import groupby, pairwise
from pathlib import Path
from urllib.parse import urlsplit

from babel.messages import pofile
from sqlalchemy import select, text

from strongroom.audit import inspecting
from strongroom.people.providers import is_loopback
from tenants.packs import NO_DATES, NOT_ENTERED
from tenants.promise_rows import PackVersion
from web.promises.measuring import MOST_NAMED, Look, Seen, added, measure, one, rows, tally

WEB = Path(__file__).parent.parent
CATALOGUE = WEB / "translations" / "ar" / "LC_MESSAGES" / "messages.po"

# restic encrypts whatever it stores; what opens a repository is a password of ours that lies
# wrapped by the tenant's own key. A repository that was made and has none is none of these.
_ENCRYPTED = """
select m.slug as name, r.created_at as at, case
    when r.state = 'new' and r.key_hint is null then 3
    when not exists (select from secrets s where s.tenant_id = m.id and s.subject_id = r.id
        and s.purpose = 'repository-password' and not s.pending) then 2
    else 0 end as grade
from mine m join repositories r on r.tenant_id = m.id
where r.state not in ('coming', 'closed', 'destroyed')
"""


@measure("encrypted")
def encrypted(look: Look) -> Seen:
    provider = look.runtime.vault.provider
    return added(tally(look, _ENCRYPTED), key_store=provider.name)


_ENDPOINTS = """
select distinct g.name, g.endpoint from mine m
join repositories r on r.tenant_id = m.id and r.state not in ('closed', 'destroyed')
join regions g on g.id = r.region_id order by g.name
"""


@measure("transport")
def transport(look: Look) -> Seen:
    """Each region in use and the pages are reached by TLS, or on this machine alone."""
    found = {row.name: is_covered(row.endpoint) for row in rows(look, _ENDPOINTS)}
    found["web"] = is_covered(look.runtime.settings.web or "http://localhost")
    bare = [name for name, fine in found.items() if not fine]
    attention = inspecting.standing(look.runtime).attention(look.now)
    return Seen(
        good=len(found) - len(bare),
        broken=len(bare),
        at_risk=len(attention),
        worst=(*bare, *attention)[:MOST_NAMED],
    )


def is_covered(address: str) -> bool:
    """Whether nobody in between can read along. Pure."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


# Data that a tenant's people took out: of each tenant the last one that was asked for.
_OWN_COPY = """
select m.slug as name, d.ended_at as at,
    case when d.ended_as = 'failed' or d.state = 'quarantined' then 2 else 0 end as grade
from mine m join lateral (
    select d.state, d.ended_as, coalesce(d.ended_at, d.made_at) as ended_at from deliveries d
    where d.tenant_id = m.id and d.asked_at > :first and d.kind not like 'look-%'
    and (d.made_at is not null or d.ended_as = 'failed' or d.state = 'quarantined')
    order by d.asked_at desc limit 1) d on true
"""
_KITS = """
select count(*) as kits from mine m join record_entries e on e.tenant_id = m.id
where e.code = 'repositories.kit-exported' and e.at > :first
"""


@measure("own-copy")
def own_copy(look: Look) -> Seen:
    first = look.now - timedelta(days=90)
    kits = one(look, _KITS, first=first).kits
    seen = tally(look, _OWN_COPY, first=first)
    nothing = not (seen.good or seen.broken or kits)
    seen = replace(seen, good=seen.good + kits, note="nobody-took-any" if nothing else "")
    return added(seen, days=90, kits=kits)


# What may be held of who is a contact; beside it, what says who entered it and when.
CONTACT = {
    "accounts": "email name locale zone",
    "second_contacts": "name email phone",
    "memberships": "role",
    "tenants": "name country zone locale",
}
_OURS = {
    "accounts": "id staff password disabled_at created_at created_by",
    "second_contacts": "id tenant_id set_at set_by",
    "memberships": "id tenant_id account_id since added_by",
    "tenants": "id slug pack keep_in own_schedule plan_version_id canary created_at",
}
_COLUMNS = """
select c.relname as table, a.attname as column from pg_attribute a
join pg_class c on c.oid = a.attrelid
where c.relnamespace = 'public'::regnamespace and c.relname = any(:tables)
and a.attnum > 0 and not a.attisdropped order by 1, 2
"""


@measure("contact-columns")
def contact_columns(look: Look) -> Seen:
    """What the tables of contacts have room for, as the database says it."""
    held_in = look.session.execute(text(_COLUMNS), {"tables": list(CONTACT)}).all()
    more = [
        f"{row.table}.{row.column}"
        for row in held_in
        if row.column not in (CONTACT[row.table] + " " + _OURS[row.table]).split()
    ]
    held = sum(row.column in CONTACT[row.table].split() for row in held_in)
    return Seen(good=held, broken=len(more), worst=tuple(more)[:MOST_NAMED])


@measure("bilingual")
def bilingual(look: Look) -> Seen:
    """Every message of the pages has its Arabic; sentences of packs have both, or are refused."""
    total, missing = _messages(CATALOGUE, CATALOGUE.stat().st_mtime_ns)
    return Seen(good=total - len(missing), broken=len(missing), worst=missing[:MOST_NAMED])


@measure("absolute", always=True)
def absolute(look: Look) -> Seen:
    """Nothing can show it, and the policy's two languages do not say the same."""
    return Seen(note="versions-disagree")


# A cookie holds a random token, of which the database has the hash alone.
_SESSIONS = "select count(*) as all, count(*) filter (where length(hashed) <> 32) as odd "
_SESSIONS += "from web_sessions where ends_at > :now"


@measure("cookies")
def cookies(look: Look) -> Seen:
    """Which modules of ours set one: for the token, the language and the calendar; and what of the
    token is kept."""
    if look.people is None:
        return Seen(note="no-right-to-look")
    row = look.people.execute(text(_SESSIONS), {"now": look.now}).one()
    places = setters(WEB)
    strange = sorted(places - SET_BY)
    seen = Seen(
        good=len(places & SET_BY),
        broken=len(strange) + row.odd,
        worst=tuple(strange)[:MOST_NAMED],
    )
    return added(seen, sessions=row.all)


SET_BY = frozenset({"cookies.py", "pages/language.py", "pages/hijri.py"})


@lru_cache
def setters(folder: Path) -> frozenset[str]:
    """The modules below the folder that set a cookie."""
    found = set()
    for path in folder.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if "set_cookie" in source and _calls(ast.parse(source), "set_cookie"):
            found.add(path.relative_to(folder).as_posix())
    return frozenset(found)


@measure("revision")
def revision(look: Look) -> Seen:
    """The last version of the pack that says something else than the one before has another date."""
    pack = look.pack
    noted = look.session.execute(
        select(PackVersion).where(PackVersion.pack == pack.name).order_by(PackVersion.version)
    ).scalars()
    versions = [(row.sha256, row.effective, row.revised) for row in noted]
    now = (pack.sha256, pack.effective, pack.revised)
    if not versions or versions[-1] != now:
        versions.append(now)
    # Of each text the dates that it had last: a new text may come before its new date.
    texts = [list(same)[-1] for _, same in groupby(versions, key=lambda each: each[0])]
    silent = [new for old, new in [*pairwise(texts)][-1:] if new[1:] == old[1:]]
    dates = {"effective": pack.effective, "revised": pack.revised, "versions": len(versions)}
    if silent:
        return added(Seen(broken=len(silent)), **dates)
    missing = [each for each in (pack.effective, pack.revised) if each in NO_DATES]
    if missing:
        note = "date-not-entered" if NOT_ENTERED in missing else "no-date"
        return added(Seen(blind=len(missing), note=note), **dates)
    return added(Seen(good=len(versions)), **dates)


def _calls(tree: ast.AST, name: str) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
        for node in ast.walk(tree)
    )


@lru_cache(maxsize=2)
def _messages(file: Path, _changed: int) -> tuple[int, tuple[str, ...]]:
    """How many messages there are, and those without words; read anew when the file changes."""
    with file.open("rb") as data:
        catalogue = pofile.read_po(data)
    said = [message for message in catalogue if message.id]
    lacking = [
        str(each.id if isinstance(each.id, str) else each.id[0])
        for each in said
        if each.fuzzy
        or not all([each.string] if isinstance(each.string, str) else (each.string or [""]))
    ]
    return len(said), tuple(lacking)
