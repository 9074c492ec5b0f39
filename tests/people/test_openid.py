"""Sign-in with a provider: a real one, on loopback, that speaks OpenID Connect."""

from __future__ import annotations

import html
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from strongroom.db import Role
from strongroom.people import openid, providers
from strongroom.people.models import Identity
from strongroom.people.providers import Provider
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.people.cast import Browser, People, Somebody, browser, signed_in

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses parts of its library that are on their way out
    import oidc_provider_mock

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@dataclass(frozen=True)
class World:
    """A runtime that knows the provider, and the provider."""

    runtime: Runtime
    issuer: str

    def tell(self, subject: str, **claims: Any) -> None:
        """What the provider says of somebody."""
        answer = requests.put(f"{self.issuer}/users/{subject}", json=claims, timeout=60)
        assert answer.ok, answer.text

    def approve(self, away: str, subject: str) -> str:
        """Somebody signs in over there; where they are sent back to."""
        answer = requests.post(away, data={"sub": subject}, allow_redirects=False, timeout=60)
        back = urlsplit(answer.headers["Location"])
        return f"{back.path}?{back.query}"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with (
        warnings.catch_warnings(),
        oidc_provider_mock.run_server_in_thread() as server,
    ):
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def world(runtime: Runtime, issuer: str) -> World:
    known = Provider("office", "Office", issuer, "strongroom", "not so secret")
    return World(replace(runtime, settings=replace(runtime.settings, openid=(known,))), issuer)


def sent_away(visitor: Browser, on: str = "/sign-in") -> str:
    answer = visitor.post("/sign-in/with/office", on=on)
    found = re.search(r'content="0;url=([^"]+)"', answer.text)
    assert found is not None, answer.text
    return html.unescape(found[1])


def linked(world: World, who: Somebody, subject: str) -> None:
    with world.runtime.database.session(Role.PEOPLE) as db:
        now = world.runtime.now()
        db.add(
            Identity(account_id=who.account.id, issuer=world.issuer, subject=subject, linked_at=now)
        )


def came_in(world: World, subject: str) -> Browser:
    visitor = browser(world.runtime)
    visitor.get(world.approve(sent_away(visitor), subject))
    return visitor


def test_a_provider_that_proves_two_factors_is_enough(world: World) -> None:
    ada = People(world.runtime).staff(StaffRole.OPERATOR)
    linked(world, ada, "ada")
    world.tell("ada", amr=["pwd", "mfa"])

    assert came_in(world, "ada").get("/tenants").status_code == 200


def test_without_that_ours_comes_on_top(world: World) -> None:
    ada = People(world.runtime).staff(StaffRole.OPERATOR)
    linked(world, ada, "ada2")
    world.tell("ada2", amr=["pwd"])

    visitor = came_in(world, "ada2")

    assert visitor.get("/tenants").headers["Location"].startswith("/sign-in/second")
    assert visitor.second(ada.code(world.runtime.now())).status_code == 303


def test_a_viewer_needs_nothing_more(world: World, acme: Tenant) -> None:
    viewer = People(world.runtime).member(acme, TenantRole.VIEWER, app=False)
    linked(world, viewer, "vera")
    world.tell("vera")

    assert came_in(world, "vera").get("/t/acme/").status_code == 200


def test_an_address_of_mail_that_a_provider_vouches_for_opens_nothing(world: World) -> None:
    ada = People(world.runtime).staff(StaffRole.OPERATOR)
    world.tell("thief", email=ada.email, email_verified=True, amr=["mfa"])

    visitor = came_in(world, "thief")

    assert visitor.get("/tenants").headers["Location"].startswith("/sign-in?")


def test_an_identity_is_linked_from_a_session_after_a_step_up(world: World) -> None:
    who = People(world.runtime).staff(StaffRole.OPERATOR)
    world.tell("new", amr=["mfa"])
    stale = signed_in(world.runtime, who, stepped_up=False)
    assert (
        stale.post("/sign-in/with/office", on="/account/")
        .headers["Location"]
        .startswith("/step-up")
    )
    ada = signed_in(world.runtime, who)

    ada.get(world.approve(sent_away(ada, "/account/"), "new"))

    assert came_in(world, "new").get("/tenants").status_code == 200


def test_an_identity_of_another_account_is_not_taken_over(world: World) -> None:
    people = People(world.runtime)
    ada, ben = people.staff(StaffRole.OPERATOR), people.staff(StaffRole.READER)
    linked(world, ada, "taken")
    world.tell("taken", amr=["mfa"])
    visitor = signed_in(world.runtime, ben)

    answer = visitor.get(world.approve(sent_away(visitor, "/account/"), "taken"))

    assert answer.status_code == 401


def test_what_comes_back_counts_once_in_the_browser_that_was_sent_away(world: World) -> None:
    ada = People(world.runtime).staff(StaffRole.OPERATOR)
    linked(world, ada, "once")
    world.tell("once", amr=["mfa"])
    mine, thief = browser(world.runtime), browser(world.runtime)
    back = world.approve(sent_away(mine), "once")
    thief.get("/sign-in")

    assert thief.get(back).status_code == 401
    assert mine.get(back).status_code == 303
    assert mine.get(back).status_code == 401
    assert mine.get("/sign-in/back/office?code=x&state=y").status_code == 401
    assert mine.get("/sign-in/back/elsewhere?code=x&state=y").status_code == 401


def test_the_way_there_names_state_nonce_and_a_challenge_and_no_secret(world: World) -> None:
    asked = parse_qs(urlsplit(sent_away(browser(world.runtime))).query)

    assert {"state", "nonce", "code_challenge"} <= set(asked)
    assert asked["code_challenge_method"] == ["S256"]
    assert "not so secret" not in str(asked)


def token(key: RSAKey, issuer: str, **changed: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": "strongroom",
        "sub": "ada",
        "nonce": "n",
        "iat": now,
        "exp": now + 60,
        **changed,
    }
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": "RS256", "kid": key.kid}, kept, key)


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "somebody-else"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"azp": "somebody-else"},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_now_is_refused(changed: dict[str, Any]) -> None:
    key = RSAKey.generate_key(2048, auto_kid=True)
    keys = KeySet([key]).as_dict(private=False)
    office = Provider("office", "Office", "https://id.example", "strongroom", "secret")
    good = token(key, office.issuer)

    assert openid.read_token(office, good, keys, "n")["sub"] == "ada"
    with pytest.raises((JoseError, ValueError)):
        openid.read_token(office, token(key, office.issuer, **changed), keys, "n")


def test_a_token_that_another_key_or_none_signed_is_refused() -> None:
    key, other = (RSAKey.generate_key(2048, auto_kid=True) for _ in range(2))
    keys = KeySet([key]).as_dict(private=False)
    office = Provider("office", "Office", "https://id.example", "strongroom", "secret")
    head, body, _ = token(key, office.issuer).split(".")
    unsigned = "eyJhbGciOiJub25lIn0." + body + "."

    for bad in (token(other, office.issuer), unsigned, f"{head}.{body}.AAAA"):
        with pytest.raises((JoseError, ValueError)):
            openid.read_token(office, bad, keys, "n")


def test_settings_of_providers_that_cannot_be_used_are_said_without_their_secrets() -> None:
    whole = '[{"name":"o","label":"O","issuer":"%s","client_id":"c","client_secret":"hush"}]'

    assert providers.read(whole % "https://id.example/")[0].issuer == "https://id.example"
    for bad in ("{", "[{}]", whole % "http://id.example", '[{"name": "hush"}]'):
        with pytest.raises(ValueError, match=r"\w") as caught:
            providers.read(bad)
        assert "hush" not in str(caught.value)
