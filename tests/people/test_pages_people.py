"""The pages of people in both languages: words, direction, labels, and nothing inline."""

from __future__ import annotations

import re

import pytest

from strongroom.people.models import LinkPurpose, Stage
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.people.cast import Browser, People, browser, signed_in
from tests.people.test_enrolling import link_for
from tests.people.test_support import asked
from tests.web.test_pages import LATIN_WORD, visible

NAMES = {"English", "Acme", "Trading", "Person"}


@pytest.fixture
def pages(runtime: Runtime, acme: Tenant) -> dict[str, Browser]:
    """Every page, and somebody who may open it."""
    people = People(runtime)
    ada, sami = people.staff(StaffRole.OPERATOR), people.staff(StaffRole.SUPPORT)
    asked(runtime, acme, sami)
    new = people.staff(StaffRole.OPERATOR, app=False)
    owner = signed_in(runtime, people.member(acme, TenantRole.OWNER))
    half = signed_in(runtime, ada, stage=Stage.SECOND, proofs=("pwd",), stepped_up=False)
    return {
        "/sign-in": browser(runtime),
        link_for(runtime, new, LinkPurpose.INVITE): browser(runtime),
        "/sign-in/second": half,
        "/begin": signed_in(runtime, new, stage=Stage.ENROL, proofs=(), stepped_up=False),
        "/account/": signed_in(runtime, ada),
        "/account/app": signed_in(runtime, ada),
        "/account/codes": signed_in(runtime, ada),
        "/step-up": signed_in(runtime, ada),
        "/support/": signed_in(runtime, ada),
        "/": signed_in(runtime, people.nobody()),
        "/t/acme/": owner,
        "/t/acme/access": owner,
    }


def test_every_page_speaks_both_languages_and_has_nothing_inline(
    pages: dict[str, Browser],
) -> None:
    for address, who in pages.items():
        english, arabic = (who.get(f"{address}?lang={code}") for code in ("en", "ar"))
        assert (english.status_code, arabic.status_code) == (200, 200), address
        assert '<html lang="ar" dir="rtl">' in arabic.text
        words = set(LATIN_WORD.findall(visible(arabic.text))) - NAMES
        assert not words, (address, words)
        for answer in (english, arabic):
            policy = answer.headers["Content-Security-Policy"]
            assert "unsafe" not in policy
            inline = r"<style|<script(?![^>]*src=)|\sstyle=|\son\w+=|hx-on"
            assert not re.search(inline, answer.text), address
            assert not re.search(r"(src|href)=\"(https?:)?//", answer.text), address
            assert answer.headers["Cache-Control"] == "no-store"


def test_every_field_has_a_label_and_every_form_its_token(pages: dict[str, Browser]) -> None:
    for address, who in pages.items():
        page = who.get(address).text
        labels = set(re.findall(r'<label for="([^"]+)"', page))
        for tag in re.findall(r"<(?:input|select|textarea)\b[^>]*>", page):
            if 'type="hidden"' in tag or " hidden" in tag:
                continue
            found = re.search(r'\bid="([^"]+)"', tag)
            assert found is not None, (address, tag)
            assert found[1] in labels, (address, tag)
        forms = re.findall(r"<form\b.*?</form>", page, flags=re.DOTALL)
        assert all('name="csrf"' in form and 'method="post"' in form for form in forms), address
        ids = re.findall(r'\sid="([^"]+)"', page)
        assert len(ids) == len(set(ids)), address


def test_a_name_with_markup_in_it_stays_text(runtime: Runtime, acme: Tenant) -> None:
    owner = signed_in(runtime, People(runtime).member(acme, TenantRole.OWNER))
    fields = {"name": "<script>alert(1)</script>", "email": "x@example.org", "role": "viewer"}

    page = owner.post("/t/acme/access/members", on="/t/acme/access", **fields).text

    assert "&lt;script&gt;alert" in page
    assert "<script>alert" not in page
