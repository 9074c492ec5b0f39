"""Which region a restore reads from, and how it fares when one is away."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from backup.models import Copy, Point, PointSource, Snapshot, Source
from restore import choosing
from restore.choosing import NowhereReached
from restore.states import Destination, RestoreState
from strongroom.db import Role
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.restore.asking import ask, carry_out, faces, give_back, report, stored

NOWHERE = "http://127.0.0.1:9"  # discard: nothing listens there


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Source:
    return cast.add_folder(runtime, acme, tmp_path / "srv" / "office")


def lose(runtime: Runtime, *names: str) -> None:
    """The regions do not answer any more."""
    with runtime.database.session(Role.MIGRATOR) as session:
        session.execute(update(Region).where(Region.name.in_(names)).values(endpoint=NOWHERE))


def unprove(runtime: Runtime, tenant: Tenant, region: str) -> None:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        place = session.query(Region.id).filter_by(name=region).scalar_subquery()
        kept = session.query(Copy.repository_id).filter(Copy.region_id == place)
        session.execute(
            update(Snapshot)
            .where(Snapshot.repository_id.in_(kept))
            .values(verified_at=None)
            .execution_options(synchronize_session=False)
        )


def test_the_first_region_is_preferred(runtime: Runtime, acme: Tenant, source: Source) -> None:
    point = cast.back_up(runtime, acme)

    row = give_back(runtime, point, source, Destination.ASIDE)

    seen = report(row)
    assert (seen["region"], seen["verified"], seen["passed_over"]) == ("region-a", True, [])


def test_a_region_that_is_down_is_passed_over_and_the_report_says_why(
    runtime: Runtime, acme: Tenant, source: Source, tmp_path: Path
) -> None:
    point = cast.back_up(runtime, acme)
    lose(runtime, "region-a")

    row = give_back(runtime, point, source, Destination.ASIDE)

    assert report(row)["region"] == row.region == "region-b"
    [passed] = report(row)["passed_over"]
    assert passed.startswith("region-a: ")
    assert faces(Path(report(row)["where"])) == faces(tmp_path / "srv" / "office")


def test_a_verified_copy_comes_before_a_nearer_one(
    runtime: Runtime, acme: Tenant, source: Source
) -> None:
    point = cast.back_up(runtime, acme)
    unprove(runtime, acme, "region-a")

    chosen = choosing.choose(runtime, ask(runtime, point, source, Destination.ASIDE))

    assert (chosen.site.region.name, chosen.verified) == ("region-b", True)


def test_with_every_region_away_it_is_tried_again_later(
    runtime: Runtime, acme: Tenant, source: Source
) -> None:
    point = stored(runtime, acme)
    row = ask(runtime, point, source)
    lose(runtime, "region-a", "region-b")

    waiting = carry_out(runtime, row)

    assert waiting.state is RestoreState.WAITING
    assert waiting.due_at > row.due_at
    assert waiting.failure is not None
    assert waiting.failure["code"] == NowhereReached.code


def test_a_source_that_is_backed_up_no_more_is_still_restored(
    runtime: Runtime, acme: Tenant, source: Source, tmp_path: Path
) -> None:
    point = stored(runtime, acme)
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.get_one(Source, source.id).removed_at = runtime.now()

    row = give_back(runtime, point, source, Destination.ASIDE)

    assert faces(Path(report(row)["where"])) == faces(tmp_path / "srv" / "office")


def test_a_point_of_which_a_source_failed_gives_the_other_sources_back(
    runtime: Runtime, acme: Tenant, source: Source, tmp_path: Path
) -> None:
    other = cast.add_folder(runtime, acme, tmp_path / "other", name="other")
    for file in sorted((tmp_path / "other").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (tmp_path / "other").rmdir()

    point = stored(runtime, acme)
    give_back(runtime, point, source, Destination.ASIDE)

    assert str(point.outcome) == "partial"
    with pytest.raises(choosing.NotFound, match="holds nothing of other"):
        ask(runtime, point, other, Destination.ASIDE)


def test_nothing_is_read_that_was_forgotten(runtime: Runtime, acme: Tenant, source: Source) -> None:
    point: Point = stored(runtime, acme)
    row = ask(runtime, point, source)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        part = session.query(PointSource).filter_by(point_id=point.id).one()
        session.get_one(Snapshot, part.snapshot_id).forgotten_at = runtime.now()

    with pytest.raises(NowhereReached, match="none has it"):
        choosing.choose(runtime, row)
