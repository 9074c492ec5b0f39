"""Policy packs: five ship, a deployment adds its own, and a mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.errors import NotFound
from tenants import packs
from tenants.packs import BadPack, Kind

# Every promise of the five published policies, as the register has to know them.
PROMISED = {
    "datacore": "daily-weekly regions integrity custom-schedule latest-verified plan-retention "
    "sanitize support-access roles-mfa tls-audits whatsapp own-copy rights revision",
    "daftra": "subscription hold fee contact caller minimum unintended rights 30-days breach "
    "unsubscribe",
    "comfile": "termination message-age rights identity routing encrypted processors sign-in",
    "mittal": "active legal choices children bilingual absolute",
    "jhb": "rights encryption necessary anonymous 2fa timeframes cookies change-notice",
}
GOOD = """
pack = "own"
title = { en = "Ours", ar = "لنا" }
jurisdiction = ["AE"]
languages = ["en", "ar"]
effective = 2026-01-01
revised = "unpublished"

[parameters]
message_age_days = 30

[[promise]]
id = "own-encrypted"
kind = "enforced"
measure = "encrypted"
en = "It is encrypted."
ar = "إنه مشفّر."
"""


def written(folder: Path, text: str = GOOD, name: str = "own.toml") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("pack", sorted(PROMISED))
def test_every_promise_of_a_published_policy_is_in_its_pack(pack: str) -> None:
    found = {each.id for each in packs.known(None)[pack].promises}
    assert {f"{pack}-{name}" for name in PROMISED[pack].split()} <= found


def test_what_no_software_can_enforce_is_attested() -> None:
    kinds = {each.id: each.kind for p in packs.known(None).values() for each in p.promises}
    for name in ("datacore-nda", "jhb-no-sale", "daftra-consent", "mittal-recordings", "jhb-age"):
        assert kinds[name] is Kind.ATTESTED
    assert kinds["daftra-third-party-notice"] is kinds["comfile-processors"] is Kind.ATTESTED


def test_a_date_that_is_not_printed_is_unpublished() -> None:
    known = packs.known(None)
    assert {known[name].effective for name in ("daftra", "comfile", "jhb")} == {"unpublished"}
    assert {known[name].effective for name in ("datacore", "mittal")} == {"not-entered"}


def test_a_deployments_own_pack_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    found = packs.known(tmp_path)
    assert set(found) == {*PROMISED, "own"}
    assert (found["own"].effective, found["own"].revised) == ("2026-01-01", "unpublished")


def test_an_own_file_takes_the_place_of_a_shipped_pack_if_it_has_every_promise(
    tmp_path: Path,
) -> None:
    shipped = (packs.SHIPPED / "datacore.toml").read_text(encoding="utf-8")
    dated = shipped.replace('effective = "not-entered"', "effective = 2024-05-01")
    written(tmp_path, dated, "datacore.toml")
    assert packs.known(tmp_path)["datacore"].effective == "2024-05-01"
    first = dated.index("[[promise]]")
    without = dated[:first] + dated[dated.index("[[promise]]", first + 1) :]
    written(tmp_path, without, "datacore.toml")
    with pytest.raises(BadPack, match="datacore-daily-weekly"):
        packs.known(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('pack = "own"', "", "pack"),
        ('pack = "own"', 'pack = "Own!"', "pack"),
        ('ar = "لنا"', 'fr = "Nous"', "title"),
        ('"AE"', '"ZZ"', "jurisdiction"),
        ('"en", "ar"', '"fr"', "languages"),
        ("effective = 2026-01-01", 'effective = "soon"', "effective"),
        ("effective = 2026-01-01", "", "effective"),
        ("message_age_days = 30", "message_age_days = 0", "parameters.message_age_days"),
        ("message_age_days = 30", "message_age_days = true", "parameters.message_age_days"),
        ("message_age_days = 30", "message_days = 30", "parameters.message_days"),
        (
            "message_age_days = 30",
            "hold_months_least = 6\nhold_months_most = 3",
            "parameters.hold_months_most",
        ),
        ('id = "own-encrypted"', 'id = "other-encrypted"', "promise 1.id"),
        ('kind = "enforced"', 'kind = "hoped"', "own-encrypted.kind"),
        ('measure = "encrypted"', "", "own-encrypted.measure"),
        ('ar = "إنه مشفّر."', "", "own-encrypted.ar"),
        ('ar = "إنه مشفّر."', 'ar = ""', "own-encrypted.en, own-encrypted.ar"),
        ('en = "It', 'colour = "red"\nen = "It', "own-encrypted.colour"),
        ("[[promise]]", "[promise]", "promise"),
        (GOOD[GOOD.index("[[promise]]") :], "", "promise"),
        (GOOD[-1], "\n" + GOOD[GOOD.index("[[promise]]") :], "promise.id"),
    ],
)
def test_a_mistake_is_told_with_file_key_wanted_and_found(
    tmp_path: Path, old: str, new: str, key: str
) -> None:
    text = GOOD + new if old == "\n" else GOOD.replace(old, new, 1)
    file = written(tmp_path, text)
    with pytest.raises(BadPack) as refusal:
        packs.read(file)
    assert refusal.value.params["key"] == key
    assert {"file", "key", "wanted", "found"} == set(refusal.value.params)
    assert str(file) in refusal.value.message


def test_what_is_no_toml_and_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPack, match="not TOML"):
        packs.read(written(tmp_path, "= ="))
    with pytest.raises(BadPack, match="cannot be read"):
        packs.read(tmp_path / "nothing.toml")
    with pytest.raises(BadPack, match="not there"):
        packs.known(tmp_path / "nowhere")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    written(tmp_path)
    written(tmp_path, name="again.toml")
    with pytest.raises(BadPack, match="a name of its own"):
        packs.known(tmp_path)


def test_a_pack_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(NotFound, match="comfile, daftra, datacore, jhb, mittal"):
        packs.named(packs.known(None), "nobody")


def test_equal_policies_are_equal_however_they_are_dated(tmp_path: Path) -> None:
    one = packs.read(written(tmp_path))
    other = packs.read(written(tmp_path, GOOD.replace("2026-01-01", "2026-02-01")))
    third = packs.read(written(tmp_path, GOOD.replace("It is encrypted.", "It is not.")))
    assert one.sha256 == other.sha256 != third.sha256
