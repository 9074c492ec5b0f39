"""Signing in: address and password or a provider, then the second factor; step-up; sign out."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from strongroom.db import Role
from strongroom.people import accounts, limits, openid, passkeys, sessions, signing_in, tokens, totp
from strongroom.people.errors import BadAccount, NotProven, TooMany
from strongroom.people.models import Stage
from strongroom.people.passkeys import Site as Asker
from strongroom.people.providers import Provider
from strongroom.people.signing_in import Begun
from strongroom.runtime import Runtime
from web import cookies, scope
from web.cookies import Site
from web.pages import proving
from web.pages.language import N_

WRONG = N_("That is not right. Check the address and the password, then try again.")
WRONG_CODE = N_("That code is not right, or it was used before. Wait for the next one.")
TOO_MANY = N_("Too many tries. Wait a quarter of an hour, then try again.")
LINK_CLOSED = N_(
    "This link does not open anything: it was used, has ended, or was replaced by a newer one."
)
PROVIDER_FAILED = N_("The identity provider did not confirm it. Try again, or sign in another way.")
NO_ACCOUNT = N_("This identity is linked to no account here. Sign in another way, then link it.")


def make(runtime: Runtime, site: Site) -> Blueprint:
    """`/sign-in…`, `/step-up`, `/link/<token>`, `/sign-out`."""
    signing = Blueprint("signing", __name__)
    providers = {each.name: each for each in runtime.settings.openid}
    asker = Asker(site.origin)
    add_first(signing, runtime, providers)
    add_second(signing, runtime, asker)
    add_links(signing, runtime)
    add_providers(signing, runtime, site, providers)

    @signing.post("/sign-out")
    @scope.while_at(*Stage)
    def sign_out() -> AnyResponse:
        known = scope.known()
        with runtime.database.session(Role.PEOPLE) as db:
            sessions.revoke(db, known.account.id, known.session.id, now=runtime.now())
        cookies.give(tokens.new_token())
        return redirect(url_for("signing.sign_in"), code=303)

    return signing


def add_first(signing: Blueprint, runtime: Runtime, providers: dict[str, Provider]) -> None:
    def page(wrong: str | None = None, status: int = 200) -> tuple[str, int]:
        shown = render_template(
            "people/sign_in.html",
            wrong=wrong,
            providers=providers.values(),
            next=scope.inside(request.values.get("next")),
            email=request.form.get("email", ""),
        )
        return shown, status

    @signing.route("/sign-in", methods=["GET", "POST"])
    @scope.open_to_all
    def sign_in() -> tuple[str, int] | AnyResponse:
        if request.method == "GET":
            return page()
        email, password = request.form.get("email", ""), request.form.get("password", "")
        visit = cookies.visit(runtime)
        try:
            who = accounts.counted_as(email)
            limits.spend(runtime.database, limits.SIGN_IN_FROM, visit.address, now=visit.now)
            limits.spend(runtime.database, limits.SIGN_IN, who, now=visit.now)
        except TooMany:
            return page(TOO_MANY, 429)
        with runtime.database.session(Role.PEOPLE) as db:
            begun = signing_in.with_password(db, email, password, visit)
        if begun is None:
            return page(WRONG, 401)
        if begun.session.stage is Stage.WHOLE:
            limits.forgive(runtime.database, limits.SIGN_IN, who)
        return go_on(begun)


def go_on(begun: Begun) -> AnyResponse:
    """With the new token, to where this sign-in stands."""
    cookies.give(begun.token)
    wanted = scope.inside(request.values.get("next"))
    if begun.session.stage is Stage.SECOND:
        return redirect(url_for("signing.second", next=wanted), code=303)
    if begun.session.stage is Stage.ENROL:
        return redirect(url_for("enrolling.begin"), code=303)
    return redirect(wanted or url_for("home.home"), code=303)


def add_second(signing: Blueprint, runtime: Runtime, asker: Asker) -> None:
    """A second factor at sign-in, and the same again as a step-up."""

    def page(wrong: str | None = None, status: int = 200) -> tuple[str, int]:
        known = scope.known()
        with runtime.database.session(Role.PEOPLE) as db:
            app = totp.in_force(db, known.account) is not None
            keys = bool(passkeys.of_account(db, known.account))
        wanted = scope.inside(request.values.get("next"))
        again, asked = known.whole, request.values.get(proving.FIELD)
        shown = render_template(
            "people/second.html",
            wrong=wrong,
            app=app,
            keys=keys,
            next=wanted,
            again=again,
            why=proving.words(asked),
            code=proving.code_of(asked),
        )
        return shown, status

    def tried() -> tuple[str, int] | AnyResponse:
        if request.method == "GET":
            return page()
        known, now = scope.known(), runtime.now()
        try:
            limits.spend(runtime.database, limits.SECOND_FACTOR, str(known.account.id), now=now)
        except TooMany:
            return page(TOO_MANY, 429)
        with runtime.database.session(Role.PEOPLE) as db:
            mine = attached(db, known)
            token = signing_in.second_proof(
                db,
                runtime.vault.provider,
                mine,
                request.form.get("code", ""),
                now=now,
                device=device_time(runtime),
            )
        return page(WRONG_CODE, 401) if token is None else passed(token)

    def passed(token: str) -> AnyResponse:
        account = scope.known().account
        limits.forgive(runtime.database, limits.SECOND_FACTOR, str(account.id))
        limits.forgive(runtime.database, limits.SIGN_IN, account.email)
        cookies.give(token)
        wanted = scope.inside(request.values.get("next"))
        return redirect(wanted or url_for("home.home"), code=303)

    @signing.route("/sign-in/second", methods=["GET", "POST"])
    @scope.while_at(Stage.SECOND)
    def second() -> tuple[str, int] | AnyResponse:
        return tried()

    @signing.route("/step-up", methods=["GET", "POST"])
    @scope.own
    def step_up() -> tuple[str, int] | AnyResponse:
        return tried()

    @signing.post("/passkey/options")
    @scope.while_at(Stage.SECOND, Stage.WHOLE)
    def passkey_options() -> Response:
        with runtime.database.session(Role.PEOPLE) as db:
            mine = attached(db, scope.known())
            options = passkeys.ask_to_prove(db, asker, mine, now=runtime.now())
        return Response(options, mimetype="application/json")

    @signing.post("/passkey")
    @scope.while_at(Stage.SECOND, Stage.WHOLE)
    def passkey() -> tuple[dict[str, Any], int]:
        now = runtime.now()
        with runtime.database.session(Role.PEOPLE) as db:
            mine = attached(db, scope.known())
            if not passkeys.prove(db, asker, mine, answer_of(request), now=now):
                return {"ok": False}, 401
            token = sessions.prove(db, mine, ["hwk"], stage=Stage.WHOLE, now=now)
        goal = passed(token).headers["Location"]
        return {"ok": True, "next": goal}, 200


def add_links(signing: Blueprint, runtime: Runtime) -> None:
    @signing.get("/link/<token>")
    @scope.open_to_all
    def link(token: str) -> str:
        """Opened by a person's own click: programs that look at links use none up."""
        return render_template("people/link.html", token=token, wrong=None)

    @signing.post("/link/<token>")
    @scope.open_to_all
    def use_link(token: str) -> tuple[str, int] | AnyResponse:
        visit = cookies.visit(runtime)
        try:
            limits.spend(runtime.database, limits.LINK_FROM, visit.address, now=visit.now)
            with runtime.database.session(Role.PEOPLE) as db:
                begun, _ = signing_in.with_link(db, token, visit, demo=runtime.settings.demo)
        except TooMany:
            return render_template("people/link.html", token=token, wrong=TOO_MANY), 429
        except NotProven:
            return render_template("people/link.html", token=token, wrong=LINK_CLOSED), 401
        return go_on(begun)


def add_providers(
    signing: Blueprint, runtime: Runtime, site: Site, providers: dict[str, Provider]
) -> None:
    def back_to(name: str) -> str:
        return site.origin + url_for("signing.back", name=name)

    def failed(words: str) -> tuple[str, int]:
        shown = render_template(
            "people/sign_in.html", wrong=words, providers=providers.values(), next=None, email=""
        )
        return shown, 401

    @signing.post("/sign-in/with/<name>")
    @scope.open_to_all
    def with_provider(name: str) -> tuple[str, int] | AnyResponse:
        """Send the browser to the provider; somebody signed in comes back to link the identity."""
        provider = providers.get(name)
        if provider is None:
            return failed(PROVIDER_FAILED)
        known: sessions.Known | None = g.known
        linking = known is not None and known.session.stage is not Stage.SECOND
        if linking and not scope.fresh_for_own():
            return redirect(proving.address(proving.OWN, url_for("account.overview")), code=303)
        try:
            ends = openid.discover(provider)
        except NotProven:
            return failed(PROVIDER_FAILED)
        with runtime.database.session(Role.PEOPLE) as db:
            address = openid.send(
                db,
                provider,
                ends,
                browser=cookies.current(),
                back=back_to(name),
                link=known.account if known is not None and linking else None,
                now=runtime.now(),
            )
        return render_template("people/away.html", provider=provider, address=address), 200

    @signing.get("/sign-in/back/<name>")
    @scope.open_to_all
    def back(name: str) -> tuple[str, int] | AnyResponse:
        provider, visit = providers.get(name), cookies.visit(runtime)
        if provider is None:
            return failed(PROVIDER_FAILED)
        with runtime.database.session(Role.PEOPLE) as db:
            state = request.args.get("state", "")
            awaited = openid.back(db, provider, state, browser=g.token, now=visit.now)
        if awaited is None:
            return failed(PROVIDER_FAILED)
        try:
            code = request.args.get("code", "")
            proved = openid.exchange(provider, awaited, code, back=back_to(name))
            return came_back(provider, awaited.account_id, proved)
        except NotProven:
            return failed(PROVIDER_FAILED)

    def came_back(
        provider: Provider, linking: Any, proved: openid.Proved
    ) -> tuple[str, int] | AnyResponse:
        visit = cookies.visit(runtime)
        proofs = ["openid", *(["openid-mfa"] if proved.two else [])]
        with runtime.database.session(Role.PEOPLE) as db:
            if linking is not None:
                return linked(db, provider, linking, proved, proofs)
            account = openid.owner(db, provider, proved.subject)
            if account is None:
                return failed(NO_ACCOUNT)
            return go_on(signing_in.enter(db, account, visit, proofs=proofs))

    def linked(
        db: Any, provider: Provider, linking: Any, proved: openid.Proved, proofs: list[str]
    ) -> tuple[str, int] | AnyResponse:
        known = g.known
        if known is None or known.account.id != linking:
            return failed(PROVIDER_FAILED)
        mine, now = attached(db, known), runtime.now()
        try:
            openid.link(db, mine.account, provider, proved.subject, by=scope.actor(), now=now)
        except BadAccount:
            return failed(PROVIDER_FAILED)
        if mine.session.stage is Stage.ENROL:
            stage = signing_in.stage_after(db, mine.account, {*mine.session.proofs, *proofs})
            cookies.give(sessions.prove(db, mine, proofs, stage=stage, now=now))
        return redirect(url_for("account.overview"), code=303)


def attached(db: Any, known: sessions.Known) -> sessions.Known:
    """The same rows in this unit of work, locked: what is tried side by side takes turns."""
    row = db.get_one(type(known.session), known.session.id, with_for_update=True)
    if row.hashed != known.session.hashed or row.revoked_at is not None:
        raise NotProven("This session has changed meanwhile.")
    return sessions.Known(row, db.get_one(type(known.account), known.account.id))


def device_time(runtime: Runtime) -> Any:
    """The time that authenticator apps reckon with: a demo's shifted clock is not theirs."""
    return runtime.now() - runtime.settings.shift


def answer_of(asked: Any) -> dict[str, Any]:
    """What the browser's authenticator said; nothing where it is no JSON object."""
    found = asked.get_json(silent=True)
    return found if isinstance(found, dict) else {}
