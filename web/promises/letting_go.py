"""Measures of what goes and what stays: retention, ceilings on age, legal holds."""

from __future__ import annotations

from dataclasses import replace

from tenants.promise_rows import State
from web.promises.measuring import Look, Seen, added, measure, one, tally

CODES = ("max-age", "not-in-plan", "pin-ended", "source-ceiling")  # by which retention lets go

# Before its time: a removal that no rule of retention stands for, or one by age that came before
# that age; a copy that was stored and is gone without any removal. Past its time: a removal that
# nothing holds up and that does not happen; a point beyond the plan's age that nobody lets go.
_EARLY = """
(select count(*) from removals r
    join copies c on c.tenant_id = r.tenant_id and c.id = r.copy_id
    join points p on p.tenant_id = r.tenant_id and p.id = c.point_id
    where r.tenant_id = m.id and r.state in ('forgotten', 'gone') and (
        not r.code = any(:codes)
        or r.code = 'max-age' and r.due_at
            < p.first_seen_at + make_interval(days => (r.params->>'days')::int)))
+ (select count(*) from copies c where c.tenant_id = m.id and c.state = 'removed'
    and c.stored_at is not null
    and not exists (select from removals r where r.tenant_id = m.id and r.copy_id = c.id)
    and not exists (select from steps s where s.tenant_id = m.id and s.row_id = c.id
        and s.code = 'gone-before-recovery'))
"""
# After a recovery nobody can tell by what right a point went that the older database still knew.
_FORGOTTEN = """
(exists (select from steps s where s.tenant_id = m.id and s.of = 'copies'
    and s.code = 'gone-before-recovery' and s.at > :now - interval '90 days'))
"""
_HELD = """
(exists (select from holds h where h.tenant_id = m.id and h.released_at is null
    and (h.until is null or h.until > :now))
 or exists (select from findings f where f.tenant_id = m.id and f.settled_at is null and f.freezes))
"""
_STUCK = """
(select max(extract(epoch from :now - s.at) / 86400) from removals r
    join steps s on s.tenant_id = r.tenant_id and s.row_id = r.id and s.new = 'planned'
    where r.tenant_id = m.id and r.state in ('planned', 'forgotten')
    and coalesce(r.blocked->>'code', '') <> 'object-lock')
"""
_PAST = """
(select max(extract(epoch from :now - q.first_seen_at) / 86400 - q.days) from (
    select p.first_seen_at, (m.body->'retention'->>'max_age_days')::int as days,
        row_number() over (order by p.number desc) as place
    from points p where p.tenant_id = m.id and p.outcome = 'complete'
    and coalesce(p.pinned_until, '-infinity') < :now
    and coalesce(p.wanted_until, '-infinity') < :now
    and exists (select from copies c where c.tenant_id = m.id and c.point_id = p.id
        and c.state = 'stored')) q
    where q.place > greatest((m.body->>'floor')::int, 1) + 1)
"""
_STANDING = """
(select min(p.first_seen_at) from points p where p.tenant_id = m.id and exists (
    select from copies c where c.tenant_id = m.id and c.point_id = p.id and c.state = 'stored'))
"""
_AS_PLANNED = f"""
select f.slug as name, f.standing as at, case
    when f.standing is null and f.early = 0 then 3
    when f.early > 0 then 2
    when not f.held and greatest(f.stuck, f.past) > 7 then 2
    when not f.held and greatest(f.stuck, f.past) > 2 then 1
    when f.forgotten then 4
    else 0 end as grade
from (select m.slug, {_EARLY} as early, {_FORGOTTEN} as forgotten, {_HELD} as held, {_STUCK} as stuck, {_PAST} as past,
        {_STANDING} as standing from mine m) f
"""  # noqa: S608 - parts of ours, no values
_NOT_TOO_LONG = f"""
select f.slug as name, f.standing as at, case
    when f.standing is null then 3
    when not f.held and greatest(f.stuck, f.past) > 7 then 2
    when not f.held and greatest(f.stuck, f.past) > 2 then 1
    else 0 end as grade
from (select m.slug, {_HELD} as held, {_STUCK} as stuck, {_PAST} as past,
        {_STANDING} as standing from mine m) f
"""  # noqa: S608
_REMOVED = """
select count(*) filter (where r.state in ('forgotten', 'gone')) as gone,
    count(*) filter (where r.state = 'planned') as planned
from mine m join removals r on r.tenant_id = m.id
"""


@measure("plan-retention")
def plan_retention(look: Look) -> Seen:
    counted = one(look, _REMOVED)
    seen = tally(look, _AS_PLANNED, codes=list(CODES))
    return added(seen, removed=counted.gone, removals_planned=counted.planned)


@measure("necessary")
def necessary(look: Look) -> Seen:
    """Half of the promise: what the end of a contract and a request would delete is not built."""
    return replace(
        tally(look, _NOT_TOO_LONG), at_best=State.CANNOT_BE_PROVEN, note="only-retention"
    )


# What was declared as held to be sent on has the pack's ceiling in the policy in force, and nothing
# of it lies anywhere beyond that age (a day for the review, two more for the removal).
_MESSAGE_AGE = """
select m.slug || '/' || s.name as name, o.oldest as at, case
    when coalesce((m.body->'source_max_age_days'->>s.id::text)::int, 100000) > :days then 2
    when h.held then case when o.oldest < :now - make_interval(days => :days) then 1 else 0 end
    when o.oldest < :now - make_interval(days => :days + 3) then 2
    when o.oldest < :now - make_interval(days => :days + 1) then 1
    when o.oldest is null then 3
    else 0 end as grade
from mine m join sources s on s.tenant_id = m.id and s.transit
left join lateral (
    select min(p.first_seen_at) as oldest from point_sources ps
    join points p on p.tenant_id = ps.tenant_id and p.id = ps.point_id
    where ps.tenant_id = m.id and ps.source_id = s.id and ps.snapshot_id is not null
    and exists (select from snapshots n where n.tenant_id = m.id
        and (n.id = ps.snapshot_id or n.origin_id = ps.snapshot_id) and n.forgotten_at is null)
    and exists (select from copies c where c.tenant_id = m.id and c.point_id = p.id
        and c.state = 'stored' and not exists (
            select from removals r where r.tenant_id = m.id and r.copy_id = c.id
            and r.source_id = s.id and r.state in ('forgotten', 'gone')))) o on true
cross join lateral (select exists (select from holds h where h.tenant_id = m.id
    and h.released_at is null and (h.until is null or h.until > :now)) as held) h
"""


@measure("message-age")
def message_age(look: Look) -> Seen:
    days = look.pack.parameters.message_age_days
    if days is None:
        return Seen(note="no-ceiling")
    seen = tally(look, _MESSAGE_AGE, days=days)
    nothing = not (seen.good or seen.at_risk or seen.broken or seen.early)
    return replace(added(seen, days=days), note="no-transit" if nothing else "")


# Each hold says why; and while one stood, nothing of the tenant was forgotten.
_HOLDS = """
select m.slug as name, h.placed_at as at, case
    when btrim(h.reason) = '' then 2
    when exists (select from steps s where s.tenant_id = m.id and s.of = 'removals'
        and s.new = 'forgotten' and s.at > h.placed_at
        and s.at < least(coalesce(h.released_at, 'infinity'), coalesce(h.until, 'infinity'))) then 2
    when not exists (select from record_entries e where e.tenant_id = m.id
        and e.of = 'holds' and e.subject_id = h.id) then 1
    else 0 end as grade
from mine m join holds h on h.tenant_id = m.id
"""


@measure("legal-hold")
def legal_hold(look: Look) -> Seen:
    seen = tally(look, _HOLDS)
    return replace(seen, note="" if seen.good or seen.broken or seen.at_risk else "no-holds")
