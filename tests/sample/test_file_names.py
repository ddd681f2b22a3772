"""Names of files: what is taken, what is refused, and how a name is told to a browser."""

import re
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.errors import Problem
from service.sample import file_names as names


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "report.pdf",
        " spaces around ",
        "CON",
        "aux.txt",
        "...",
        "..a",
        "~",
        "-rf",
        "C:\\temp\\x",
        "%2e%2e",
        "a?b#c&d",
        '"quoted"',
        "日本語.txt",
        "مستند.pdf",
        "\u202egnp.exe",
        "\u200bzero-width",
        "line\u2028separator",
        "👩‍👩‍👧‍👦",
        "é" * 127 + "x",
        "x" * 255,
    ],
)
def test_names_that_are_taken(name: str) -> None:
    assert names.check(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/", "../x", "nul\x00", "\n", "tab\t", "del\x7f", "c1\x85", "x" * 256, "é" * 128, "\ud800"],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(Problem) as caught:
        names.check(name)
    assert caught.value.status == 400


def test_names_that_differ_in_composition_only_are_one_name() -> None:
    assert names.check("e\u0301") == names.check("\u00e9")


def test_the_length_is_measured_after_composition() -> None:
    decomposed = "e\u0301" * 127  # 381 bytes as it comes, 254 in NFC
    assert len(names.check(decomposed).encode()) == 254


def test_bytes_that_are_not_utf8_are_refused_rather_than_replaced() -> None:
    with pytest.raises(Problem):
        names.from_path({"PATH_INFO": "/api/files/\xff\xfe"}, "/api/files/")


def test_a_path_s_bytes_are_read_as_utf8() -> None:
    path = "/api/files/" + "ü.txt".encode().decode("latin-1")  # as WSGI has it (PEP 3333)
    assert names.from_path({"PATH_INFO": path}, "/api/files/") == "ü.txt"


def test_content_disposition_has_both_forms() -> None:
    assert names.content_disposition("naïve €.txt", inline=False) == (
        "attachment; filename=\"naive .txt\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt"
    )
    assert names.content_disposition("a.png", inline=True).startswith("inline; ")
    assert 'filename="file"' in names.content_disposition("日本", inline=False)


@pytest.mark.parametrize(
    ("look_alike", "plain"),
    [("../../pwd", ".._.._pwd"), ("..", "file"), (".", "file"), ('";x="', "_;x=_"), ("\\\\host", "__host")],
)
def test_the_plain_form_is_not_a_path_though_the_name_looks_like_one(look_alike: str, plain: str) -> None:
    """In full-width letters a name may be one; compatibility decomposition makes ASCII of it."""
    name = "".join(chr(ord(c) + 0xFEE0) for c in look_alike)
    assert f'filename="{plain}";' in names.content_disposition(names.check(name), inline=False)


@given(st.text(min_size=1, max_size=80))
def test_any_name_makes_one_safe_header_that_gives_the_name_back(text: str) -> None:
    try:
        name = names.check(text)
    except Problem:
        return
    header = names.content_disposition(name, inline=False)
    match = re.fullmatch(
        r"attachment; filename=\"(?!\.{1,2}\")([ !#-$&-.0-\[\]-~]*)\"; filename\*=UTF-8''([A-Za-z0-9!#$&+^`|%._~-]*)",
        header,
    )
    assert match, header
    assert unquote(match[2]) == name
