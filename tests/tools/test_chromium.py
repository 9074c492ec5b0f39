from pathlib import Path

import pytest

from tools import chromium, debian
from tools.chromium import Chromium


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


def test_the_browser_of_the_system_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert chromium.provide(tmp_path) == Chromium(program)


@pytest.mark.usefixtures("nothing_installed")
def test_an_unpacked_one_finds_its_libraries_and_fonts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "unpack_with_needed", unpack)

    found = chromium.provide(tmp_path)

    place = tmp_path / "chromium"
    assert found.program == place / "usr/lib/chromium/chromium"
    libraries = found.environment["LD_LIBRARY_PATH"].split(":")
    assert libraries == [f"{place}/usr/lib/x86_64-linux-gnu", f"{place}/lib/x86_64-linux-gnu"]
    assert f"<dir>{place}/usr/share/fonts</dir>" in (place / "fonts.conf").read_text()
    assert {each.name for each in tmp_path.iterdir()} == {"chromium"}


def unpack(packages: tuple[str, ...], *, into: Path) -> None:
    """What apt would leave there."""
    assert packages == chromium.PACKAGES
    for name in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/chromium"):
        (into / name).mkdir(parents=True)
    (into / "usr/lib/chromium/chromium").touch()


@pytest.mark.usefixtures("nothing_installed")
def test_without_apt_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(debian.Trouble, match="install chromium"):
        chromium.provide(tmp_path)

    assert list(tmp_path.iterdir()) == []
