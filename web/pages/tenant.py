"""A tenant's pages. Here: the way in, and who has access; the restore page hangs on the same prefix.

A further page of a tenant is a view of this blueprint (or one registered with the same prefix) that
is marked `@scope.tenant(Action.…)` and extends `tenant/layout.html`.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from strongroom.errors import BadValue, NotFound
from strongroom.lifecycle import LifecycleError
from strongroom.people import accounts, contacts, grants, links, pins
from strongroom.people.accounts import NewAccount
from strongroom.people.grants import Decider
from strongroom.people.models import LinkPurpose
from strongroom.people.rules import Action, TenantRole
from strongroom.runtime import Runtime
from web import scope
from web.cookies import Site
from web.pages import delivering, finding, restoring
from web.pages.language import N_

BAD_CONTACT = N_("A second contact needs a name and an e-mail address.")
BAD_MEMBER = N_("That could not be done: check the address, and that it is not somebody of ours.")
LAST_OWNER = N_("A tenant keeps at least one owner.")


def make(runtime: Runtime, site: Site) -> Blueprint:
    """`/t/<slug>/…`."""
    tenant = Blueprint("tenant", __name__, url_prefix="/t/<slug>")

    @tenant.get("/access")
    @scope.tenant(Action.SEE_TENANT_GRANTS)
    def access(slug: str) -> str:
        return access_page(runtime)

    finding.add(tenant, runtime)
    restoring.add(tenant, runtime)
    delivering.add(tenant, runtime)
    add_grants(tenant, runtime)
    add_people(tenant, runtime, site)
    return tenant


def access_page(runtime: Runtime, *, wrong: str | None = None, link: str | None = None) -> str:
    """Who may look: members, support grants, the PIN, the second contact."""
    here, now = scope.here(), runtime.now()
    with scope.peoples() as db:
        pin = None
        if scope.can(Action.SEE_PIN):
            pin = pins.shown(db, runtime.vault.provider, here.id, now=now)
        return render_template(
            "tenant/access.html",
            here=here,
            pin=pin,
            members=accounts.members(db, here.id),
            grants=grants.of_tenant(db, here.id),
            contact=contacts.of_tenant(db, here.id),
            stands=lambda row: grants.stands(row, now=now),
            may_decide=scope.can(Action.DECIDE_GRANT),
            may_end=scope.can(Action.END_GRANT),
            may_manage=scope.can(Action.MANAGE_MEMBERS),
            may_contact=scope.can(Action.SET_CONTACT),
            wrong=wrong,
            link=link,
        )


def add_grants(tenant: Blueprint, runtime: Runtime) -> None:
    @tenant.post("/access/grants/<uuid:grant_id>/decide")
    @scope.tenant(Action.DECIDE_GRANT)
    def decide(slug: str, grant_id: UUID) -> AnyResponse:
        yes = request.form.get("answer") == "yes"
        with scope.peoples() as db:
            row = found(db, grant_id)
            decider = Decider(scope.known().account, for_tenant=True)
            grants.decide(db, row, decider, yes=yes, now=runtime.now())
        return redirect(url_for("tenant.access", slug=slug), code=303)

    @tenant.post("/access/grants/<uuid:grant_id>/end")
    @scope.tenant(Action.END_GRANT)
    def end(slug: str, grant_id: UUID) -> AnyResponse:
        with scope.peoples() as db:
            grants.end(db, found(db, grant_id), by=scope.actor(), now=runtime.now())
        return redirect(url_for("tenant.access", slug=slug), code=303)

    @tenant.errorhandler(LifecycleError)
    def overtaken(_error: LifecycleError) -> tuple[str, int]:
        """Somebody else was quicker: the page shows what is now."""
        return access_page(runtime), 409


def found(db: Any, grant_id: UUID) -> Any:
    """Of this tenant; another's is as good as none."""
    try:
        return grants.found(db, grant_id, scope.here().id)
    except NotFound:
        abort(404)


def add_people(tenant: Blueprint, runtime: Runtime, site: Site) -> None:
    @tenant.post("/access/contact")
    @scope.tenant(Action.SET_CONTACT)
    def contact(slug: str) -> str | tuple[str, int] | AnyResponse:
        form, now = request.form, runtime.now()
        wish = contacts.Wish(form.get("name", ""), form.get("email", ""), form.get("phone") or None)
        try:
            with scope.peoples() as db:
                contacts.put(db, scope.here().id, wish, by=scope.actor(), now=now)
        except BadValue:
            return access_page(runtime, wrong=BAD_CONTACT), 422
        return redirect(url_for("tenant.access", slug=slug), code=303)

    @tenant.post("/access/members")
    @scope.tenant(Action.MANAGE_MEMBERS)
    def add_member(slug: str) -> str | tuple[str, int]:
        """The link is shown once; there is no mail yet that could carry it."""
        form, by, now = request.form, scope.actor(), runtime.now()
        try:
            role = TenantRole(form.get("role", ""))
            with scope.peoples() as db:
                row = accounts.with_email(db, form.get("email", ""))
                made = row is None
                if row is None:
                    new = NewAccount(form.get("email", ""), form.get("name", ""))
                    row = accounts.add(db, new, by=by, now=now)
                accounts.join(db, scope.here().id, row, role, by=by, now=now)
                token = links.make(db, row, LinkPurpose.INVITE, by=by, now=now) if made else None
        except ValueError:
            abort(422)
        except BadValue:
            return access_page(runtime, wrong=BAD_MEMBER), 422
        address = token and site.origin + url_for("signing.link", token=token)
        return access_page(runtime, link=address)

    @tenant.post("/access/members/<uuid:account_id>/remove")
    @scope.tenant(Action.MANAGE_MEMBERS)
    def remove_member(slug: str, account_id: UUID) -> str | tuple[str, int] | AnyResponse:
        with scope.peoples() as db:
            here = scope.here().id
            row = accounts.membership(db, here, account_id)
            if row is None:
                abort(404)
            if not accounts.leave(db, row, by=scope.actor(), now=runtime.now()):
                return access_page(runtime, wrong=LAST_OWNER), 409
        return redirect(url_for("tenant.access", slug=slug), code=303)
