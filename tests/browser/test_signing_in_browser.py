"""The pages around signing in, in a real browser: in both languages, narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from strongroom.alerts import keeping
from strongroom.alerts.deciding import Trouble
from strongroom.db import Role
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.browser.serving import served
from tests.browser.window import Window
from tests.people.cast import PASSWORD, People, token_for

Opener = Callable[..., Window]
WORDS = {
    "en": ("E-mail address", "Password", "Sign in", "Code", "Go on"),
    "ar": ("البريد الإلكتروني", "كلمة المرور", "تسجيل الدخول", "الرمز", "متابعة"),
}


@pytest.fixture
def origin(runtime: Runtime) -> Iterator[str]:
    with served(runtime) as address:
        yield address


@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_owner_signs_in_with_password_and_code(
    runtime: Runtime, acme: Tenant, origin: str, open_window: Opener, language: str, scheme: str
) -> None:
    owner = People(runtime).member(acme, TenantRole.OWNER)
    window = open_window(origin, locale=language, color_scheme=scheme)
    email, password, sign_in, code, go_on = WORDS[language]

    window.go("/")
    assert window.page.locator("html").get_attribute("dir") == {"en": "ltr", "ar": "rtl"}[language]
    window.looked_at()
    window.fill(email, owner.email)
    window.fill(password, PASSWORD)
    window.press(sign_in)
    window.looked_at()
    window.fill(code, owner.code(runtime.now()))
    window.press(go_on)

    assert "/t/acme" in window.path or window.path == "/"
    window.looked_at()


WRONG = [
    Trouble("tenants.overdue", "tenants.overdue", severe=True, count=500, worst="acme"),
    Trouble("region.clock:region-b", "region.clock", severe=False),
]
PAGES = {
    "acme-owner": ("/", "/t/acme/", "/t/acme/access", "/account/", "/account/app"),
    "operator": (
        *("/", "/tenants/acme", "/days", "/failures", "/alerts/"),
        *("/support/", "/account/", "/nowhere"),
    ),
}


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.long), "ar"])
@pytest.mark.parametrize("who", PAGES)
def test_nothing_serious_is_wrong_with_any_page(
    runtime: Runtime, acme: Tenant, origin: str, open_window: Opener, who: str, language: str
) -> None:
    people = People(runtime)
    staff = who == "operator"
    person = people.staff(StaffRole.OPERATOR) if staff else people.member(acme, TenantRole.OWNER)
    with runtime.database.session(Role.OPERATOR) as session:
        keeping.keep(session, WRONG, now=runtime.now())
    for scheme in ("light", "dark"):
        window = open_window(origin, locale=language, color_scheme=scheme)
        token = token_for(runtime, person)
        window.page.context.add_cookies(
            [{"name": "strongroom", "value": token, "url": origin, "httpOnly": True}]
        )
        for address in PAGES[who]:
            window.go(address)
            if address == "/nowhere":
                window.complaints.clear()  # the browser says so of any 404
            window.looked_at()


def test_a_passkey_of_the_browser_is_enrolled_and_signs_in(
    runtime: Runtime, acme: Tenant, origin: str, open_window: Opener
) -> None:
    owner = People(runtime).member(acme, TenantRole.OWNER)
    window = open_window(origin, locale="en")
    devices = window.page.context.new_cdp_session(window.page)
    devices.send("WebAuthn.enable")
    key = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": key})
    token = token_for(runtime, owner)
    window.page.context.add_cookies([{"name": "strongroom", "value": token, "url": origin}])

    window.go("/account/")
    window.page.locator("[data-passkey=create]").click()
    window.page.wait_for_load_state("networkidle")
    window.go("/account/")
    window.press("Sign out")
    window.fill("E-mail address", owner.email)
    window.fill("Password", PASSWORD)
    window.press("Sign in")
    window.page.locator("[data-passkey=prove]").click()
    window.page.wait_for_url(lambda url: "/sign-in" not in url)

    assert window.complaints == []
    assert window.page.get_by_role("link", name=owner.account.name).is_visible()
