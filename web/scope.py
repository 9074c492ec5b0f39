"""From an address to a row: the one place where a view gets who asks, which tenant, and leave to.

Every view says who may open it, with one of the marks below; a view without a mark is closed to all.
Not yours: 404, and it costs the same statements as what is not there. Yours, and not for your role:
403. A proof is missing: to the page that asks for it.

    @scope.open_to_all                 nobody has to be known
    @scope.while_at(Stage.SECOND)      somebody in the middle of signing in
    @scope.own                         anybody signed in, about themselves
    @scope.platform(Action.OPERATE)    by role
    @scope.tenant(Action.BROWSE)       by role in the tenant that <slug> names, or by grant

In a view, `scope.known()` is who asks, `scope.here()` the tenant, `scope.reading()` a session that
sees this tenant's rows and no others, `scope.writing()` one that asks for work.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, abort, current_app, g, make_response, redirect, request, url_for
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.people import accounts, sessions, signing_in
from strongroom.people.models import (
    Account,
    GrantState,
    Membership,
    SessionKind,
    Stage,
    SupportGrant,
)
from strongroom.people.providers import is_loopback
from strongroom.people.rules import (
    Action,
    GrantScope,
    Person,
    TenantRole,
    Verdict,
    is_fresh,
    may,
    widest,
)
from strongroom.people.sessions import Known
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web.cookies import SAFE, Site

NOTED_MOST = 10_000
_noted: set[tuple[uuid.UUID, uuid.UUID, str, datetime]] = set()

View = TypeVar("View", bound=Callable[..., Any])
PROBES = frozenset({"probes.alive", "probes.ready", "metrics.show"})  # which looks itself
UNASKED = PROBES | {"static"}  # served without looking at who asks

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Access:
    """Who may open a view."""

    open: bool = False
    own: bool = False
    stages: frozenset[Stage] = frozenset({Stage.WHOLE})
    action: Action | None = None
    of_tenant: bool = False


@dataclass(frozen=True)
class Here:
    """The tenant of this request, and what the person asking is in it."""

    id: uuid.UUID
    slug: str
    name: str
    zone: str  # IANA
    role: TenantRole | None
    grant: GrantScope | None


def open_to_all(view: View) -> View:
    return _mark(view, Access(open=True))


def while_at(*stages: Stage) -> Callable[[View], View]:
    return lambda view: _mark(view, Access(own=True, stages=frozenset(stages)))


def own(view: View) -> View:
    return _mark(view, Access(own=True))


def platform(action: Action) -> Callable[[View], View]:
    return lambda view: _mark(view, Access(action=action))


def tenant(action: Action) -> Callable[[View], View]:
    return lambda view: _mark(view, Access(action=action, of_tenant=True))


def _mark(view: View, access: Access) -> View:
    view.access = access  # type: ignore[attr-defined]
    return view


def access_of(app: Flask, endpoint: str) -> Access | None:
    """What is said of a view; None: nothing, so that nobody may open it."""
    if endpoint in UNASKED:
        return Access(open=True)
    return getattr(app.view_functions.get(endpoint), "access", None)


def register(app: Flask, runtime: Runtime, site: Site) -> None:
    """Ask before every view."""
    app.extensions["strongroom"] = runtime

    @app.before_request
    def ask() -> AnyResponse | None:
        require_our_name(site)
        if request.endpoint in UNASKED:
            return None
        g.known = _who(runtime)
        if request.endpoint is None:
            return None  # Flask says 404
        access = access_of(app, request.endpoint)
        if access is None:
            log.error("a view says nothing of who may open it", endpoint=request.endpoint)
            abort(403)
        return _decide(runtime, access)


def require_our_name(site: Site) -> None:
    """Pages are shown under our own name: a name of somebody else's may point here (rebinding)."""
    if request.endpoint in PROBES:
        return  # asked by address, from beside us
    asked = urlsplit(f"//{request.host}").hostname or ""
    if site.secure:
        fine = asked == site.host
    else:
        server = request.environ.get("SERVER_NAME", "")
        fine = site.local and is_loopback(server) and is_loopback(asked)
    if not fine:
        g.known = None
        abort(403, description="elsewhere")


def known() -> Known:
    """Who asks. Only in views that are not open to all."""
    found: Known = g.known
    return found


def somebody() -> Known | None:
    """Who asks, if anybody is known; for what every page shows."""
    found: Known | None = g.get("known")
    return found if found is not None and found.whole else None


def refused_here() -> tuple[Here, Action] | None:
    """The tenant and the action of a view that was not for this role; for the page that says so."""
    found: Here | None = g.get("here")
    access = access_of(current_app, request.endpoint or "")
    action = None if access is None else access.action
    return None if found is None or action is None else (found, action)


def here() -> Here:
    """The tenant of this request. Only in views marked `tenant`."""
    found: Here = g.here
    return found


def person() -> Person:
    """Who asks, as `rules.may` wants it."""
    found: Here | None = g.get("here")
    role, grant = (None, None) if found is None else (found.role, found.grant)
    return signing_in.person(known(), tenant=role, grant=grant)


def can(action: Action) -> bool:
    """Whether to offer something on a page: it is theirs, with or without a proof on the way."""
    return may(person(), action, now=_runtime().now()) is not Verdict.NO


def actor() -> Actor:
    """Who asks, as records name them."""
    return accounts.actor_of(known().account)


def still(runtime: Runtime, before: Known, where: Here, action: Action) -> bool:
    """Whether who was let in would be now: asked by what takes long, outside of any request."""
    now = runtime.now()
    with runtime.database.session(Role.PEOPLE) as session:
        found = sessions.still(session, before.session.id, now=now)
        row = None if found is None else _row_of(session, found.account, where.slug, now)
    if found is None or row is None:
        return False
    role, grant = row.role, widest([GrantScope(scope) for scope in row.scopes or ()])
    asking = signing_in.person(found, tenant=role, grant=grant)
    return row.id == where.id and may(asking, action, now=now) is Verdict.YES


def reading() -> AbstractContextManager[Session]:
    """A session that sees this tenant's rows and writes nothing."""
    return _runtime().database.session(Role.WEB, tenant=here().id)


def writing() -> AbstractContextManager[Session]:
    """A session that may ask for something in this tenant: a restore, a download, a preview."""
    return _runtime().database.session(Role.WEB, tenant=here().id)


def peoples() -> AbstractContextManager[Session]:
    """A session for accounts; in a view of a tenant, for what people are and gave in it."""
    found: Here | None = g.get("here")
    tenant_id = None if found is None else found.id
    return _runtime().database.session(Role.PEOPLE, tenant=tenant_id)


def fresh_for_own() -> bool:
    """Whether a person may change how they sign in: a second factor just now, or who has none yet,
    a sign-in just now."""
    found, now = known(), _runtime().now()
    if found.session.stage is Stage.ENROL:
        return True
    with _runtime().database.session(Role.PEOPLE) as session:
        if signing_in.has_factor(session, found.account):
            return is_fresh(found.session.stepped_up_at, now=now)
    return is_fresh(found.session.made_at, now=now)


def inside(address: str | None) -> str | None:
    """An address of ours to go on to, or None: nobody is sent elsewhere by a link to us."""
    if not address or not address.startswith("/") or address.startswith(("//", "/\\")):
        return None
    parts = urlsplit(address)
    return None if parts.scheme or parts.netloc or not address.isprintable() else address


def _who(runtime: Runtime) -> Known | None:
    if not g.token:
        return None
    with runtime.database.session(Role.PEOPLE) as session:
        found = sessions.find(session, g.token, now=runtime.now())
    is_browser = found is not None and found.session.kind is SessionKind.BROWSER
    return found if is_browser else None  # a token of the command line opens no pages


def _decide(runtime: Runtime, access: Access) -> AnyResponse | None:
    if access.open:
        return None
    if g.known is None:
        return _send_to("signing.sign_in")
    if g.known.session.stage not in access.stages:
        return _send_on(g.known.session.stage)
    if access.action is None:
        return None
    if access.of_tenant:
        g.here = _tenant(runtime, str((request.view_args or {})["slug"]))
        if g.here is None:
            abort(404)
    answer = _enforce(access.action, may(person(), access.action, now=runtime.now()))
    if answer is None and access.of_tenant:
        _note_support(runtime)
    return answer


def _note_support(runtime: Runtime) -> None:
    """What staff look at by a grant is on record: each view once an hour, however often it renews
    itself."""
    where, at = here(), runtime.now()
    if where.grant is None or where.role is not None:
        return
    view = str(request.endpoint)
    seen = (known().session.id, where.id, view, at.replace(minute=0, second=0, microsecond=0))
    if seen in _noted:
        return
    with peoples() as session:
        deed = Deed("grants.used", "tenants", where.id, known().account.id, details={"view": view})
        entries.note(session, deed, by=actor(), at=at)
    if len(_noted) >= NOTED_MOST:
        _noted.clear()
    _noted.add(seen)


def _enforce(action: Action, verdict: Verdict) -> AnyResponse | None:
    if verdict is Verdict.NO:
        abort(403)
    if verdict is not Verdict.YES:
        return _send_to("signing.step_up", action)
    return None


def _tenant(runtime: Runtime, slug: str) -> Here | None:
    """One statement, whatever is found: a tenant that is another's is as good as none."""
    account = known().account
    if "\0" in slug:  # the database takes none
        return None
    with runtime.database.session(Role.PEOPLE) as session:
        row = _row_of(session, account, slug, runtime.now())
    if row is None or (account.staff is None and row.role is None):
        return None
    grant = widest([GrantScope(scope) for scope in row.scopes or ()])
    return Here(row.id, row.slug, row.name, row.zone, row.role, grant)


def _row_of(session: Session, account: Account, slug: str, now: datetime) -> Any:
    """The tenant, and what this person is and was given in it."""
    scopes = (
        select(func.array_agg(SupportGrant.scope))
        .where(
            SupportGrant.tenant_id == Tenant.id,
            SupportGrant.account_id == account.id,
            SupportGrant.state == GrantState.OPEN,
            SupportGrant.until > now,
        )
        .scalar_subquery()
    )
    mine = and_(Membership.tenant_id == Tenant.id, Membership.account_id == account.id)
    wanted = (
        select(
            *(Tenant.id, Tenant.slug, Tenant.name, Tenant.zone, Membership.role),
            scopes.label("scopes"),
        )
        .outerjoin(Membership, mine)
        .where(Tenant.slug == slug)
    )
    return session.execute(wanted).one_or_none()


def _send_on(stage: Stage) -> AnyResponse:
    """To where this sign-in stands."""
    pages = {
        Stage.SECOND: "signing.second",
        Stage.ENROL: "enrolling.begin",
        Stage.WHOLE: "home.home",
    }
    return _send_to(pages[stage])


def _send_to(endpoint: str, action: Action | None = None) -> AnyResponse:
    """To another page, and back afterwards; a part that renews itself takes the whole page along.

    The page that asks for a proof is told for which action (`pages.proving` has the words).
    """
    back = request.full_path.rstrip("?") if request.method in SAFE else _form_page()
    why: dict[str, Any] = {} if action is None else {"for": str(action)}
    if "HX-Request" in request.headers:
        answer = make_response("", 401)
        answer.headers["HX-Redirect"] = url_for(endpoint)
        return answer
    if request.is_json:
        return Response(status=401)
    return redirect(url_for(endpoint, next=back, **why), code=303)


def _form_page() -> str:
    """The page that a form stands on: it names it itself, in `page`."""
    return inside(request.form.get("page")) or "/"


def _runtime() -> Runtime:
    found: Runtime = current_app.extensions["strongroom"]
    return found
