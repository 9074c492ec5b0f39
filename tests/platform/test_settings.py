"""Settings: from a stack's file or from variables, with every problem at once and no secret shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.db import Role
from strongroom.key_service import KeyService, Kind
from strongroom.key_stores.choosing import choose
from strongroom.settings import BadSettings, from_environment, from_stack

REGIONS = {"eu": {"access_key": "AK", "secret_key": "canary"}}


def stack(home: Path, **more: Any) -> dict[str, Any]:
    return {
        "home": str(home),
        "databases": {"web": "postgresql+psycopg://web:canary@h/d"},
        "broker": "redis://:canary@h/0",
        "regions": REGIONS,
    } | more


def test_variables_say_everything_a_process_needs() -> None:
    found = from_environment(
        {
            "STRONGROOM_DATABASE_URL_WORKER": "postgresql+psycopg://w@h/d",
            "STRONGROOM_BROKER_URL": "redis://h/0",
            "STRONGROOM_REGIONS": json.dumps(REGIONS),
            "STRONGROOM_KEYS_FOLDER": "/keys",
            "STRONGROOM_WORK_FOLDER": "/work-here",
            "STRONGROOM_WEB_ADDRESS": "https://backup.example",
        }
    )
    assert found.databases == {Role.WORKER: "postgresql+psycopg://w@h/d"}
    assert (found.broker, found.keys, found.work) == (
        "redis://h/0",
        Path("/keys"),
        Path("/work-here"),
    )
    assert (found.regions["eu"].access_key, found.web) == ("AK", "https://backup.example")
    assert (found.home, found.demo, found.shift) == (None, False, timedelta(0))


def test_a_process_that_is_given_nothing_has_no_rights() -> None:
    found = from_environment({})
    assert (dict(found.databases), found.broker, dict(found.regions)) == ({}, "", {})


def test_a_secret_may_lie_in_a_file_that_its_twin_names(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:canary@h/0\n")
    (tmp_path / "regions").write_text(json.dumps(REGIONS))
    found = from_environment(
        {
            "STRONGROOM_BROKER_URL_FILE": str(tmp_path / "url"),
            "STRONGROOM_REGIONS_FILE": str(tmp_path / "regions"),
        }
    )
    assert found.broker == "redis://:canary@h/0"
    assert found.regions["eu"].secret_key == "canary"


def test_a_variable_wins_over_its_twin(tmp_path: Path) -> None:
    both = {"STRONGROOM_BROKER_URL": "redis://h", "STRONGROOM_BROKER_URL_FILE": "/none"}
    assert from_environment(both).broker == "redis://h"


def test_all_problems_are_listed_at_once_each_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadSettings) as caught:
        from_environment(
            {
                "STRONGROOM_BROKER_URL_FILE": "/no/such/file",
                "STRONGROOM_DATABASE_URL_WEB_FILE": str(tmp_path),
                "STRONGROOM_DATABASE_URL_WORKER_FILE": str(tmp_path / "binary"),
                "STRONGROOM_REGIONS": "not json",
            }
        )
    lines = caught.value.message.splitlines()
    assert len(lines) == 5
    for name in ("BROKER_URL_FILE", "DATABASE_URL_WEB_FILE", "DATABASE_URL_WORKER_FILE", "REGIONS"):
        assert sum(f"STRONGROOM_{name} " in line for line in lines) == 1, name
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "value",
    ["[]", "1", '"eu"', '{"eu": 1}', '{"eu": {"access_key": "a"}}', "{", '{"eu": null}'],
)
def test_regions_that_make_no_sense_are_shown_how_and_never_quoted(value: str) -> None:
    with pytest.raises(BadSettings, match="access_key") as caught:
        from_environment({"STRONGROOM_REGIONS": value.replace("1", '"canary"')})
    assert "canary" not in caught.value.message


def test_settings_show_no_secret(tmp_path: Path) -> None:
    assert "canary" not in repr(from_stack(stack(tmp_path)))
    assert "canary" not in repr(from_environment({"STRONGROOM_REGIONS": json.dumps(REGIONS)}))


def test_a_stack_says_everything_in_its_file(tmp_path: Path) -> None:
    found = from_stack(stack(tmp_path, web="http://localhost:1"))
    assert found.databases == {Role.WEB: "postgresql+psycopg://web:canary@h/d"}
    assert (found.home, found.keys, found.work) == (tmp_path, tmp_path / "keys", tmp_path / "work")
    assert (found.demo, found.shift, found.web) == (False, timedelta(0), "http://localhost:1")


@pytest.mark.parametrize(("text", "shift"), [("", 0), ("86400\n", 86_400), ("-3.5", -3.5)])
def test_only_a_demo_home_may_shift_the_clock(tmp_path: Path, text: str, shift: float) -> None:
    (tmp_path / "demo").write_text(text)
    found = from_stack(stack(tmp_path))
    assert (found.demo, found.shift) == (True, timedelta(seconds=shift))


def test_no_variable_shifts_the_clock_of_a_real_platform() -> None:
    found = from_environment({"STRONGROOM_SHIFT": "86400", "STRONGROOM_DEMO": "1"})
    assert (found.demo, found.shift) == (False, timedelta(0))


def test_how_many_drills_a_day_is_a_number_or_left_to_the_policies() -> None:
    assert from_environment({}).drills_a_day is None
    assert from_environment({"STRONGROOM_DRILLS_A_DAY": "50"}).drills_a_day == 50
    for wrong in ("0", "-3", "many"):
        with pytest.raises(BadSettings, match="STRONGROOM_DRILLS_A_DAY"):
            from_environment({"STRONGROOM_DRILLS_A_DAY": wrong})


def test_keys_are_in_a_folder_unless_a_provider_is_named() -> None:
    assert from_environment({}).key_service.kind is Kind.LOCAL
    assert from_stack(stack(Path("/home"))).key_service.kind is Kind.LOCAL


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("aws-kms", {"AWS_REGION": "eu-central-1"}),
        ("vault", {"VAULT_ADDRESS": "https://vault:8200", "VAULT_TOKEN": "canary"}),
        (
            "pkcs11",
            {"PKCS11_MODULE": "/lib/hsm.so", "PKCS11_TOKEN": "backup", "PKCS11_PIN": "canary"},
        ),
    ],
)
def test_a_key_provider_says_all_it_needs_and_shows_no_secret(
    kind: str, needed: dict[str, str]
) -> None:
    given = {"STRONGROOM_KEYS_PROVIDER": kind}
    with pytest.raises(BadSettings) as caught:
        from_environment(given)
    for name in needed:
        assert f"STRONGROOM_KEYS_{name} is missing" in caught.value.message

    found = from_environment(given | {f"STRONGROOM_KEYS_{n}": v for n, v in needed.items()})

    assert found.key_service.kind == kind
    assert "canary" not in repr(found)


def test_secrets_of_key_providers_may_lie_in_files(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("1234\n")
    given = {"PROVIDER": "pkcs11", "PKCS11_MODULE": "/lib/hsm.so", "PKCS11_TOKEN": "backup"}
    given |= {"PKCS11_PIN_FILE": str(tmp_path / "pin"), "PKCS11_COPYABLE": "no"}
    found = from_environment({f"STRONGROOM_KEYS_{n}": v for n, v in given.items()}).key_service
    assert (found.pin, found.copyable) == ("1234", False)
    given = {"PROVIDER": "vault", "VAULT_ADDRESS": "http://h", "VAULT_TOKEN_FILE": "/run/token"}
    found = from_environment({f"STRONGROOM_KEYS_{n}": v for n, v in given.items()}).key_service
    assert (found.token, found.token_file) == ("", Path("/run/token"))  # read when it is used


def test_a_provider_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadSettings, match="local, aws-kms, vault, pkcs11"):
        from_environment({"STRONGROOM_KEYS_PROVIDER": "azure"})


@pytest.mark.parametrize("kind", list(Kind))
def test_the_provider_that_was_named_is_the_one_that_is_made(kind: Kind, tmp_path: Path) -> None:
    service = KeyService(kind, endpoint="http://127.0.0.1:1", region="eu-central-1", module="/lib")
    assert choose(service, tmp_path, lambda: datetime.now(UTC)).name == kind


def test_dumps_may_be_more_often_than_daily_and_never_rarer() -> None:
    found = from_environment({"STRONGROOM_DUMP_HOURS": "6", "STRONGROOM_DUMP_DAYS": "30"})
    assert (found.dump_hours, found.dump_days) == (6, 30)
    with pytest.raises(
        BadSettings, match="STRONGROOM_DUMP_HOURS is '48'; give a number from 1 to 24"
    ):
        from_environment({"STRONGROOM_DUMP_HOURS": "48"})


def test_how_small_a_small_tenant_is_can_be_said() -> None:
    assert from_environment({}).small_bytes == 64 * 1024 * 1024
    assert from_environment({"STRONGROOM_SMALL_BYTES": "1000"}).small_bytes == 1000
