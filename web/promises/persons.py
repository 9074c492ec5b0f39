"""Measures of people: who reached what, with which proofs, and how they sign in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from strongroom.people.grants import LONGEST
from web.promises.measuring import Look, Seen, added, measure, one, tally

DAYS = 90  # so far back access and calls are looked at
GUESSES = 5  # wrong PINs for one tenant within a day

# Each grant was decided by somebody else, for no longer than allowed, and is on record with each of
# its moves; whatever of staff looked into a tenant had one that stood at that moment. Whoever has the
# local socket and looks from the command line is on record, and has no name.
_GRANTS = """
select m.slug as name, g.asked_at as at, case
    when g.until > g.asked_at + :longest or g.decided_by = g.account_id then 2
    when (select count(*) from record_entries e where e.tenant_id = m.id
        and e.of = 'support_grants' and e.subject_id = g.id)
        < case g.state when 'asked' then 1 when 'ended' then 3 else 2 end then 2
    else 0 end as grade
from mine m join support_grants g on g.tenant_id = m.id where g.asked_at > :first
union all
select m.slug, e.at, case when exists (
        select from support_grants g where g.tenant_id = m.id
        and g.account_id::text = substr(e.by, 8) and g.decided_at <= e.at and g.until >= e.at
        and g.state in ('open', 'ended')) then 0 else 2 end
from mine m join record_entries e on e.tenant_id = m.id
where e.at > :first and (e.code = 'grants.used' or e.code like 'contents.%')
and e.by = any(:staff)
union all
select m.slug, e.at, 1 from mine m join record_entries e on e.tenant_id = m.id
where e.at > :first and e.code like 'contents.%' and e.by = 'operator'
union all
select m.slug, b.since, 2 from mine m join memberships b on b.tenant_id = m.id
where 'person:' || b.account_id::text = any(:staff)
"""
_ENTRIES = """
select count(*) as entries, max(e.at) as newest from mine m
join record_entries e on e.tenant_id = m.id where e.at > :first
"""
_STAFF = "select 'person:' || id::text from accounts where staff is not null"


@measure("support-access")
def support_access(look: Look) -> Seen:
    if look.people is None:
        return _no_people()
    staff = list(look.people.execute(text(_STAFF)).scalars())
    first = look.now - timedelta(days=DAYS)
    seen = tally(look, _GRANTS, first=first, staff=staff, longest=LONGEST + timedelta(minutes=1))
    counted = one(look, _ENTRIES, first=first)
    touched = seen.good + seen.at_risk + seen.broken
    if (
        not touched and counted.entries
    ):  # the record was looked through, and nobody of staff was there
        seen = replace(seen, good=1, oldest=counted.newest, note="nobody-came")
    return added(seen, days=DAYS, entries=counted.entries, accesses=touched)


# Whoever administers has a second factor; who has none and is signed in all the same breaks it.
_BARE = """
select a.id, a.staff is not null as staff, exists (
    select from web_sessions w where w.account_id = a.id and w.stage = 'whole'
    and w.revoked_at is null and w.ends_at > :now
    and not w.proofs ?| array['otp', 'hwk', 'mfa', 'recovery']) as inside
from accounts a
where a.disabled_at is null and (a.password is not null
    or exists (select from identities i where i.account_id = a.id))
and not exists (select from totp_factors f where f.account_id = a.id
    and f.confirmed_at is not null)
and not exists (select from passkeys k where k.account_id = a.id)
"""
_STAFF_COUNT = (
    "select count(*) from accounts where staff is not null and disabled_at is null"
    " and password is not null"
)
# Invited, and never signed in: there is nothing yet that a factor would guard.
_UNSET = """
select a.id from accounts a where a.disabled_at is not null or (a.password is null
    and not exists (select from identities i where i.account_id = a.id))
"""
_ADMINS = """
select m.slug as name, b.since as at,
    case when b.account_id = any(:inside) then 2 when b.account_id = any(:bare) then 1
        when b.account_id = any(:unset) then 3 else 0 end as grade
from mine m join memberships b on b.tenant_id = m.id and b.role in ('owner', 'admin')
"""


@measure("roles-mfa")
def roles_mfa(look: Look) -> Seen:
    """Of the pack's tenants, and of staff, who administer for all of them."""
    if look.people is None:
        return _no_people()
    bare = look.people.execute(text(_BARE), {"now": look.now}).all()
    inside = [row.id for row in bare if row.inside]
    unset = list(look.people.execute(text(_UNSET)).scalars())
    seen = tally(look, _ADMINS, inside=inside, bare=[row.id for row in bare], unset=unset)
    count = look.people.execute(text(_STAFF_COUNT)).scalar_one()
    staff = [row for row in bare if row.staff]
    within = sum(row.inside for row in staff)
    return added(
        replace(
            seen,
            good=seen.good + max(0, count - len(staff)),
            broken=seen.broken + within,
            at_risk=seen.at_risk + len(staff) - within,
        ),
        staff=count,
        staff_without=len(staff),
    )


_MEMBERS = """
select count(distinct b.account_id) as members,
    count(distinct b.account_id) filter (where not b.account_id = any(:bare)) as with_factor
from mine m join memberships b on b.tenant_id = m.id
"""


@measure("second-factor")
def second_factor(look: Look) -> Seen:
    """Available is shown by who has one; encouraged, by how many: fewer than half is a risk."""
    if look.people is None:
        return _no_people()
    bare = [row.id for row in look.people.execute(text(_BARE), {"now": look.now})]
    unset = look.people.execute(text(_UNSET)).scalars()
    counted = one(look, _MEMBERS, bare=[*bare, *unset])
    members, having = counted.members, counted.with_factor
    few = members > 0 and 2 * having < members
    seen = Seen(good=having, at_risk=(members - having) if few else 0)
    return added(seen, members=members, with_factor=having)


# The PIN is asked for and looked at by a person; what can be seen is that it is used, that every
# try is on record, and that nobody guesses.
_CALLS = """
select m.slug as name, max(e.at) as at,
    case when count(*) filter (where e.code = 'people.pin-wrong' and e.at > :day) >= :guesses
        then 1 when count(*) filter (where e.code = 'people.pin-right') = 0 then 3
        else 0 end as grade
from mine m join record_entries e on e.tenant_id = m.id
where e.code in ('people.pin-right', 'people.pin-wrong') and e.at > :first
group by m.slug
"""


@measure("caller")
def caller(look: Look) -> Seen:
    first, day = look.now - timedelta(days=DAYS), look.now - timedelta(days=1)
    seen = tally(look, _CALLS, first=first, day=day, guesses=GUESSES)
    nothing = not (seen.good or seen.at_risk)
    return replace(added(seen, days=DAYS), note="nobody-called" if nothing else "")


@measure("sign-in")
def sign_in(look: Look) -> Seen:
    """The providers are the deployment's, as its settings name them."""
    labels = [each.label for each in look.runtime.settings.openid]
    if not labels:
        return Seen(broken=1, note="no-provider")
    return added(Seen(good=len(labels)), providers=labels)


def _no_people() -> Seen:
    return Seen(note="no-right-to-look")
