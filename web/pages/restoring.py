"""See what a restore would do, do it, watch it, undo it, and who did what.

Somebody chose something (`restore_choose`): a plan is made of it, and its page is where all else
happens. What is restored comes from the plan's row, so pages may be reloaded, shared between two
people, or left for a proof and come back to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from backup.models import Point
from restore import approvals, evidence, plans, requests
from restore.models import Restore
from restore.states import Destination
from restore.wishes import Wish
from strongroom.actors import Actor
from strongroom.errors import NotFound, StrongroomError
from strongroom.lifecycle import LifecycleError
from strongroom.people import standing
from strongroom.people.rules import Action, Verdict, may
from strongroom.runtime import Runtime
from web import scope
from web.pages import moving, restored
from web.pages.selection import Selection, chosen

WRONG_NAME = "wrong-name"
TO = {"aside": Destination.ASIDE, "in-place": Destination.IN_PLACE}
Deed = Callable[[Session, UUID], Restore]


def add(tenant: Blueprint, runtime: Runtime) -> None:
    """Views of the tenant's blueprint."""
    add_plans(tenant, runtime)
    add_confirming(tenant, runtime)
    add_deeds(tenant, runtime)
    add_history(tenant, runtime)


def add_plans(tenant: Blueprint, runtime: Runtime) -> None:
    @tenant.post("/restores/choose")
    @scope.tenant(Action.PREVIEW_RESTORE)
    def restore_choose(slug: str) -> AnyResponse | tuple[str, int]:
        """What was chosen becomes a plan: beside the live data, unless somebody wants it otherwise."""
        selection, now = chosen(), runtime.now()
        try:
            with scope.writing() as db:
                wish = wish_of(db, selection)
                row = plans.make(db, scope.here().id, wish, by=scope.actor(), at=now)
        except NotFound as error:
            return refused(error, selection), 404
        except StrongroomError as error:
            return refused(error, selection), 409
        return to_page(row)

    @tenant.post("/restores/<uuid:restore_id>/to")
    @scope.tenant(Action.PREVIEW_RESTORE)
    def restore_to(slug: str, restore_id: UUID) -> AnyResponse:
        """The same once more: elsewhere, or because time has passed."""
        to = TO.get(request.form.get("destination", ""))

        def again(db: Session, plan_id: UUID) -> Restore:
            plan = plans.found(db, plan_id)
            return plans.again(db, plan_id, to or plan.destination, **by_at(runtime))

        return done(runtime, restore_id, again)

    @tenant.post("/restores/<uuid:restore_id>/undo")
    @scope.tenant(Action.UNDO_RESTORE)
    def restore_undo(slug: str, restore_id: UUID) -> AnyResponse:
        """What undoing it would do."""
        return done(runtime, restore_id, lambda db, id: plans.of_undo(db, id, **by_at(runtime)))


def add_confirming(tenant: Blueprint, runtime: Runtime) -> None:
    """One view for each right that it takes; which one a plan needs, its row says."""

    @tenant.post("/restores/<uuid:restore_id>/confirm")
    @scope.tenant(Action.RESTORE_ASIDE)
    def restore_confirm(slug: str, restore_id: UUID) -> AnyResponse:
        return confirm(runtime, restore_id, Action.RESTORE_ASIDE)

    @tenant.post("/restores/<uuid:restore_id>/confirm-in-place")
    @scope.tenant(Action.RESTORE_IN_PLACE)
    def restore_confirm_in_place(slug: str, restore_id: UUID) -> AnyResponse:
        return confirm(runtime, restore_id, Action.RESTORE_IN_PLACE)

    @tenant.post("/restores/<uuid:restore_id>/confirm-undo")
    @scope.tenant(Action.UNDO_RESTORE)
    def restore_confirm_undo(slug: str, restore_id: UUID) -> AnyResponse:
        return confirm(runtime, restore_id, Action.UNDO_RESTORE)


def add_deeds(tenant: Blueprint, runtime: Runtime) -> None:
    @tenant.post("/restores/<uuid:restore_id>/cancel")
    @scope.tenant(Action.CANCEL_RESTORE)
    def restore_cancel(slug: str, restore_id: UUID) -> AnyResponse:
        return done(runtime, restore_id, lambda db, id: requests.cancel(db, id, **by_at(runtime)))

    @tenant.post("/restores/<uuid:restore_id>/approve")
    @scope.tenant(Action.APPROVE_RESTORE)
    def restore_approve(slug: str, restore_id: UUID) -> AnyResponse:
        def allowed(db: Session, id: UUID) -> Restore:
            return approvals.approve(db, id, asker_may=asker_may(runtime), **by_at(runtime))

        return done(runtime, restore_id, allowed)

    @tenant.post("/restores/<uuid:restore_id>/decline")
    @scope.tenant(Action.APPROVE_RESTORE)
    def restore_decline(slug: str, restore_id: UUID) -> AnyResponse:
        return done(runtime, restore_id, lambda db, id: approvals.decline(db, id, **by_at(runtime)))


def add_history(tenant: Blueprint, runtime: Runtime) -> None:
    @tenant.get("/restores")
    @scope.tenant(Action.SEE_HISTORY)
    def restores(slug: str) -> Response:
        before = request.args.get("before", type=UUID)
        with scope.reading() as db:
            found = restored.lines(db, before=before)
        lines = found[: restored.AT_ONCE]
        people = restored.people_of(each for line in lines for each in actors_of(line.row))
        more = lines[-1].row.id if len(found) > len(lines) else None
        goes_on = before is None and any(line.row.state in restored.UNDER_WAY for line in lines)
        values = {"here": scope.here(), "lines": lines, "people": people, "more": more}
        return moving.send("tenant/restore/history", seconds=renewal(goes_on=goes_on), **values)

    @tenant.get("/restores/<uuid:restore_id>")
    @scope.tenant(Action.SEE_HISTORY)
    def restore(slug: str, restore_id: UUID) -> Response:
        return page(runtime, restore_id)

    @tenant.get("/restores/<uuid:restore_id>/evidence.json")
    @scope.tenant(Action.SEE_HISTORY)
    def restore_evidence(slug: str, restore_id: UUID) -> Response:
        with scope.reading() as db:
            row = db.get(Restore, restore_id)
            if row is None:
                abort(404)
            document = evidence.document(db, row, names=scope.can(Action.BROWSE))
        answer = jsonify(document)
        answer.headers["Content-Disposition"] = f'attachment; filename="restore-{row.id}.json"'
        return answer


def page(runtime: Runtime, restore_id: UUID, *, wrong: str | None = None) -> Response:
    """A plan, or a restore; with what was wrong about what somebody wanted, by its code."""
    now, here = runtime.now(), scope.here()
    with scope.reading() as db:
        found = restored.read(db, restore_id, now=now)
    values = {
        "here": here,
        "page": found,
        "now": now,
        "wrong": wrong,
        "rights": rights(found, now),
        "selection": Selection(
            found.point.number, found.source.id, tuple(found.row.paths), tuple(found.row.tables)
        ),
    }
    name = "plan" if found.is_plan else "restore"
    goes_on = found.moving and wrong is None
    return moving.send(f"tenant/restore/{name}", seconds=renewal(goes_on=goes_on), **values)


def renewal(*, goes_on: bool) -> int | None:
    return moving.BUSY_SECONDS if goes_on else moving.STILL


def rights(found: restored.Page, now: datetime) -> dict[str, Any]:
    """What to offer to whoever looks."""
    action = approvals.action_of(found.row)
    verdict = may(scope.person(), action, now=now)
    return {
        "plan": scope.can(Action.PREVIEW_RESTORE),
        "confirm": verdict is not Verdict.NO,
        "action": str(action),
        "prove_first": verdict is Verdict.STEP_UP,
        "download": scope.can(Action.DOWNLOAD),
        "names": scope.can(Action.BROWSE),
        "cancel": scope.can(Action.CANCEL_RESTORE),
        "undo": scope.can(Action.UNDO_RESTORE),
        "approve": scope.can(Action.APPROVE_RESTORE) and found.row.asked_by != str(scope.actor()),
    }


def asker_may(runtime: Runtime) -> approvals.AskerMay:
    """Asked of the accounts as they are now."""

    def asked(row: Restore) -> bool:
        with scope.peoples() as db:
            action, now = approvals.action_of(row), runtime.now()
            return standing.may_still(db, row.asked_by, row.tenant_id, action, now=now)

    return asked


def confirm(runtime: Runtime, plan_id: UUID, action: Action) -> AnyResponse:
    """The view's own right has to be the one that this plan takes."""
    typed, reason = request.form.get("typed", ""), request.form.get("reason")
    with scope.reading() as db:
        plan = db.get(Restore, plan_id)
    if plan is None or not plan.dry_run or approvals.action_of(plan) is not action:
        abort(404)
    if action is not Action.RESTORE_ASIDE and not is_ours(typed):
        answer = page(runtime, plan_id, wrong=WRONG_NAME)
        answer.status_code = 422
        return answer

    def confirmed(db: Session, id: UUID) -> Restore:
        return plans.confirm(db, id, reason=reason, **by_at(runtime))

    return done(runtime, plan_id, confirmed)


def is_ours(typed: str) -> bool:
    """The account id, and nothing else: two tenants may have the same name."""
    return typed.strip().casefold() == scope.here().slug


def done(runtime: Runtime, restore_id: UUID, deed: Deed) -> AnyResponse:
    """Do it and go to the page of what came of it; or say on its own page why not."""
    try:
        with scope.writing() as db:
            row = deed(db, restore_id)
    except NotFound as error:
        if error.code == NotFound.code:
            abort(404)
        return not_done(runtime, restore_id, error)
    except (StrongroomError, LifecycleError) as error:
        return not_done(runtime, restore_id, error)
    return to_page(row)


def not_done(runtime: Runtime, restore_id: UUID, error: StrongroomError) -> Response:
    answer = page(runtime, restore_id, wrong=error.code)
    answer.status_code = 409
    return answer


def by_at(runtime: Runtime) -> dict[str, Any]:
    by: Actor = scope.actor()
    return {"by": by, "at": runtime.now()}


def to_page(row: Restore) -> AnyResponse:
    address = url_for("tenant.restore", slug=scope.here().slug, restore_id=row.id)
    return redirect(address, code=303)


def wish_of(session: Session, selection: Selection) -> Wish:
    """Raises NotFound."""
    point = session.execute(
        select(Point.id).where(Point.number == selection.number)
    ).scalar_one_or_none()
    if point is None:
        raise NotFound("There is no such point.")
    return Wish(
        point=point,
        source=selection.source,
        destination=Destination.ASIDE,
        paths=tuple(selection.paths),
        tables=tuple(selection.tables),
    )


def refused(error: StrongroomError, selection: Selection) -> str:
    """There is no row yet whose page could say it."""
    if error.code == NotFound.code:
        abort(404)
    values = {"here": scope.here(), "code": error.code, "selection": selection}
    return render_template("tenant/restore/refused.html", **values)


def actors_of(row: Restore) -> tuple[str | None, ...]:
    return row.asked_by, row.decided_by
