from pathlib import Path

from tools.debian import Archive, archives, lines, stanzas

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_a_stanza_gives_an_archive_for_every_suite() -> None:
    text = (
        "Types: deb\n# a remark\nURIs: http://mirror.example/debian\n"
        f"Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: {KEYRING}\n"
    )

    assert list(stanzas(text)) == [
        Archive("http://mirror.example/debian", "bookworm", "main", KEYRING),
        Archive("http://mirror.example/debian", "bookworm-updates", "main", KEYRING),
    ]


def test_a_stanza_that_is_switched_off_or_holds_sources_is_left_out() -> None:
    off = "Enabled: no\nTypes: deb\nURIs: http://a.example\nSuites: x\nComponents: main\n"
    sources = "Types: deb-src\nURIs: http://b.example\nSuites: x\nComponents: main\n"

    assert list(stanzas(f"{off}\n{sources}")) == []


def test_a_key_block_in_a_stanza_is_kept_as_it_stands() -> None:
    text = (
        "Types: deb\nURIs: http://a.example\nSuites: x\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"
    )

    (archive,) = stanzas(text)

    assert archive.stanza().endswith(
        "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"
    )


def test_a_line_with_options_and_a_remark_is_read() -> None:
    text = (
        f"deb [arch=amd64 signed-by={KEYRING}] http://a.example/debian bookworm main contrib # x\n"
        "deb-src http://a.example/debian bookworm main\n# deb http://b.example/debian x main\n"
    )

    assert list(lines(text)) == [
        Archive("http://a.example/debian", "bookworm", "main contrib", KEYRING)
    ]


def test_archives_of_both_forms_come_once_and_without_security(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "deb http://a.example/debian bookworm-updates main\n"
        "deb http://a.example/debian bookworm main\n"
        "deb http://s.example/debian-security bookworm-security main\n"
    )
    (parts / "same.list").write_text("deb http://a.example/debian bookworm main\n")
    (parts / "off.sources.disabled").write_text("Types: deb\nURIs: http://c.example\n")

    found = [archive.suite for archive in archives(tmp_path)]

    assert found == ["bookworm", "bookworm-updates"]


def test_a_machine_without_apt_configuration_has_no_archives(tmp_path: Path) -> None:
    assert archives(tmp_path) == []
