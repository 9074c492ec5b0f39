"""Setting up: the first password after an invitation, the authenticator app, passkeys, codes."""

from __future__ import annotations

import io
from typing import Any

import segno
from flask import Blueprint, Response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from strongroom.db import Role
from strongroom.people import accounts, limits, passkeys, recovery_codes, sessions, signing_in, totp
from strongroom.people.errors import BadAccount, TooMany
from strongroom.people.models import Account, Stage
from strongroom.people.passkeys import Site as Asker
from strongroom.runtime import Runtime
from web import cookies, scope
from web.cookies import Site
from web.pages import proving
from web.pages.language import N_
from web.pages.signing import TOO_MANY, WRONG_CODE, answer_of, attached, device_time

UNEQUAL = N_("The two passwords are not the same.")
LENGTH = N_("A password has 12 to 200 characters.")
FIRST = signing_in.FIRST


def make(runtime: Runtime, site: Site) -> Blueprint:
    """`/begin`, `/account/app`, `/account/passkeys`, `/account/codes`."""
    enrolling = Blueprint("enrolling", __name__)
    asker = Asker(site.origin)
    add_password(enrolling, runtime)
    add_app(enrolling, runtime)
    add_passkeys(enrolling, runtime, asker)
    add_codes(enrolling, runtime)
    return enrolling


def add_password(enrolling: Blueprint, runtime: Runtime) -> None:
    @enrolling.get("/begin")
    @scope.while_at(Stage.ENROL)
    def begin() -> str:
        return page()

    def page(wrong: str | None = None) -> str:
        known = scope.known()
        first = bool(FIRST & set(known.session.proofs))
        return render_template(
            "people/begin.html",
            first=first,
            wrong=wrong,
            email=known.account.email,
            providers=runtime.settings.openid,
        )

    @enrolling.post("/begin/password")
    @scope.while_at(Stage.ENROL)
    def password() -> tuple[str, int] | AnyResponse:
        if FIRST & set(scope.known().session.proofs):
            return redirect(url_for("enrolling.begin"), code=303)
        chosen = request.form.get("password", "")
        if chosen != request.form.get("again", ""):
            return page(UNEQUAL), 422
        now = runtime.now()
        try:
            with runtime.database.session(Role.PEOPLE) as db:
                mine = attached(db, scope.known())
                accounts.set_password(db, mine.account, chosen, by=scope.actor(), now=now)
                stage = signing_in.stage_after(db, mine.account, {*mine.session.proofs, "pwd"})
                cookies.give(sessions.prove(db, mine, ["pwd"], stage=stage, now=now))
        except BadAccount:
            return page(LENGTH), 422
        return redirect(url_for("home.home"), code=303)


def add_app(enrolling: Blueprint, runtime: Runtime) -> None:
    def page(wrong: str | None = None) -> str:
        with runtime.database.session(Role.PEOPLE) as db:
            account = db.get_one(Account, scope.known().account.id)
            shown = totp.pending(db, runtime.vault.provider, account)
            if shown is None:
                shown = totp.start(db, runtime.vault.provider, account, now=runtime.now())
        groups = [shown.secret[at : at + 4] for at in range(0, len(shown.secret), 4)]
        return render_template(
            "people/app.html", qr=drawn(shown.address), secret=" ".join(groups), wrong=wrong
        )

    @enrolling.route("/account/app", methods=["GET", "POST"])
    @scope.while_at(Stage.ENROL, Stage.WHOLE)
    def app() -> str | tuple[str, int] | AnyResponse:
        known, now = scope.known(), runtime.now()
        if (away := asked_first(runtime)) is not None:
            return away
        if request.method == "GET":
            return page()
        try:
            limits.spend(runtime.database, limits.SECOND_FACTOR, str(known.account.id), now=now)
        except TooMany:
            return page(TOO_MANY), 429
        with runtime.database.session(Role.PEOPLE) as db:
            mine = attached(db, known)
            typed, device = request.form.get("code", ""), device_time(runtime)
            provider, by = runtime.vault.provider, scope.actor()
            right = totp.confirm(db, provider, mine.account, typed, by=by, now=device)
            codes = enrolled(db, mine, "otp", now=now) if right else []
        return shown_codes(codes) if right else (page(WRONG_CODE), 401)


def asked_first(runtime: Runtime) -> AnyResponse | None:
    """To the page that has to come before a factor is set up: a password, or a step-up."""
    known = scope.known()
    if known.session.stage is Stage.ENROL:
        first = bool(FIRST & set(known.session.proofs))
        return None if first else redirect(url_for("enrolling.begin"), code=303)
    with runtime.database.session(Role.PEOPLE) as db:
        none_yet = not signing_in.has_factor(db, known.account)
    if none_yet or scope.fresh_for_own():
        return None
    return redirect(proving.address(proving.OWN, request.path), code=303)


def enrolled(db: Any, mine: sessions.Known, proof: str, *, now: Any) -> list[str]:
    """A factor was set up and proven by it: the session is whole; recovery codes if none are left."""
    cookies.give(sessions.prove(db, mine, [proof], stage=Stage.WHOLE, now=now))
    sessions.revoke_all(db, mine.account.id, now=now, but=mine.session.id)
    if recovery_codes.left(db, mine.account):
        return []
    return recovery_codes.make(db, mine.account, by=scope.actor(), now=now)


def shown_codes(codes: list[str]) -> str | AnyResponse:
    if not codes:
        return redirect(url_for("account.overview"), code=303)
    return render_template("people/codes.html", codes=codes)


def add_passkeys(enrolling: Blueprint, runtime: Runtime, asker: Asker) -> None:
    @enrolling.post("/account/passkeys/options")
    @scope.while_at(Stage.ENROL, Stage.WHOLE)
    def passkey_options() -> Response:
        if asked_first(runtime) is not None:
            return Response(status=401)
        with runtime.database.session(Role.PEOPLE) as db:
            mine = attached(db, scope.known())
            options = passkeys.ask_to_register(db, asker, mine, now=runtime.now())
        return Response(options, mimetype="application/json")

    @enrolling.post("/account/passkeys")
    @scope.while_at(Stage.ENROL, Stage.WHOLE)
    def add_passkey() -> tuple[dict[str, Any], int]:
        if asked_first(runtime) is not None:
            return {"ok": False}, 401
        answer, now = answer_of(request), runtime.now()
        name, by = str(request.args.get("name", "")), scope.actor()
        with runtime.database.session(Role.PEOPLE) as db:
            mine = attached(db, scope.known())
            if not passkeys.register(db, asker, mine, answer, name=name, by=by, now=now):
                return {"ok": False}, 401
            token = sessions.prove(db, mine, ["hwk"], stage=Stage.WHOLE, now=now)
            cookies.give(token)
            wanted = "enrolling.codes" if not recovery_codes.left(db, mine.account) else None
        return {"ok": True, "next": url_for(wanted or "account.overview")}, 200


def add_codes(enrolling: Blueprint, runtime: Runtime) -> None:
    @enrolling.route("/account/codes", methods=["GET", "POST"])
    @scope.own
    def codes() -> str | AnyResponse:
        """Asked for by a form: a page that is merely opened makes none."""
        if not scope.fresh_for_own():
            return redirect(proving.address(proving.OWN, request.path), code=303)
        if request.method == "GET":
            return render_template("people/codes.html", codes=[])
        with runtime.database.session(Role.PEOPLE) as db:
            account = db.get_one(Account, scope.known().account.id)
            made = recovery_codes.make(db, account, by=scope.actor(), now=runtime.now())
        return render_template("people/codes.html", codes=made)


def drawn(address: str) -> Markup:
    """A QR code as SVG that stands in the page: no file, no script, no style of its own."""
    out = io.BytesIO()
    segno.make(address, error="m").save(
        out,
        kind="svg",
        scale=4,
        border=4,
        dark="#000",
        light="#fff",
        xmldecl=False,
        svgns=False,
        svgclass="qr",
        lineclass=None,
        omitsize=True,
    )
    return Markup(out.getvalue().decode())  # noqa: S704 - made here, of an address that is escaped
