"""Names and figures as pages write them."""

from __future__ import annotations

from web.pages import formats


def test_each_name_of_a_mixed_path_stands_by_itself() -> None:
    assert formats.path("/عقود/2026/فاتورة.pdf") == (
        '<bdi dir="ltr">/<bdi>عقود</bdi>/<bdi>2026</bdi>/<bdi>فاتورة.pdf</bdi></bdi>'
    )


def test_a_path_of_latin_letters_is_left_as_it_is() -> None:
    assert formats.path("/letters/2026/0.txt") == '<bdi dir="ltr">/letters/2026/0.txt</bdi>'


def test_a_name_in_a_path_is_never_markup() -> None:
    assert formats.path("/ع/<script>&") == (
        '<bdi dir="ltr">/<bdi>ع</bdi>/<bdi>&lt;script&gt;&amp;</bdi></bdi>'
    )
    assert "<script>" not in formats.path("/a/<script>")


def test_bytes_have_one_sign_in_every_language() -> None:
    assert formats.exactly(42_848) == '<bdi dir="ltr">42,848 B</bdi>'
    assert formats.sized(12) == '<bdi dir="ltr">12 B</bdi>'
