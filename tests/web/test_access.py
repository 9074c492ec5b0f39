"""Every route for every role, across two tenants: a new route without a rule fails here.

What is expected comes from the one table of roles and actions (tests/people/test_rules.py writes it
out); here is asked whether every page keeps to it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from flask import Flask
from werkzeug.routing import Rule

from strongroom.db import Role
from strongroom.people import grants
from strongroom.people.grants import Wish
from strongroom.people.rules import (
    RULES,
    Action,
    GrantScope,
    Person,
    StaffRole,
    TenantRole,
    Verdict,
    may,
)
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.people.cast import Browser, People, Somebody, Statements, signed_in
from web import scope
from web.app import create_app
from web.scope import Access

NO_ONE = uuid.UUID(int=1)
OPEN = {
    *("static", "probes.alive", "probes.ready", "metrics.show"),
    *("signing.sign_in", "signing.link"),
    *("signing.use_link", "signing.with_provider", "signing.back"),
}


@dataclass(frozen=True)
class World:
    """Two tenants, everybody there is, and one application."""

    app: Flask
    runtime: Runtime
    acme: Tenant
    people: dict[str, Somebody]
    grant: uuid.UUID  # asked for, in Bolt


@pytest.fixture
def world(runtime: Runtime, acme: Tenant, bolt: Tenant) -> World:
    people = People(runtime)
    cast = {f"acme-{role}": people.member(acme, role) for role in TenantRole}
    cast |= {f"bolt-{role}": people.member(bolt, role) for role in TenantRole}
    cast |= {str(role): people.staff(role) for role in StaffRole}
    now = runtime.now()
    with runtime.database.session(Role.PEOPLE, tenant=bolt.id) as db:
        wish = Wish(GrantScope.READ, "ticket 12: a file is missing", now + grants.LONGEST / 2)
        asker = cast[str(StaffRole.SUPPORT)].account
        asked = grants.ask(db, bolt.id, asker, wish, now=now).id
    return World(create_app(runtime), runtime, acme, cast, asked)


def routes(app: Flask) -> Iterator[tuple[Rule, str]]:
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) & {"GET", "POST", "PUT", "DELETE", "PATCH"}):
            yield rule, method


def address(rule: Rule, slug: str) -> str:
    values = {
        name: slug if name == "slug" else unlikely(type(converter).__name__)
        for name, converter in rule._converters.items()
    }
    built = rule.build(values, append_unknown=False)
    assert built is not None
    return built[1]


def unlikely(converter: str) -> object:
    """A value that nothing has."""
    return {"UUIDConverter": NO_ONE, "IntegerConverter": 999_999}.get(converter, "x")


def access(app: Flask, rule: Rule) -> Access:
    found = scope.access_of(app, rule.endpoint)
    assert found is not None, f"{rule} says nothing of who may open it: mark its view"
    return found


def test_every_route_says_who_may_open_it(world: World) -> None:
    seen = {rule.endpoint for rule, _ in routes(world.app)}
    is_open = {endpoint for endpoint in seen if access(world.app, rule_of(world, endpoint)).open}

    assert is_open == OPEN
    for rule, _ in routes(world.app):
        found = access(world.app, rule)
        if "slug" in rule.arguments and not rule.rule.startswith("/tenants/"):
            assert found.of_tenant, f"{rule} has a tenant in it: mark it scope.tenant"
            assert found.action in RULES


def rule_of(world: World, endpoint: str) -> Rule:
    return next(rule for rule in world.app.url_map.iter_rules() if rule.endpoint == endpoint)


def test_a_view_without_a_mark_is_closed_to_all(world: World) -> None:
    @world.app.get("/forgotten")
    def forgotten() -> str:
        return "everybody's data"

    for who in world.people.values():
        browser = signed_in(world.runtime, who, client=world.app.test_client())
        assert browser.get("/forgotten").status_code == 403
    assert world.app.test_client().get("/forgotten").status_code == 403


def test_nobody_opens_anything_but_the_way_in(world: World) -> None:
    stranger = Browser(world.app.test_client())
    token = stranger.token_of("/sign-in")
    for rule, method in routes(world.app):
        if access(world.app, rule).open:
            continue
        for slug in ("acme", "nobody"):
            answer = stranger.client.open(address(rule, slug), method=method, data={"csrf": token})
            assert answer.status_code == 303, (rule, method)
            assert answer.headers["Location"].startswith("/sign-in?"), rule


def test_every_form_without_its_token_is_refused_to_everybody(world: World) -> None:
    owner = world.people["acme-owner"]
    for who in (owner, world.people["operator"]):
        browser = signed_in(world.runtime, who, client=world.app.test_client())
        for rule, method in routes(world.app):
            if method == "GET":
                continue
            target = address(rule, "acme")
            for data in ({}, {"csrf": "wrong"}):
                assert browser.client.open(target, method=method, data=data).status_code == 403
            right = {"csrf": form_token_of(browser)}
            far = {"Sec-Fetch-Site": "cross-site"}
            answer = browser.client.open(target, method=method, data=right, headers=far)
            assert answer.status_code == 403, rule


def form_token_of(browser: Browser) -> str:
    return browser.token_of("/account/")


@pytest.mark.parametrize("slug", ["acme", "bolt", "nobody"])
def test_every_route_for_every_role_across_two_tenants(world: World, slug: str) -> None:
    for name, who in world.people.items():
        browser = signed_in(world.runtime, who, client=world.app.test_client())
        token = form_token_of(browser)
        for rule, method in routes(world.app):
            found = access(world.app, rule)
            if found.action is None:
                continue  # open, or about oneself
            answer = browser.client.open(address(rule, slug), method=method, data={"csrf": token})
            wanted = expected(world, name, who, found.action, slug, of_tenant=found.of_tenant)
            where = (name, rule.rule, method, slug, answer.status_code)
            if wanted is None:
                assert answer.status_code not in (401, 403), where
            else:
                assert answer.status_code == wanted, where
            if slug == "bolt" and name.startswith("acme"):
                assert "بولت" not in answer.text, where


def expected(
    world: World, name: str, who: Somebody, action: Action, slug: str, *, of_tenant: bool
) -> int | None:
    """404 or 403, or None where the view itself has its say."""
    home, _, role = name.partition("-")
    ours = who.account.staff is not None
    tenant = TenantRole(role) if not ours and home == slug and of_tenant else None
    if of_tenant and (slug == "nobody" or (not ours and home != slug)):
        return 404
    now = world.runtime.now()
    person = Person(who.account.id, who.account.staff, tenant, None, True, now)
    return None if may(person, action, now=now) is Verdict.YES else 403


def test_what_is_anothers_and_what_is_not_there_cost_the_same_and_look_the_same(
    world: World,
) -> None:
    for name in ("acme-owner", "acme-viewer"):
        browser = signed_in(world.runtime, world.people[name], client=world.app.test_client())
        token = form_token_of(browser)
        for rule, method in routes(world.app):
            if not access(world.app, rule).of_tenant:
                continue
            answers = set()
            for slug in ("bolt", "nobody"):
                with Statements(world.runtime) as statements:
                    target = address(rule, slug)
                    answer = browser.client.open(target, method=method, data={"csrf": token})
                text = answer.text.replace(f"/t/{slug}/", "/t/…/").replace(f"%2F{slug}%2F", "")
                answers.add((answer.status_code, text, len(statements.sent)))
            assert len(answers) == 1, rule
            assert answers.pop()[0] == 404


def test_a_row_of_another_tenant_is_as_good_as_none(world: World) -> None:
    owner = signed_in(world.runtime, world.people["acme-owner"], client=world.app.test_client())
    token, answers = form_token_of(owner), set()
    for grant in (world.grant, NO_ONE):
        with Statements(world.runtime) as statements:
            data = {"csrf": token, "answer": "yes"}
            answer = owner.client.post(f"/t/acme/access/grants/{grant}/decide", data=data)
        answers.add((answer.status_code, answer.text.replace(str(grant), ""), len(statements.sent)))

    assert len(answers) == 1
    assert answers.pop()[0] == 404
