"""The one cookie: a random token, of a session or of a visitor whom nobody knows yet.

With pages at https:// it is named `__Host-…`, so that no neighbour's site can set or read it. Plain
http is served at loopback only (an embedded stack), where browsers know no Secure cookies.

Forms carry another token that is derived from the cookie's: whoever cannot read the cookie cannot
make one. It changes with the cookie, so a form from before a sign-in opens nothing after.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, request

from strongroom.people import tokens
from strongroom.people.providers import is_loopback
from strongroom.people.sessions import Visit
from strongroom.runtime import Runtime

FORM_FIELD = "csrf"
HEADER = "X-Csrf"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
DAYS = 7


@dataclass(frozen=True)
class Site:
    """Where the pages are, as browsers see them."""

    origin: str  # https://backup.example.org

    @property
    def secure(self) -> bool:
        return self.origin.startswith("https://")

    @property
    def host(self) -> str:
        return urlsplit(self.origin).hostname or ""

    @property
    def local(self) -> bool:
        """Plain http, for this machine alone."""
        return not self.secure and is_loopback(self.host)

    @property
    def cookie(self) -> str:
        return "__Host-strongroom" if self.secure else "strongroom"


def site_of(runtime: Runtime) -> Site:
    parts = urlsplit(runtime.settings.web or "http://localhost")
    return Site(f"{parts.scheme}://{parts.netloc}")


def register(app: Flask, site: Site) -> None:
    """Read the cookie before a request, check forms, and set a new token after."""

    @app.before_request
    def read() -> None:
        g.token = request.cookies.get(site.cookie, "")
        if request.method not in SAFE:
            check_form()

    @app.after_request
    def write(response: Response) -> Response:
        token = g.get("new_token")
        if token is not None:
            response.set_cookie(
                site.cookie,
                token,
                max_age=DAYS * 86400,
                secure=site.secure,
                httponly=True,
                samesite="Lax",
                path="/",
            )
        return response

    app.jinja_env.globals["form_token"] = form_token


def check_form() -> None:
    """Refuse a form of somebody else's page. A header of the browser is believed when it warns."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        abort(403)
    given = request.headers.get(HEADER) or request.form.get(FORM_FIELD, "")
    if not g.token or not tokens.same(given, tokens.derived(g.token, "form")):
        abort(403)


def form_token() -> str:
    """For the forms of this page; a visitor without a cookie gets one."""
    return tokens.derived(current(), "form")


def current() -> str:
    """The token that the browser has after this answer."""
    new: str | None = g.get("new_token")
    if new is not None:
        return new
    return g.token or give(tokens.new_token())


def give(token: str) -> str:
    """The browser gets this token with the answer; forms on the page are made for it."""
    g.new_token = token
    return token


def visit(runtime: Runtime) -> Visit:
    """Where this request comes from."""
    return Visit(
        runtime.now(), request.remote_addr or "", request.headers.get("User-Agent", "")[:1000]
    )
