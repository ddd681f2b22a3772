"""Secrets never reach a log: they are found by the name before them, by their shape, and by their value.

Name and shape are a net, not a proof: a secret in a sentence of its own ("the word is hunter2") has neither. So the
secrets that the process was started with are also known by value. The names and shapes are in secret_names.py. Every
pattern here takes time that grows linearly with the text, whatever the text is.
"""

import html
import json
import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Iterator
from itertools import groupby
from urllib.parse import unquote, unquote_plus, urlsplit

from service.logs.secret_names import HEADERS, LAST_WORDS, NAMES, PARAMETERS, TOKENS

REDACTED = "[redacted]"
CLIPPED = " ...[clipped]... "
LONG = 64 * 1024  # characters; a longer text is cut in the middle before it is searched
MARGIN = 16 * 1024  # left out at each side of that cut, so that no half of a secret is shown
DECODINGS = 3  # how often something on a request's way may decode it


def _spelled(name: str) -> str:
    """The pattern for a name of secret_names.py. An accent may be missing, stand alone, or be wrongly decoded."""
    letters = (c if c.isascii() else f"{unicodedata.normalize('NFD', c)[0]}?[^\\x00-\\x7f]{{0,3}}" for c in name)
    return "".join(letters).replace(" ", "[-_. ]?")


def _any_of(patterns: Iterable[str], letters: int = 2) -> str:
    """One branch for each first letter, and in it for each second: several times faster than one for each pattern."""
    branches = []
    for first, group in groupby(sorted(patterns), lambda pattern: pattern[:1]):
        rests = [pattern[1:] for pattern in group]
        rest = rests[0] if len(rests) == 1 else f"(?:{_any_of(rests, letters - 1) if letters > 1 else '|'.join(rests)})"
        branches.append(first + rest)
    return "|".join(branches)


_HEADER_NAME = _any_of(HEADERS)
_PART = _any_of(map(_spelled, NAMES))
_LAST_WORD = _any_of(LAST_WORDS)
_PARAMETER_NAME = _any_of(map(_spelled, PARAMETERS))

_QUOTE = r"(?:\\{0,4}[\"']|%22|%27)"
_BETWEEN = rf"{_QUOTE}?\s{{0,3}}(?:=>|[=:]|%3[ad]|(?<=[\"'])\s{{0,3}},(?=\s{{0,3}}b?[\"']))\s{{0,3}}b?"
# A quoted value goes to its closing quote, or to the end where there is none. Atomic groups can't be entered twice.
_QUOTED = r"\\{0,4}(?:\"(?>(?:[^\"\\]|\\.)*)\"?|'(?>(?:[^'\\]|\\.)*)'?)"
_LIST = r"[\[(](?=\s{0,3}b?\\{0,4}[\"'])[^\])]*+[\])]?"  # as parse_qs gives a form's values
_NAME = rf"(?:{_PART}|(?<![a-z0-9])(?:{_LAST_WORD})(?=\\*[\"'=%\]]))[\w.\-\[\]]{{0,40}}+"
_IN_PARAMETER = r"[^=&?#\s\"'<>]"
_FLAGS = re.IGNORECASE | re.ASCII | re.DOTALL
_HEADER = re.compile(rf"((?:{_HEADER_NAME}){_BETWEEN})(?:{_QUOTED}|[^\r\n]+)", _FLAGS)
_NAMED = re.compile(rf"({_NAME}{_BETWEEN})(?:\[redacted\]|{_LIST}|{_QUOTED}|[^\s\"'&,;)}}\]]+)", _FLAGS)
_PARAMETER = re.compile(
    rf"([?&#](?:(?:{_PARAMETER_NAME})|{_IN_PARAMETER}{{0,60}}?(?:{_HEADER_NAME}|{_PART}){_IN_PARAMETER}{{0,60}}+"
    rf"|(?:{_IN_PARAMETER}{{0,60}}?(?<![a-z0-9]))(?:{_LAST_WORD}))=)[^&#\s\"<>]+",
    _FLAGS,
)
_BEARER = re.compile(r"\b(bearer\s{1,3})[^\s\"',;]+", _FLAGS)
_BASIC = re.compile(r"\b([Bb]asic|BASIC)\s{1,3}(?=[a-z]*[0-9A-Z+/=])[A-Za-z0-9+/=_-]{4,}")  # "basic usage" has no such
_TOKEN = re.compile(  # at the beginning of a word, or after an escape as in repr()
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?:"
    + _any_of(re.escape(first) + rest for firsts, rest in TOKENS for first in firsts)
    + ")",
    re.ASCII,
)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", _FLAGS)
_USERINFO = re.compile(r"//[^\s/?#\"'<>]*@")

# One after the other, where _may_hold_a_secret() says so: where it does not, none of these finds something.
_PATTERNS = (
    (_BEARER, rf"\1{REDACTED}"),
    (_BASIC, rf"\1 {REDACTED}"),
    (_TOKEN, REDACTED),
    (_PEM, REDACTED),
    (_USERINFO, f"//{REDACTED}@"),
    (_PARAMETER, rf"\1{REDACTED}"),
    (_HEADER, rf"\1{REDACTED}"),
    (_NAMED, rf"\1{REDACTED}"),
)
_HAS_SHAPE = re.compile(
    _any_of(["bearer", "basic", "-----begin", *(re.escape(first.lower()) for firsts, _ in TOKENS for first in firsts)])
    + "|@"
)
_HAS_NAME = re.compile(
    _any_of([*HEADERS, *map(_spelled, NAMES), *(rf"{word}[\"'=%\\\]]" for word in LAST_WORDS)])
    + "".join(rf"|{mark}(?:{_PARAMETER_NAME})=" for mark in (r"\?", "&", "#"))  # not a set: re is then slower
)
_SECRET_NAME = re.compile(rf"{_HEADER_NAME}|{_PART}|(?<![a-z0-9])(?:{_LAST_WORD})$")

# What ends a value without quotes: where it is encoded, it belongs to the value.
_ENCODED_END = re.compile(r"%(?=[01]|2[02679BC]|3B|[57]D)", re.IGNORECASE)
_ENCODED_CONTROL = re.compile("%(?=[01])")

_known: re.Pattern[str] | None = None


def remember(*secrets: str) -> None:
    """From now on these values are redacted in every text, and those given before are not.

    They are found as they are, percent-encoded, as quoted by Python, JSON, HTML or a shell, and inside of base64.
    Values of fewer than six characters are ignored: they would be found in words. Of a URL only the password is secret.
    """
    global _known  # noqa: PLW0603 -- one process has one log
    found: set[str] = set()
    for secret in secrets:
        password = (urlsplit(secret).password or "") if "://" in secret else secret
        for value in {password, unquote(password)}:
            if len(value) >= 6:
                found.update(_forms(value))
    longest_first = sorted(found, key=len, reverse=True)
    _known = re.compile("|".join(map(re.escape, longest_first))) if found else None


def _forms(secret: str) -> Iterator[str]:
    """The secret in every form but percent-encoded: redact() undoes that."""
    raw = secret.encode("utf-8", "backslashreplace")
    escaped = [repr(secret)[1:-1], ascii(secret)[1:-1], repr(raw)[2:-1]]
    escaped += [json.dumps(secret, ensure_ascii=only_ascii)[1:-1] for only_ascii in (True, False)]
    yield secret
    yield from escaped
    yield from (form.replace("/", r"\/") for form in escaped)
    # Which quote is escaped is the outer text's choice.
    yield from (form.replace(r"\'", "'").replace("'", r"\'") for form in escaped)
    yield from (secret.replace("'", quoted) for quoted in ("'\"'\"'", r"'\''"))
    yield html.escape(secret)
    for before in range(3):  # three bytes are four letters; the first and the last may be of other bytes too
        encoded = b64encode(bytes(before) + raw).decode()
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (0, 3, 2)[(before + len(raw)) % 3]]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")


def is_secret_name(name: str) -> bool:
    """Whether the value under this name (of a field, a parameter, a header) must stay out of the log."""
    return _SECRET_NAME.search(name.lower()) is not None


def redact(text: str) -> str:
    """The text with every secret that is known, or has a name or a shape, replaced by ``[redacted]``.

    Where only decoding shows a secret, the text is shown decoded.
    """
    text = _redact(text)
    return _redact_encoded(text) if "%" in text or "+" in text else text


def clean(text: str) -> str:
    """The text without secrets, at most 64 KiB of it, and in valid Unicode: a lone surrogate is spelled out."""
    text = redact(text) if len(text) <= LONG else _middle_cut(text)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _redact(text: str) -> str:
    if _known is not None:
        text = _known.sub(REDACTED, text)
    if _may_hold_a_secret(text.lower()):
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
    return text


def _may_hold_a_secret(lower: str) -> bool:
    """A cheap look, which is all that an ordinary text needs. Between a name and its value is one of these marks."""
    has_mark = "=" in lower or ":" in lower or "%" in lower or "'" in lower or '"' in lower
    return _HAS_SHAPE.search(lower) is not None or (has_mark and _HAS_NAME.search(lower) is not None)


def _redact_encoded(text: str) -> str:
    shown = text
    for decode in (_decode_inside, _decode_all):
        for _ in range(DECODINGS):
            decoded = decode(text)
            if decoded == text:
                break
            text = _redact(decoded)
            if text != decoded:
                shown = text
    return shown


def _decode_inside(text: str) -> str:
    """Decode everything but what would end a value, so that all of the value is found."""
    return unquote(_ENCODED_END.sub("%25", text))


def _decode_all(text: str) -> str:
    """Decode everything but control characters: an encoded line end must not become one in the log."""
    return unquote_plus(_ENCODED_CONTROL.sub("%25", text))


def _middle_cut(text: str) -> str:
    half = LONG // 2
    start, end = redact(text[:half]), redact(text[-half:])
    # A secret that was cut in two has lost its name or its shape. It would have to be longer than the margin to show.
    return start[:-MARGIN] + CLIPPED + end[MARGIN:]
