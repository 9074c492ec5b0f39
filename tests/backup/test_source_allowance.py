"""What a tenant may name: folders below its roots, hosts on its list, and nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest

from backup.sources import allowance
from strongroom import hosts
from strongroom.errors import BadValue, Refused
from strongroom.hosts import HostRule, parse_rule

ACME, BOLT = UUID(int=1), UUID(int=2)
LISTED = [parse_rule("db.acme.example:5432"), parse_rule("10.1.0.0/16")]
INSIDE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "fe80::1",
    "fd00::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]


def pin(host: str, addresses: Sequence[str], *, port: int = 5432) -> str:
    return hosts.pin(host, port, LISTED, resolve=lambda name, port: addresses)


def test_a_folder_inside_a_root_is_allowed_by_whole_names(tmp_path: Path) -> None:
    for name in ("acme/data", "acme-old"):
        (tmp_path / name).mkdir(parents=True)
    assert allowance.allowed_folder(tmp_path / "acme/data", [tmp_path / "acme"])
    for other in ("acme-old", ".", "acme/../acme-old"):
        with pytest.raises(Refused, match="not on the allow-list"):
            allowance.allowed_folder(tmp_path / other, [tmp_path / "acme"])


def test_a_link_out_of_the_root_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "bolt").mkdir()
    (tmp_path / "acme" / "way").symlink_to(tmp_path / "bolt")
    with pytest.raises(Refused, match=r"which is .*/bolt"):
        allowance.allowed_folder(tmp_path / "acme" / "way", [tmp_path / "acme"])


def test_a_root_that_was_replaced_by_a_link_allows_nothing(tmp_path: Path) -> None:
    for name in ("srv/acme/files", "bolt"):
        (tmp_path / name).mkdir(parents=True)
    root = tmp_path / "srv" / "acme"
    assert allowance.allowed_folder(root / "files", [root]) == root / "files"
    root.rename(tmp_path / "srv" / "away")
    for target in (tmp_path / "bolt", tmp_path / "srv" / "away", tmp_path):
        root.symlink_to(target)
        for folder in (root, root / "files"):
            with pytest.raises(Refused, match="moved or replaced by a link"):
                allowance.allowed_folder(folder, [root])
        root.unlink()


def test_an_empty_list_allows_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        allowance.allowed_folder(tmp_path, [])
    with pytest.raises(Refused):
        hosts.pin("db.example", 5432, [], resolve=lambda name, port: ["9.9.9.9"])


def test_roots_of_two_tenants_may_not_overlap(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    link = allowance.resolved(tmp_path / "link")
    roots = {ACME: [tmp_path / "a", link], BOLT: [tmp_path / "b", tmp_path / "shared"]}
    found = allowance.overlaps(roots)
    assert [(each.first, each.second) for each in found] == [(ACME, BOLT)]
    assert allowance.overlaps({ACME: [tmp_path / "a"], BOLT: [tmp_path / "ab"]}) == []
    assert allowance.overlaps({ACME: [tmp_path / "a"], BOLT: [tmp_path / "a" / "b"]}) != []


@pytest.mark.parametrize(
    "text", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3", "0x7f.1", "127.0.0.01"]
)
def test_numbers_that_only_the_resolver_takes_for_addresses_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match="four decimal numbers"):
        hosts.parse_host(text)


@pytest.mark.parametrize("text", ["", "a b", "a,b", "/run", "fe80::1%eth0", "قاعدة", "-a", "a..b"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        hosts.parse_host(text)


@pytest.mark.parametrize("address", INSIDE)
def test_a_listed_name_reaches_no_address_inside_a_network(address: str) -> None:
    assert not hosts.is_public(ip_address(address))
    with pytest.raises(Refused, match="not on the allow-list"):
        pin("db.acme.example", ["9.9.9.9", address])


def test_the_checked_address_is_the_one_to_connect_to() -> None:
    assert pin("DB.acme.example.", ["9.9.9.9", "2620:fe::fe"]) == "9.9.9.9"
    assert pin("db.acme.example", ["10.1.2.3"]) == "10.1.2.3"
    assert pin("db.acme.example", ["::ffff:10.1.2.3"]).startswith("::ffff:")
    assert pin("10.1.2.3", ["10.1.2.3"], port=99) == "10.1.2.3"
    with pytest.raises(Refused):
        pin("db.acme.example", ["9.9.9.9"], port=22)
    with pytest.raises(Refused):
        pin("other.example", ["9.9.9.9"])
    with pytest.raises(Refused, match="has no address"):
        pin("db.acme.example", [])


def test_what_an_operator_adds_is_thereby_listed() -> None:
    rules = hosts.rules_for("localhost", 5432, resolve=lambda name, port: ["127.0.0.1", "::1"])
    assert [str(rule) for rule in rules] == ["localhost:5432", "127.0.0.1:5432", "[::1]:5432"]
    assert hosts.pin("localhost", 5432, rules, resolve=lambda name, port: ["127.0.0.1"])
    with pytest.raises(Refused):
        hosts.pin("localhost", 22, rules, resolve=lambda name, port: ["127.0.0.1"])


@pytest.mark.parametrize("text", ["db.example:5432", "10.0.0.0/8", "[fd00::5]:5432", "[fd00::]/8"])
def test_a_rule_reads_as_it_is_written(text: str) -> None:
    if text == "[fd00::]/8":
        with pytest.raises(BadValue):
            parse_rule(text)
    else:
        assert str(parse_rule(text)) == text
        assert parse_rule(str(parse_rule(text))) == parse_rule(text)


def test_a_rule_that_makes_no_sense_is_refused() -> None:
    for text in ("db:0", "db:99999", "10.0.0.1/8", "a:b:c", "*", "db:"):
        with pytest.raises(BadValue):
            parse_rule(text)
    assert parse_rule("db.example") == HostRule("db.example", None)
