"""Previews and downloads on the pages: who may, once, and what a browser is told."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select, update

from backup.models import Point, Source
from restore.delivery import looking, making
from restore.delivery.models import Delivery
from restore.delivery.states import DeliveryState, End
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.lifecycle import Step
from strongroom.people import accounts, record, sessions
from strongroom.people.rules import TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.cast import FakeClock
from tests.people.cast import Browser, People, Somebody, Statements, session_id, signed_in
from tests.restore.delivering import Counter, listed
from tests.web.test_pages import LATIN_WORD, visible
from web.pages import delivery_words, giving

DATA = os.urandom(5 * 1024 * 1024 + 123)
EVIL = "a\n<script>alert(1)<\u202egnp.exe"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


@dataclass
class Desk:
    """Acme with one point, its owner at a browser, and everybody else."""

    runtime: Runtime
    tenant: Tenant
    point: Point
    source: Source
    owner: Somebody
    browser: Browser
    people: People

    def choose(self, path: str, *, by: Browser | None = None) -> Any:
        return (by or self.browser).post(
            "/t/acme/downloads/choose",
            on="/account/",
            point=str(self.point.number),
            source=str(self.source.id),
            path=quote(path, safe="/"),
        )

    def asked(self, path: str) -> str:
        """The address of the download's page, confirmed."""
        answer = self.choose(path)
        assert answer.status_code == 303, answer.text
        page = answer.headers["Location"]
        answer = self.browser.post(page + "/confirm", on=page)
        assert (answer.status_code, answer.headers["Location"]) == (303, page)
        return page

    def made(self, path: str) -> str:
        page = self.asked(path)
        making.carry_out(self.runtime, self.tenant.id, self.row(page).id)
        assert self.row(page).state is DeliveryState.READY, self.row(page).failure
        return page

    def redeemed(self, path: str) -> str:
        """The address that serves."""
        page = self.made(path)
        answer = self.browser.post(page + "/redeem", on=page)
        assert answer.status_code == 303
        return str(answer.headers["Location"])

    def look(self, path: str, *, by: Browser | None = None) -> Any:
        return (by or self.browser).post(
            "/t/acme/previews",
            on="/account/",
            point=str(self.point.number),
            source=str(self.source.id),
            path=quote(path, safe="/"),
        )

    def looked(self, path: str) -> str:
        page = str(self.look(path).headers["Location"])
        making.carry_out(self.runtime, self.tenant.id, self.row(page).id)
        return page

    def row(self, page: str) -> Delivery:
        id = page.split("/")[4]
        with self.runtime.database.session(Role.WORKER, tenant=self.tenant.id) as session:
            return session.get_one(Delivery, id)


@pytest.fixture
def desk(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Desk:
    folder = tmp_path / "office"
    folder.mkdir()
    (folder / "data.bin").write_bytes(DATA)
    (folder / "note.txt").write_text("safe\u202eelif \x1b[31m <script>alert(1)</script>\nسطر\n")
    (folder / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>")
    (folder / "dot.png").write_bytes(PNG)
    (folder / EVIL).write_text("x")
    source = cast.add_folder(runtime, acme, folder)
    point = listed(runtime, acme)
    people = People(runtime)
    owner = people.member(acme, TenantRole.OWNER)
    browser = signed_in(runtime, owner)
    return Desk(runtime, acme, point, source, owner, browser, people)


def test_a_download_from_choosing_to_the_last_byte(desk: Desk) -> None:
    page = str(desk.choose("/data.bin").headers["Location"])
    proposal = desk.browser.get(page).text
    assert "data.bin" in proposal and "5.0 MiB" in proposal
    assert desk.row(page).state is DeliveryState.PROPOSED
    desk.browser.post(page + "/confirm", on=page)
    assert "waiting to start" in desk.browser.get(page).text
    making.carry_out(desk.runtime, desk.tenant.id, desk.row(page).id)
    ready = desk.browser.get(page).text
    assert hashlib.sha256(DATA).hexdigest() in ready and "Download now" in ready

    address = desk.browser.post(page + "/redeem", on=page).headers["Location"]
    answer = desk.browser.get(address)

    assert answer.data == DATA
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=\"data.bin\"; filename*=UTF-8''data.bin"
    )
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert desk.row(page).ended_as is End.COMPLETE
    assert desk.browser.get(address).status_code == 404
    assert "Everything was sent." in desk.browser.get(page).text


def test_ranges_as_browsers_ask_for_them(desk: Desk) -> None:
    address = desk.redeemed("/data.bin")
    get = desk.browser.client.get
    tag = desk.browser.client.head(address).headers["ETag"]

    def asked(range_: str, **more: str) -> Any:
        return get(address, headers={"Range": range_, **more})

    assert asked("bytes=0-0").data == DATA[:1]
    middle = asked("bytes=1048570-2097160", **{"If-Range": tag})
    assert (middle.status_code, middle.data) == (206, DATA[1048570:2097161])
    assert middle.headers["Content-Range"] == f"bytes 1048570-2097160/{len(DATA)}"
    assert asked("bytes=-3").data == DATA[-3:]
    beyond = asked(f"bytes={len(DATA)}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")
    for odd in ("bytes=5-3", "bytes=a-b", "bytes=-", "chunks=1-2", "bytes=0-1,3-4"):
        answer = desk.browser.client.head(address, headers={"Range": odd})
        assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(len(DATA))), odd
    other = desk.browser.client.head(address, headers={"Range": "bytes=1-2", "If-Range": '"x"'})
    assert other.status_code == 200
    assert asked("bytes=0-").data == DATA
    assert asked("bytes=0-0").status_code == 404  # complete


def test_a_link_is_for_one_person_in_one_session_once(desk: Desk) -> None:
    page = desk.made("/data.bin")
    again = signed_in(desk.runtime, desk.owner)
    colleague = signed_in(desk.runtime, desk.people.member(desk.tenant, TenantRole.ADMIN))

    assert "in another browser" in again.get(page).text
    assert again.post(page + "/redeem", on="/account/").status_code == 404
    assert colleague.get(page).status_code == 404
    assert colleague.post(page + "/redeem", on="/account/").status_code == 404
    address = desk.browser.post(page + "/redeem", on=page).headers["Location"]
    assert desk.browser.post(page + "/redeem", on=page).status_code == 404
    for other in (again, colleague):
        assert other.get(address).status_code == 404
    assert desk.browser.get(address + "x").status_code == 404
    assert desk.browser.client.get(address, headers={"Range": "bytes=0-9"}).status_code == 206


def test_a_link_survives_a_step_up_of_its_session(desk: Desk) -> None:
    address = desk.redeemed("/data.bin")
    with desk.runtime.database.session(Role.PEOPLE) as db:
        known = sessions.find(db, desk.browser.cookie, now=desk.runtime.now())
        assert known is not None
        token = sessions.prove(
            db, known, ["otp"], stage=known.session.stage, now=desk.runtime.now()
        )
    desk.browser.cookie = token

    assert desk.browser.get(address).data == DATA


def test_nothing_is_served_after_the_end_however_it_came(desk: Desk, clock: FakeClock) -> None:
    revoked, expired = desk.redeemed("/data.bin"), desk.redeemed("/data.bin")
    page = revoked.rpartition("/")[0]
    assert desk.browser.post(page + "/take-back", on=page).status_code == 303
    assert desk.browser.get(revoked).status_code == 404
    assert "It can no longer be downloaded." in desk.browser.get(page).text

    clock.forward(hours=8, minutes=1)
    assert desk.browser.get(expired).status_code == 404


@pytest.mark.parametrize(
    "what",
    ["session", *(pytest.param(each, marks=pytest.mark.long) for each in ("member", "delivery"))],
)
def test_who_loses_the_right_gets_no_further_chunk(desk: Desk, what: str) -> None:
    address = desk.redeemed("/data.bin")
    answer = desk.browser.client.get(address, buffered=False)
    pieces = iter(answer.response)
    got = next(pieces)
    now = desk.runtime.now()
    with desk.runtime.database.session(Role.PEOPLE, tenant=desk.tenant.id) as db:
        if what == "session":
            own = session_id(desk.runtime, desk.browser.cookie)
            assert sessions.revoke(db, desk.owner.account.id, own, now=now)
        elif what == "member":
            row = accounts.membership(db, desk.tenant.id, desk.owner.account.id)
            assert row is not None
            row.role = TenantRole.VIEWER
    if what == "delivery":
        Counter(desk.runtime, desk.tenant).take_back(desk.row(address))

    with pytest.raises(Exception, match="served no longer"):
        got += b"".join(pieces)
    answer.close()

    assert len(got) <= 1024 * 1024


def test_confirming_asks_for_a_fresh_proof_and_the_choice_is_kept(desk: Desk) -> None:
    stale = signed_in(desk.runtime, desk.owner, stepped_up=False)
    page = str(desk.choose("/data.bin", by=stale).headers["Location"])

    answer = stale.post(page + "/confirm", on=page)

    assert answer.headers["Location"].startswith("/step-up?next=")
    assert desk.row(page).state is DeliveryState.PROPOSED
    assert "data.bin" in stale.get(page).text


def test_a_viewer_sees_and_takes_nothing(desk: Desk) -> None:
    page, looked = desk.made("/data.bin"), desk.looked("/note.txt")
    viewer = signed_in(desk.runtime, desk.people.member(desk.tenant, TenantRole.VIEWER))

    assert desk.choose("/data.bin", by=viewer).status_code == 403
    assert desk.look("/note.txt", by=viewer).status_code == 403
    for address in (page, looked, looked + "/image", page + "/token", "/t/acme/downloads"):
        assert viewer.get(address).status_code == 403, address


def test_what_is_anothers_is_as_good_as_none(desk: Desk, bolt: Tenant) -> None:
    page, looked = desk.made("/data.bin"), desk.looked("/note.txt")
    outsider = signed_in(desk.runtime, desk.people.member(bolt, TenantRole.OWNER))
    token = outsider.token_of("/account/")
    theirs = [each.replace("/t/acme/", "/t/bolt/") for each in (page, looked)]
    for address in (*theirs, theirs[0] + "/some-token", theirs[1] + "/image"):
        costs = set()
        for id in (address.split("/")[4], str(new_id())):
            with Statements(desk.runtime) as statements:
                answer = outsider.get(address.replace(address.split("/")[4], id))
            costs.add((answer.status_code, len(statements.sent), answer.text.replace(id, "")))
        assert len(costs) == 1, address
        assert costs.pop()[0] == 404
    for act in ("confirm", "redeem", "take-back"):
        answer = outsider.client.post(f"{theirs[0]}/{act}", data={"csrf": token})
        assert answer.status_code == 404, act
    assert desk.row(page).state is DeliveryState.READY


def test_a_text_is_shown_with_what_it_hides_and_nothing_in_it_runs(desk: Desk) -> None:
    page = desk.looked("/note.txt")

    shown = desk.browser.get(page).text

    assert "safe\\u202eelif \\x1b[31m &lt;script&gt;alert(1)&lt;/script&gt;\nسطر" in shown
    assert "<script>alert" not in shown
    assert "<dd>Text</dd>" in shown
    assert "text/plain" not in shown
    assert desk.look("/note.txt").headers["Location"] == page  # the second look is there at once


def test_every_kind_that_a_preview_tells_has_words() -> None:
    kinds = {kind for _, kind in looking.MAGIC} | giving.PICTURES
    beginnings = (b"text", b"\x00\x01", b"\x00\x00\x00\x18ftypmp42")
    kinds |= {looking.look(each, whole=True).mime for each in beginnings}

    assert kinds == set(delivery_words.LOOKS)


def test_a_picture_is_shown_by_what_it_is_and_markup_is_not(desk: Desk) -> None:
    page, vector = desk.looked("/dot.png"), desk.looked("/page.svg")

    answer = desk.browser.get(page + "/image")
    assert (answer.data, answer.headers["Content-Type"]) == (PNG, "image/png")
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert desk.browser.get(vector + "/image").status_code == 404
    assert "&lt;svg" in desk.browser.get(vector).text  # as the text it is


def test_a_preview_is_over_after_ten_minutes(desk: Desk, clock: FakeClock) -> None:
    page, picture = desk.looked("/note.txt"), desk.looked("/dot.png")
    clock.forward(minutes=11)

    assert "This preview is over." in desk.browser.get(page).text
    assert desk.browser.get(picture + "/image").status_code == 404
    assert desk.look("/note.txt").headers["Location"] != page


def test_a_hostile_name_harms_no_page_and_no_header(desk: Desk) -> None:
    address = desk.redeemed("/" + EVIL)
    page = desk.browser.get(address.rpartition("/")[0]).text
    assert "<script>alert" not in page and "\u202e" not in page

    header = desk.browser.client.head(address).headers["Content-Disposition"]

    assert header == (
        'attachment; filename="a__script_alert(1)__gnp.exe"; '
        "filename*=UTF-8''a__script_alert%281%29__gnp.exe"
    )


def test_who_took_what_from_where_is_on_record(desk: Desk) -> None:
    address = desk.redeemed("/data.bin")
    assert desk.browser.get(address).data == DATA
    row = desk.row(address)

    with desk.runtime.database.session(Role.WORKER, tenant=desk.tenant.id) as session:
        wanted = select(Step).where(Step.row_id == row.id).order_by(Step.at, Step.id)
        steps = {each.code: each for each in session.execute(wanted).scalars()}
    with desk.runtime.database.session(Role.PEOPLE) as db:
        events = {each.code: each for each in record.of_account(db, desk.owner.account.id)}

    for code in ("download-confirmed", "download-redeemed", "download-complete"):
        assert steps[code].by == f"person:{desk.owner.account.id}"
        assert steps[code].params["from"] == "127.0.0.1"
    assert steps["download-complete"].params["bytes"] == len(DATA)
    assert events["people.download-fetched"].about_id == row.id


def test_what_does_not_open_is_not_begun_and_its_page_says_why(desk: Desk) -> None:
    address, damaged = desk.redeemed("/data.bin"), desk.redeemed("/note.txt")
    row = desk.row(address)
    with desk.runtime.database.session(Role.WORKER, tenant=desk.tenant.id) as session:
        moved = update(Delivery).where(Delivery.id == desk.row(damaged).id)
        session.execute(moved.values(sealed=row.sealed))  # another one's key
    assert desk.browser.get(damaged).status_code == 404
    assert desk.row(damaged).ended_as is End.FAILED
    assert "could not be prepared" in desk.browser.get(damaged.rpartition("/")[0]).text
    counter = Counter(desk.runtime, desk.tenant)
    whole = counter.store().get(str(row.object_key))
    version = counter.store().put(str(row.object_key), whole[:100] + b"x" + whole[101:])
    with desk.runtime.database.session(Role.WORKER, tenant=desk.tenant.id) as session:
        session.execute(update(Delivery).where(Delivery.id == row.id).values(version_id=version))

    assert (
        desk.browser.get(address).data == DATA
    )  # the version that was made is the one that is read


def test_every_page_speaks_both_languages_and_is_light(desk: Desk) -> None:
    proposed = str(desk.choose("/data.bin").headers["Location"])
    looked, pending = desk.looked("/note.txt"), str(desk.look("/dot.png").headers["Location"])
    pages = (proposed, desk.made("/data.bin"), desk.asked("/data.bin"), pending, looked)
    for address in (*pages, "/t/acme/downloads"):
        english, arabic = (desk.browser.get(f"{address}?lang={code}") for code in ("en", "ar"))
        assert (english.status_code, arabic.status_code) == (200, 200)
        assert '<html lang="ar" dir="rtl">' in arabic.text
        text = re.sub(r"<pre.*?</pre>", "", arabic.text, flags=re.DOTALL)
        words = set(LATIN_WORD.findall(visible(text)))
        assert not words - {"English", "Acme", "Trading", "Person", "SHA"}, (address, words)
        for answer in (english, arabic):
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
            assert not re.search(r"<style|<script(?![^>]*src=)|\sstyle=|\son\w+=", answer.text)
            forms = re.findall(r"<form\b.*?</form>", answer.text, flags=re.DOTALL)
            assert all('name="csrf"' in each and 'name="page"' in each for each in forms)
            ids = re.findall(r'\sid="([^"]+)"', answer.text)
            assert len(ids) == len(set(ids)), address
            assert len(answer.data) < 20_000


def test_nobody_takes_all_the_streams(desk: Desk) -> None:
    address = desk.redeemed("/data.bin")
    range_ = {"Range": "bytes=0-2000000"}
    open_ = [desk.browser.client.get(address, headers=range_) for _ in range(2)]
    assert {each.status_code for each in open_} == {206}

    assert desk.browser.client.get(address, headers=range_).status_code == 503
    for each in open_:
        each.close()
    assert desk.browser.client.get(address, headers=range_).status_code == 206


@pytest.mark.parametrize("number", ["-1", str(2**31), "9" * 30])
@pytest.mark.parametrize("what", ["downloads/choose", "previews", "restores/choose"])
def test_a_number_that_no_point_can_have_is_refused(desk: Desk, what: str, number: str) -> None:
    answer = desk.browser.post(
        f"/t/acme/{what}", on="/account/", point=number, source=str(desk.source.id)
    )

    assert answer.status_code == 422


def test_a_tenant_that_cannot_be_is_as_good_as_none(desk: Desk) -> None:
    assert desk.browser.get("/t/a%00b/").status_code == 404
