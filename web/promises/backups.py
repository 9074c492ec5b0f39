"""Measures of backups: made, placed, proven, kept for who is there."""

from __future__ import annotations

from datetime import timedelta

from backup import schedule
from web.promises.measuring import Look, Seen, added, measure, one, tally

WINDOW_DAYS = 7  # so far back a missed backup is told

# What was due is known from schedules and slots; a schedule that nobody plans, or none, is silence.
# A day has its backup when a complete point stands for it, as on the page of days.
_DAILY_WEEKLY = """
select m.slug as name, n.stored_at as at, case
    when m.sourced_at is null then 3
    when s.count < 2 or s.next_at <= :late or s.far then 2
    when d.since + make_interval(hours => (m.body->>'rpo_hours')::int) < :now
        and coalesce(n.stored_at, d.since)
            + make_interval(hours => (m.body->>'rpo_hours')::int) < :now then 2
    when d.since < :week and not w.there then 2
    when b.bad > 0 or b.count < d.days - 1 then 1
    when b.met = 0 then 3
    else 0 end as grade
from mine m
cross join lateral (select greatest(m.created_at, m.sourced_at) as since,
    least(:window, floor(extract(epoch from
        :now - greatest(m.created_at, m.sourced_at)) / 86400)) as days) d
left join lateral (
    select count(*), min(next_at) as next_at,
        bool_or(next_at > :now + case cadence when 'daily' then interval '2 days'
                else interval '8 days' end) as far
    from schedules where tenant_id = m.id) s on true
left join lateral (
    select (select min(c.stored_at) from copies c where c.tenant_id = m.id and c.point_id = p.id
            and c.state <> 'removed') as stored_at
    from points p
    where p.tenant_id = m.id and p.outcome = 'complete' and p.kind <> 'safety' and exists (
        select from copies c where c.tenant_id = m.id and c.point_id = p.id
        and c.state <> 'removed' and c.stored_at is not null)
    order by p.number desc limit 1) n on true
left join lateral (
    select count(*) filter (where c.cadence = 'daily') as count,
        count(*) filter (where not c.met and c.at < :grace) as bad,
        count(*) filter (where c.met) as met
    from (select s.at, k.cadence, exists (
              select from backup_runs r join points p on p.tenant_id = r.tenant_id and p.id = r.id
              where r.tenant_id = m.id and p.outcome = 'complete' and (
                  r.id = s.run_id or r.local_date = s.local_date and r.trigger <> 'safety'
                  and (r.trigger = 'manual' or jsonb_exists(r.cadences, k.cadence)))) as met
          from slots s join schedules k on k.tenant_id = s.tenant_id and k.id = s.schedule_id
          where s.tenant_id = m.id and s.at > :first and s.at >= d.since) c) b on true
left join lateral (
    select exists (select from slots s
        join schedules k on k.tenant_id = s.tenant_id and k.id = s.schedule_id
        where s.tenant_id = m.id and k.cadence = 'weekly' and s.at > :week) as there) w on true
"""


@measure("daily-weekly")
def daily_weekly(look: Look) -> Seen:
    hours = {
        "late": look.now - schedule.LATE,
        "grace": look.now - timedelta(hours=6),  # a slot this young may still be under way
        "first": look.now - timedelta(days=WINDOW_DAYS),
        "week": look.now - timedelta(days=8),
    }
    seen = tally(look, _DAILY_WEEKLY, window=WINDOW_DAYS, **hours)
    counted = one(look, _SLOTS, first=hours["first"])
    return added(seen, days=WINDOW_DAYS, slots=counted.slots, missed=counted.missed)


_SLOTS = """
select count(*) as slots, count(*) filter (where s.outcome = 'missed') as missed
from mine m join slots s on s.tenant_id = m.id where s.at > :first
"""

# The newest point that lies in as many regions as the policy wants must be no older than the newest
# point there is, by more than a tenant may be without one; and its copies must lie apart.
_REGIONS = """
select m.slug as name, f.first_seen_at as at, case
    when n.number is null then 3
    when (m.body->>'regions')::int < :regions then 2
    when f.number is null then case when :now - n.first_seen_at
        > make_interval(hours => (m.body->>'rpo_hours')::int) then 2 else 3 end
    when n.first_seen_at - f.first_seen_at
        > make_interval(hours => (m.body->>'rpo_hours')::int) then 2
    when k.unsaid > 0 then 4
    when k.km < greatest((m.body->'placement'->>'least_km')::float, :least_km) then 2
    when x.failing > 0 then 1
    else 0 end as grade
from mine m
left join lateral (
    select p.id, p.number, p.first_seen_at from points p
    where p.tenant_id = m.id and p.outcome = 'complete' and exists (
        select from copies c where c.tenant_id = m.id and c.point_id = p.id and c.state = 'stored')
    order by p.number desc limit 1) n on true
left join lateral (
    select p.id, p.number, p.first_seen_at from points p
    where p.tenant_id = m.id and p.outcome = 'complete' and (
        select count(distinct c.region_id) from copies c
        where c.tenant_id = m.id and c.point_id = p.id and c.state = 'stored')
        >= greatest((m.body->>'regions')::int, :regions)
    order by p.number desc limit 1) f on true
left join lateral (
    select count(*) filter (where one.latitude is null or other.latitude is null) as unsaid,
        min(2 * 6371 * asin(least(1, sqrt(
            sin(radians(other.latitude - one.latitude) / 2) ^ 2
            + cos(radians(one.latitude)) * cos(radians(other.latitude))
            * sin(radians(other.longitude - one.longitude) / 2) ^ 2)))) as km
    from copies a join copies b on b.tenant_id = m.id and b.point_id = f.id
        and b.state = 'stored' and b.region_id > a.region_id
    join regions one on one.id = a.region_id join regions other on other.id = b.region_id
    where a.tenant_id = m.id and a.point_id = f.id and a.state = 'stored') k on true
left join lateral (
    select count(*) as failing from copies c where c.tenant_id = m.id
    and c.state in ('waiting', 'quarantined')
    and (c.state = 'quarantined' or c.failure->>'code' is not null)) x on true
"""


@measure("regions")
def regions(look: Look) -> Seen:
    least = look.pack.parameters.least_km or 1
    regions = look.pack.parameters.regions_least or 2
    return added(tally(look, _REGIONS, least_km=least, regions=regions), least_km=least)


# Proofs are due by rota (structure, a share of the data) and by drill; the policy says how often.
# Time runs from the first point there ever was, not from what retention left of them.
# Late by once its time is a risk, by twice it is broken; so is a proof that failed and is not made good.
_INTEGRITY = """
select m.slug as name, least(r.passed_at, d.passed_at) as at, case
    when c.since is null then 3
    when f.failed > 0 or l.lost > 0 or d.failed > 0 then 2
    when greatest(r.late, r.data_late, d.late) > 2 then 2
    when greatest(r.late, r.data_late, d.late) > 1 then 1
    when r.passed_at is null and d.passed_at is null and v.verified_at is null then 3
    else 0 end as grade
from mine m
left join lateral (
    select p.first_seen_at as since from points p
    where p.tenant_id = m.id and p.outcome = 'complete' and exists (
        select from copies where tenant_id = m.id and state = 'stored')
    order by p.number limit 1) c on true
left join lateral (
    select min(o.passed_at) as passed_at,
        max(extract(epoch from :now - o.base) / 86400 / s.days)
            filter (where o.level is distinct from 'share') as late,
        max(extract(epoch from :now - o.base) / 86400 / t.days)
            filter (where o.level is distinct from 'structure') as data_late
    from (select level, passed_at, greatest(coalesce(passed_at, q.created_at), c.since) as base
          from repositories q left join rotas a
              on a.tenant_id = q.tenant_id and a.repository_id = q.id
              and a.level in ('structure', 'share')
          where q.tenant_id = m.id and q.state in ('new', 'ready', 'frozen')
          and exists (select from copies k where k.tenant_id = m.id
                      and k.repository_id = q.id and k.state = 'stored')) o
    cross join lateral (select (m.body->'verification'->>'structure_every_days')::int + 1) s(days)
    cross join lateral (select greatest(3,
        (m.body->'verification'->>'data_every_days')::int / 4)) t(days)) r on true
left join lateral (
    select count(*) as failed from proofs f
    join copies k on k.tenant_id = f.tenant_id and k.id = f.copy_id
    where f.tenant_id = m.id and f.state = 'failed' and k.state = 'stored' and not exists (
        select from proofs g join copies h on h.tenant_id = g.tenant_id and h.id = g.copy_id
        where g.tenant_id = m.id and g.state = 'passed' and h.repository_id = k.repository_id
        and g.ended_at > f.ended_at and (g.level = f.level or g.level = 'data'))) f on true
left join lateral (
    select max(verified_at) as verified_at from snapshots
    where tenant_id = m.id and forgotten_at is null and lost_at is null) v on true
left join lateral (
    select count(*) as lost from snapshots
    where tenant_id = m.id and lost_at is not null and forgotten_at is null) l on true
left join lateral (
    select max(d.ended_at) filter (where d.state = 'passed') as passed_at,
        extract(epoch from :now - coalesce(
            max(d.ended_at) filter (where d.state = 'passed'), c.since)) / 86400
            / ((m.body->'verification'->>'drill_every_days')::int + 1) as late,
        count(*) filter (where d.state = 'failed' and not exists (
            select from drills e where e.tenant_id = m.id
            and e.repository_id = d.repository_id and e.ended_at > d.ended_at)) as failed
    from drills d where d.tenant_id = m.id) d on true
"""


@measure("integrity")
def integrity(look: Look) -> Seen:
    seen = tally(look, _INTEGRITY)
    counted = one(look, _PROOFS, first=look.now - timedelta(days=30))
    return added(seen, days=30, proofs=counted.proofs, drills=counted.drills)


_PROOFS = """
select (select count(*) from proofs p where p.tenant_id in (select id from mine)
        and p.state = 'passed' and p.ended_at > :first) as proofs,
    (select count(*) from drills d where d.tenant_id in (select id from mine)
        and d.state = 'passed' and d.ended_at > :first) as drills
"""

# Where the plan allows a schedule of the tenant's own, what is in force is what the tenant chose.
_CUSTOM = """
select m.slug as name, m.created_at as at, case
    when m.own_schedule is null then null
    when not coalesce((v.body->>'own_schedule')::bool, false) then
        case when m.body @> m.own_schedule and not v.body @> m.own_schedule then 2 end
    when not m.body @> m.own_schedule then 2
    when (select count(*) from schedules s where s.tenant_id = m.id) < 2 then 2
    else 0 end as grade
from mine m join plan_versions v on v.id = m.plan_version_id
"""


@measure("custom-schedule")
def custom_schedule(look: Look) -> Seen:
    return tally(look, _CUSTOM)


# A point is verified when every source in it was read back or restored in some region.
_LATEST = """
select m.slug as name, v.first_seen_at as at, case
    when n.number is null then 3
    when v.number is null then
        case when :now - n.oldest > interval '2 days' then 2 else 3 end
    when n.newest - v.first_seen_at > make_interval(hours => 72) then 2
    when n.newest - v.first_seen_at > make_interval(
        hours => greatest(36, (m.body->>'rpo_hours')::int + 6)) then 1
    else 0 end as grade
from mine m
left join lateral (
    select max(p.number) as number, max(p.first_seen_at) as newest, min(p.first_seen_at) as oldest
    from points p where p.tenant_id = m.id and p.outcome = 'complete' and exists (
        select from copies c where c.tenant_id = m.id and c.point_id = p.id
        and c.state = 'stored')) n on true
left join lateral (
    select p.number, p.first_seen_at from points p
    where p.tenant_id = m.id and p.outcome = 'complete' and p.bytes > 0 and exists (
        select from copies c where c.tenant_id = m.id and c.point_id = p.id
        and c.state = 'stored')
    and not exists (
        select from point_sources ps where ps.tenant_id = m.id and ps.point_id = p.id
        and not exists (
            select from snapshots s where s.tenant_id = m.id
            and (s.id = ps.snapshot_id or s.origin_id = ps.snapshot_id)
            and s.verified_at is not null and s.forgotten_at is null and s.lost_at is null))
    order by p.number desc limit 1) v on true
"""
_RESTORED = """
select count(*) as restores, count(*) filter (where r.state = 'failed') as failed
from mine m join restores r on r.tenant_id = m.id
where not r.dry_run and r.ended_at > :first
"""


@measure("latest-verified")
def latest_verified(look: Look) -> Seen:
    counted = one(look, _RESTORED, first=look.now - timedelta(days=90))
    seen = tally(look, _LATEST)
    return added(seen, days=90, restores=counted.restores, restores_failed=counted.failed)


# Nobody has left yet whose data may go: whoever ever had a complete point still has one that lies
# somewhere, and no snapshot is missing in every region.
_KEPT = """
select m.slug as name, s.newest as at, case
    when s.newest is null then case when e.ever then 2 else 3 end
    when l.lost then 2
    when z.frozen then 1
    else 0 end as grade
from mine m
cross join lateral (select exists (select from points p where p.tenant_id = m.id
    and p.outcome = 'complete' and p.kind <> 'safety') as ever) e
cross join lateral (select (select p.first_seen_at from points p where p.tenant_id = m.id
    and p.outcome = 'complete' and exists (
        select from copies c where c.tenant_id = m.id and c.point_id = p.id
        and c.state = 'stored') order by p.number desc limit 1) as newest) s
cross join lateral (select exists (select from snapshots a
    where a.tenant_id = m.id and a.lost_at is not null and a.forgotten_at is null
    and not exists (select from snapshots b where b.tenant_id = m.id
        and coalesce(b.origin_id, b.id) = coalesce(a.origin_id, a.id) and b.lost_at is null
        and b.forgotten_at is null)) as lost) l
cross join lateral (select exists (select from findings f where f.tenant_id = m.id
    and f.settled_at is null and f.freezes) as frozen) z
"""


@measure("data-kept")
def data_kept(look: Look) -> Seen:
    return tally(look, _KEPT)
