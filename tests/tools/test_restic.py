from pathlib import Path

import pytest

from tools import restic
from tools.trouble import Trouble


def program(folder: Path, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "restic"
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("says", "enough"),
    [
        ("restic 0.19.1 compiled with go1.26 on linux/amd64", True),
        ("restic 0.20.0 compiled with go1.27 on linux/amd64", True),
        ("restic 1.0.0", True),
        ("restic 0.19.0 compiled with go1.25 on linux/amd64", False),
        ("restic 0.9.6 compiled with go1.13 on linux/amd64", False),
        ("some other program", False),
    ],
)
def test_only_a_version_that_is_new_enough_is_taken(
    tmp_path: Path, says: str, enough: bool
) -> None:
    assert restic.new_enough(program(tmp_path, says)) is enough


def test_the_first_on_the_path_that_is_new_enough_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = program(tmp_path / "old", "restic 0.14.0")
    new = program(tmp_path / "new", "restic 0.19.1")
    monkeypatch.setenv("PATH", f"{old.parent}:{tmp_path}/none:{new.parent}:/usr/bin:/bin")

    assert restic.provide(tmp_path / "tools") == new


def test_a_link_in_a_virtual_environment_does_not_count_as_found(tmp_path: Path) -> None:
    ours = program(tmp_path / "venv", "restic 0.19.1")
    (ours.parent / "activate").touch()

    assert restic.on_path(str(ours.parent)) == []


def test_without_restic_and_apt_the_message_says_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Trouble, match="restic 0.19.1") as caught:
        restic.provide(tmp_path / "tools")

    assert "no apt-get on this machine" in str(caught.value)
    assert "releases page" in str(caught.value)
    assert list((tmp_path / "tools").iterdir()) == []
