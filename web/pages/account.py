"""What a person sees and changes about themselves; and where everybody begins."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response as AnyResponse

from strongroom.db import Role
from strongroom.notices import refusals
from strongroom.people import accounts, limits, passkeys, passwords, recovery_codes, sessions, totp
from strongroom.people.errors import BadAccount, TooMany
from strongroom.people.models import Account, Identity, Membership, SessionKind, Stage
from strongroom.people.rules import Action, Verdict, may
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import cookies, scope
from web.cookies import Site
from web.notices import words
from web.pages import proving
from web.pages.enrolling import LENGTH, UNEQUAL
from web.pages.language import N_
from web.pages.signing import TOO_MANY, attached

WRONG_PASSWORD = N_("The password that you have now is not right.")


def make_home(runtime: Runtime) -> Blueprint:
    """`/`: staff to the console, a tenant's people to their tenant."""
    home = Blueprint("home", __name__)

    @home.get("/", endpoint="home")
    @scope.own
    def begin() -> str | AnyResponse:
        known = scope.known()
        if may(scope.person(), Action.SEE_CONSOLE, now=runtime.now()) is not Verdict.NO:
            return redirect(url_for("console.overview"), code=303)
        if may(scope.person(), Action.SEE_GRANTS, now=runtime.now()) is not Verdict.NO:
            return redirect(url_for("support.overview"), code=303)
        with runtime.database.session(Role.PEOPLE) as db:
            mine = db.execute(
                select(Tenant.slug, Tenant.name, Membership.role)
                .join(Membership, Membership.tenant_id == Tenant.id)
                .where(Membership.account_id == known.account.id)
                .order_by(Tenant.name)
            ).all()
        if len(mine) == 1:
            return redirect(url_for("tenant.overview", slug=mine[0].slug), code=303)
        return render_template("people/home.html", tenants=mine)

    return home


def make(runtime: Runtime, site: Site) -> Blueprint:
    """`/account…`."""
    account = Blueprint("account", __name__, url_prefix="/account")
    add_overview(account, runtime)
    add_changes(account, runtime, site)
    add_sessions(account, runtime)
    return account


def add_overview(account: Blueprint, runtime: Runtime) -> None:
    @account.get("/")
    @scope.own
    def overview() -> str:
        return overview_page(runtime)


def overview_page(runtime: Runtime, *, wrong: str | None = None, token: str | None = None) -> str:
    known, now = scope.known(), runtime.now()
    with runtime.database.session(Role.PEOPLE) as db:
        mine = db.get_one(Account, known.account.id)
        linked = select(Identity.issuer).where(Identity.account_id == mine.id)
        issuers = set(db.execute(linked).scalars())
        return render_template(
            "people/account.html",
            account=mine,
            sessions=sessions.live(db, mine.id, now=now),
            current=known.session.id,
            app=totp.in_force(db, mine),
            passkeys=passkeys.of_account(db, mine),
            codes=recovery_codes.left(db, mine),
            providers=[(each, each.issuer in issuers) for each in runtime.settings.openid],
            refusable=words.REFUSABLE,
            refused=refusals.of_account(db, mine.id),
            zone=mine.zone or "UTC",
            now=now,
            wrong=wrong,
            token=token,
        )


def add_changes(account: Blueprint, runtime: Runtime, site: Site) -> None:
    @account.post("/wishes")
    @scope.own
    def wishes() -> AnyResponse:
        locale, zone = request.form.get("locale") or None, request.form.get("zone") or None
        try:
            accounts.check_wishes(locale, zone)
        except BadAccount:
            abort(422)
        with runtime.database.session(Role.PEOPLE) as db:
            row = db.get_one(Account, scope.known().account.id)
            row.locale, row.zone = locale, zone
        return redirect(url_for("account.overview", lang=locale), code=303)

    @account.post("/notices")
    @scope.own
    def notices() -> AnyResponse:
        """What is not chosen is refused; kinds that nobody may refuse are not asked about."""
        chosen = set(request.form.getlist("kind"))
        unwanted = [kind for kind in words.REFUSABLE if kind not in chosen]
        with runtime.database.session(Role.PEOPLE) as db:
            refusals.put(
                db, scope.known().account.id, unwanted, by=scope.actor(), now=runtime.now()
            )
        return redirect(url_for("account.overview") + "#notices", code=303)

    @account.post("/password")
    @scope.own
    def password() -> str | tuple[str, int] | AnyResponse:
        """Every other session is over: whoever had the old one has nothing."""
        known, now, form = scope.known(), runtime.now(), request.form
        if not scope.fresh_for_own():
            return redirect(proving.address(proving.OWN, url_for("account.overview")), code=303)
        try:
            limits.spend(runtime.database, limits.SIGN_IN, known.account.email, now=now)
        except TooMany:
            return overview_page(runtime, wrong=TOO_MANY), 429
        if not passwords.fits(known.account.password, form.get("now", "")):
            return overview_page(runtime, wrong=WRONG_PASSWORD), 422
        if form.get("password") != form.get("again"):
            return overview_page(runtime, wrong=UNEQUAL), 422
        try:
            with runtime.database.session(Role.PEOPLE) as db:
                mine = attached(db, known)
                chosen, by = form.get("password", ""), scope.actor()
                accounts.set_password(db, mine.account, chosen, by=by, now=now)
                sessions.revoke_all(db, mine.account.id, now=now, but=mine.session.id)
                cookies.give(sessions.prove(db, mine, ["pwd"], stage=Stage.WHOLE, now=now))
        except BadAccount:
            return overview_page(runtime, wrong=LENGTH), 422
        return redirect(url_for("account.overview"), code=303)

    @account.post("/passkeys/<uuid:passkey_id>/remove")
    @scope.own
    def remove_passkey(passkey_id: UUID) -> AnyResponse:
        if not scope.fresh_for_own():
            return redirect(proving.address(proving.OWN, url_for("account.overview")), code=303)
        with runtime.database.session(Role.PEOPLE) as db:
            mine = db.get_one(Account, scope.known().account.id)
            by, now = scope.actor(), runtime.now()
            if not passkeys.remove(db, mine, passkey_id, by=by, now=now):
                abort(404)
        return redirect(url_for("account.overview"), code=303)


def add_sessions(account: Blueprint, runtime: Runtime) -> None:
    @account.post("/sessions/<uuid:session_id>/revoke")
    @scope.own
    def revoke(session_id: UUID) -> AnyResponse:
        with runtime.database.session(Role.PEOPLE) as db:
            mine = scope.known().account.id
            if not sessions.revoke(db, mine, session_id, now=runtime.now()):
                abort(404)
        return redirect(url_for("account.overview"), code=303)

    @account.post("/sessions/revoke")
    @scope.own
    def revoke_others() -> AnyResponse:
        known = scope.known()
        with runtime.database.session(Role.PEOPLE) as db:
            sessions.revoke_all(db, known.account.id, now=runtime.now(), but=known.session.id)
        return redirect(url_for("account.overview"), code=303)

    @account.post("/tokens")
    @scope.own
    def token() -> str | AnyResponse:
        """For STRONGROOM_TOKEN: acts as this person for half a day; shown once."""
        known = scope.known()
        if not scope.fresh_for_own():
            return redirect(proving.address(proving.TOKEN, url_for("account.overview")), code=303)
        visit = cookies.visit(runtime)
        with runtime.database.session(Role.PEOPLE) as db:
            row, made = sessions.begin(
                db,
                known.account,
                visit,
                stage=Stage.WHOLE,
                proofs=known.session.proofs,
                kind=SessionKind.TOKEN,
            )
            row.stepped_up_at = known.session.stepped_up_at
        return overview_page(runtime, token=made)
