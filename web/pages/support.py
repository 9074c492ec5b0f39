"""What staff do for callers: check a PIN, ask for a grant, and decide on another's."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response as AnyResponse

from strongroom.db import Role
from strongroom.errors import BadValue, NotFound
from strongroom.lifecycle import LifecycleError
from strongroom.people import grants, limits, pins
from strongroom.people.errors import NotAllowed, TooMany
from strongroom.people.grants import Decider, Wish
from strongroom.people.rules import Action, GrantScope
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import scope
from web.pages.language import N_
from web.pages.signing import TOO_MANY

NO_TENANT = N_("There is no tenant of this account id.")
PIN_RIGHT = N_("The PIN is right: the caller speaks for this tenant.")
PIN_WRONG = N_("The PIN is not right. Say nothing about the account.")
BAD_GRANT = N_("A grant needs a reason that the tenant can read, and an end within seven days.")
OWN_GRANT = N_("Nobody decides on a grant of their own.")


def make(runtime: Runtime) -> Blueprint:
    """`/support…`."""
    support = Blueprint("support", __name__, url_prefix="/support")

    @support.get("/")
    @scope.platform(Action.SEE_GRANTS)
    def overview() -> str:
        return page(runtime)

    @support.post("/pin")
    @scope.platform(Action.CHECK_PIN)
    def pin() -> tuple[str, int]:
        """A try is counted before it is looked at: for the tenant, and for who asks."""
        me, now = scope.known().account, runtime.now()
        tenant = named(runtime, request.form.get("tenant", ""))
        if tenant is None:
            return page(runtime, wrong=NO_TENANT), 404
        try:
            limits.spend(runtime.database, limits.PIN_BY, str(me.id), now=now)
            limits.spend(runtime.database, limits.PIN, str(tenant), now=now)
        except TooMany:
            return page(runtime, wrong=TOO_MANY), 429
        with runtime.database.session(Role.PEOPLE, tenant=tenant) as db:
            typed = request.form.get("pin", "")
            right = pins.check(db, runtime.vault.provider, tenant, typed, by=me, now=now)
        if not right:
            return page(runtime, wrong=PIN_WRONG), 422
        limits.forgive(runtime.database, limits.PIN, str(tenant))
        return page(runtime, right=PIN_RIGHT), 200

    add_grants(support, runtime)
    return support


def add_grants(support: Blueprint, runtime: Runtime) -> None:
    @support.post("/grants")
    @scope.platform(Action.ASK_GRANT)
    def ask() -> tuple[str, int] | AnyResponse:
        form, now = request.form, runtime.now()
        tenant = named(runtime, form.get("tenant", ""))
        if tenant is None:
            return page(runtime, wrong=NO_TENANT), 404
        try:
            hours = timedelta(hours=min(max(float(form.get("hours", "0")), 0), 1000))
            wish = Wish(GrantScope(form.get("scope", "")), form.get("reason", ""), now + hours)
            with runtime.database.session(Role.PEOPLE, tenant=tenant) as db:
                grants.ask(db, tenant, scope.known().account, wish, now=now)
        except (ValueError, BadValue):
            return page(runtime, wrong=BAD_GRANT), 422
        return redirect(url_for("support.overview"), code=303)

    @support.post("/grants/<uuid:grant_id>/decide")
    @scope.platform(Action.SECOND_GRANT)
    def decide(grant_id: UUID) -> tuple[str, int] | AnyResponse:
        with runtime.database.session(Role.PEOPLE) as db:
            try:
                tenant = grants.found(db, grant_id).tenant_id
            except NotFound:
                abort(404)
        yes = request.form.get("answer") == "yes"
        try:
            with runtime.database.session(Role.PEOPLE, tenant=tenant) as db:
                row = grants.found(db, grant_id, tenant)
                decider = Decider(scope.known().account, for_tenant=False)
                grants.decide(db, row, decider, yes=yes, now=runtime.now())
        except NotAllowed:
            return page(runtime, wrong=OWN_GRANT), 403
        except (BadValue, LifecycleError):
            return page(runtime), 409
        return redirect(url_for("support.overview"), code=303)


def page(runtime: Runtime, *, wrong: str | None = None, right: str | None = None) -> str:
    now = runtime.now()
    with runtime.database.session(Role.PEOPLE) as db:
        names = {row.id: row for row in db.execute(select(Tenant.id, Tenant.slug, Tenant.name))}
        return render_template(
            "people/support.html",
            grants=grants.of_all(db),
            tenants=names,
            me=scope.known().account.id,
            stands=lambda row: grants.stands(row, now=now),
            may_check=scope.can(Action.CHECK_PIN),
            may_ask=scope.can(Action.ASK_GRANT),
            may_decide=scope.can(Action.SECOND_GRANT),
            scopes=list(GrantScope),
            wrong=wrong,
            right=right,
        )


def named(runtime: Runtime, typed: str) -> UUID | None:
    """By the account id that a caller reads out: the slug, or the id itself."""
    text = typed.strip().lower()
    try:
        wanted = Tenant.id == UUID(text)
    except ValueError:
        wanted = Tenant.slug == text
    with runtime.database.session(Role.PEOPLE) as db:
        return db.execute(select(Tenant.id).where(wanted)).scalar_one_or_none()
