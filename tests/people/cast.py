"""Who signs in, and the browser they do it with.

People        makes accounts and memberships: `People(runtime).staff(StaffRole.OPERATOR)`
Browser       a client that fills in the forms of a page as a person would, and follows
signed_in     a browser with a whole session, without the pages of signing in
"""

from __future__ import annotations

import itertools
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import pyotp
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from strongroom.actors import Actor, ActorKind
from strongroom.db import Role
from strongroom.people import accounts, recovery_codes, sessions, totp
from strongroom.people.accounts import NewAccount
from strongroom.people.models import Account, Stage
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.people.sessions import Visit
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web.app import create_app

PASSWORD = "a lamp, a rope and no map"
SOMEBODY = Actor(ActorKind.OPERATOR, "tests")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Somebody:
    """An account, and what its person knows."""

    account: Account
    secret: str  # of the authenticator app; empty: none
    codes: list[str]

    @property
    def email(self) -> str:
        return self.account.email

    def code(self, now: datetime) -> str:
        """What the app shows."""
        return pyotp.TOTP(self.secret).at(now)


@dataclass(frozen=True)
class People:
    """Makes people in a runtime."""

    runtime: Runtime

    def staff(self, role: StaffRole, **more: Any) -> Somebody:
        return self._made(staff=role, **more)

    def member(self, tenant: Tenant, role: TenantRole, **more: Any) -> Somebody:
        found = self._made(**more)
        self.join(found, tenant, role)
        return found

    def nobody(self, **more: Any) -> Somebody:
        """An account without any role."""
        return self._made(**more)

    def join(self, who: Somebody, tenant: Tenant, role: TenantRole) -> None:
        now = self.runtime.now()
        with self.runtime.database.session(Role.PEOPLE, tenant=tenant.id) as db:
            account = db.get_one(Account, who.account.id)
            accounts.join(db, tenant.id, account, role, by=SOMEBODY, now=now)

    def _made(
        self, *, staff: StaffRole | None = None, app: bool = True, email: str | None = None
    ) -> Somebody:
        now, number = self.runtime.now(), next(_numbers)
        new = NewAccount(email or f"person-{number}@example.org", f"Person {number}", staff)
        with self.runtime.database.session(Role.PEOPLE) as db:
            account = accounts.add(db, new, by=SOMEBODY, now=now)
            accounts.set_password(db, account, PASSWORD, by=SOMEBODY, now=now)
            secret, codes = "", []
            if app:
                secret = totp.start(db, self.runtime.vault.provider, account, now=now).secret
                shown = totp.pending(db, self.runtime.vault.provider, account)
                assert shown is not None
                shown.factor.confirmed_at = now
                codes = recovery_codes.make(db, account, by=SOMEBODY, now=now)
        return Somebody(account, secret, codes)


class Browser:
    """A browser that keeps one cookie, and posts the forms that pages carry."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, address: str, **more: Any) -> TestResponse:
        return self.client.get(address, **more)

    def token_of(self, address: str) -> str:
        """The form token that a page carries."""
        return form_token(self.client.get(address).text)

    def post(self, address: str, *, on: str, **fields: Any) -> TestResponse:
        """A form that stands on the page `on`."""
        data = {"csrf": self.token_of(on), "page": on, **fields}
        return self.client.post(address, data=data)

    def sign_in(self, who: Somebody, password: str = PASSWORD) -> TestResponse:
        return self.post("/sign-in", on="/sign-in", email=who.email, password=password)

    def second(self, code: str) -> TestResponse:
        return self.post("/sign-in/second", on="/sign-in/second", code=code)

    @property
    def cookie(self) -> str:
        found = self.client.get_cookie("strongroom")
        return "" if found is None else found.value

    @cookie.setter
    def cookie(self, token: str) -> None:
        self.client.set_cookie("strongroom", token)


def form_token(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    return "" if found is None else found[1]


def browser(runtime: Runtime) -> Browser:
    return Browser(create_app(runtime).test_client())


def signed_in(
    runtime: Runtime,
    who: Somebody,
    *,
    stage: Stage = Stage.WHOLE,
    proofs: tuple[str, ...] = ("pwd", "otp"),
    stepped_up: bool = True,
    client: FlaskClient | None = None,
) -> Browser:
    """A session as the pages make it; `stepped_up` just now, or never."""
    found = Browser(client or create_app(runtime).test_client())
    found.cookie = token_for(runtime, who, stage=stage, proofs=proofs, stepped_up=stepped_up)
    return found


def token_for(
    runtime: Runtime,
    who: Somebody,
    *,
    stage: Stage = Stage.WHOLE,
    proofs: tuple[str, ...] = ("pwd", "otp"),
    stepped_up: bool = True,
) -> str:
    with runtime.database.session(Role.PEOPLE) as db:
        visit = Visit(runtime.now(), "127.0.0.1", "a test")
        row, token = sessions.begin(db, who.account, visit, stage=stage, proofs=proofs)
        row.stepped_up_at = runtime.now() if stepped_up else None
    return token


class Statements:
    """What is sent to the database while the block lasts, over all roles."""

    def __init__(self, runtime: Runtime) -> None:
        self._engines = [
            runtime.database.engine(role) for role in (Role.PEOPLE, Role.WEB, Role.OPERATOR)
        ]
        self.sent: list[str] = []

    def __enter__(self) -> Self:
        for engine in self._engines:
            event.listen(engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            event.remove(engine, "before_cursor_execute", self._note)

    def _note(self, *call: Any) -> None:
        self.sent.append(call[2])


def session_id(runtime: Runtime, token: str) -> uuid.UUID:
    with runtime.database.session(Role.PEOPLE) as db:
        known = sessions.find(db, token, now=runtime.now())
        assert known is not None
        return known.session.id
