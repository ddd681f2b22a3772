"""Secrets never reach a log: they are found by the name before them, by their shape, and by their value.

Name and shape are a net, not a proof: a secret in a sentence of its own ("the word is hunter2") has neither. So the
secrets that the process was started with are also known by value. Every pattern here takes time that grows linearly
with the text, whatever the text is.
"""

import re
from urllib.parse import unquote, unquote_plus, urlsplit

REDACTED = "[redacted]"
CLIPPED = " ...[clipped]... "
LONG = 64 * 1024  # characters; a longer text is cut in the middle before it is searched
MARGIN = 16 * 1024  # left out at each side of that cut, so that no half of a secret is shown

# In a key with everything but letters and digits taken out. `uploadid` opens a resumable upload of Cloud Storage.
_SECRET_PART = re.compile(
    "authori[sz]ation|cookie|passw|passphrase|pwd|token|secret|signature|apikey|credential|privatekey|accesskey"
    "|sessionid|uploadid|clientassertion"
)
_SECRET_NAMES = frozenset({"pass", "sig", "auth", "session", "hostsession", "jwt", "otp"})

# In a query only, where they are an API key and what OAuth 2 hands out; elsewhere they are common words.
_SECRET_PARAMETERS = frozenset({"code", "key", "refresh"})

_QUOTE = r"(?:\\{0,4}[\"']|%22|%27)"
_BETWEEN = rf"{_QUOTE}?\s{{0,3}}(?:=>|[=:]|%3[ad]|(?<=[\"'])\s{{0,3}},(?=\s{{0,3}}b?[\"']))\s{{0,3}}b?"
# A quoted value goes to its closing quote, or to the end where there is none. Atomic groups can't be entered twice.
_QUOTED = r"\\{0,4}(?:\"(?>(?:[^\"\\]|\\.)*)\"?|'(?>(?:[^'\\]|\\.)*)'?)"
_NAME = (
    r"(?:passw(?:or)?d|passphrase|pwd|token|secret|signature|api[-_. ]?key|credential|private[-_. ]?key"
    r"|access[-_. ]?key|session[-_]?id|upload_id|client_assertion|jwt"
    r"|(?<![a-z0-9])(?:__host-)?(?:sig|auth|pass|session)(?=[\"'=]))[\w.-]{0,40}+"
)
_FLAGS = re.IGNORECASE | re.ASCII | re.DOTALL
_HEADER = re.compile(rf"((?:authori[sz]ation|cookie){_BETWEEN})(?:{_QUOTED}|[^\r\n]+)", _FLAGS)
_NAMED = re.compile(rf"({_NAME}{_BETWEEN})(?:\[redacted\]|{_QUOTED}|[^\s\"'&,;)}}\]]+)", _FLAGS)
_BEARER = re.compile(r"\b(bearer\s{1,3})[^\s\"',;]+", _FLAGS)
_BASIC = re.compile(r"\b([Bb]asic|BASIC)\s{1,3}(?=[a-z]*[0-9A-Z+/=])[A-Za-z0-9+/=_-]{4,}")  # "basic usage" has no such
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}", re.ASCII)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", _FLAGS)
_USERINFO = re.compile(r"//[^\s/?#\"'<>]*@")

# One after the other, where _HINT finds something: where it does not, none of these does.
_PATTERNS = (
    (_BEARER, rf"\1{REDACTED}"),
    (_BASIC, rf"\1 {REDACTED}"),
    (_JWT, REDACTED),
    (_PEM, REDACTED),
    (_USERINFO, f"//{REDACTED}@"),
    (_HEADER, rf"\1{REDACTED}"),
    (_NAMED, rf"\1{REDACTED}"),
)
_HINT = re.compile(
    "bearer|basic|eyj|-----b|@|pass|pwd|token|secret|sig|key|credential|auth|cookie|session|jwt|upload_id"
    "|client_assertion"
)

_NOT_IN_A_NAME = {ord(c): None for c in "-_. "}
_known: tuple[str, ...] = ()


def remember(*secrets: str) -> None:
    """From now on these values are redacted in every text, plain or percent-encoded, and those given before are not.

    Values of fewer than six characters are ignored: they would be found in words. Of a URL only the password is secret.
    """
    global _known  # noqa: PLW0603 -- one process has one log
    found: set[str] = set()
    for secret in secrets:
        password = (urlsplit(secret).password or "") if "://" in secret else secret
        found |= {password, unquote(password)}
    _known = tuple(sorted((value for value in found if len(value) >= 6), key=len, reverse=True))


def is_secret_name(name: str) -> bool:
    """Whether the value under this name (of a field, a parameter, a header) must stay out of the log."""
    bare = name.lower().translate(_NOT_IN_A_NAME)
    return bare in _SECRET_NAMES or _SECRET_PART.search(bare) is not None


def redact(text: str) -> str:
    """The text with every secret that is known, or has a name or a shape, replaced by ``[redacted]``."""
    for secret in _known:
        text = text.replace(secret, REDACTED)
    if _HINT.search(text.lower()):
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
    return text


def clean(text: str) -> str:
    """The text without secrets, at most 64 KiB of it, and in valid Unicode: a lone surrogate is spelled out."""
    text = redact(text) if len(text) <= LONG else _middle_cut(text)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _middle_cut(text: str) -> str:
    half = LONG // 2
    start, end = redact(text[:half]), redact(text[-half:])
    # A secret that was cut in two has lost its name or its shape. It would have to be longer than the margin to show.
    return start[:-MARGIN] + CLIPPED + end[MARGIN:]


def redact_url(url: str) -> str:
    """The URL without its secrets, those of its query too: signed URLs, tokens, and URLs inside it."""
    before, mark, query = url.partition("?")
    if mark:
        url = f"{before}?{'&'.join(map(_redact_parameter, query.split('&')))}"
    return redact(url)


def _redact_parameter(parameter: str) -> str:
    """Without a secret that the parameter's name shows, or that only decoding shows."""
    name, equals, _ = parameter.partition("=")
    decoded = unquote_plus(name)
    is_secret = decoded.lower() in _SECRET_PARAMETERS or is_secret_name(decoded)
    if equals and (is_secret or ("%" in name and is_secret_name(unquote(decoded)))):
        return f"{name}={REDACTED}"
    plain = parameter
    for _ in range(2):  # a receiver may decode more than once
        if "%" in plain or "+" in plain:
            plain = unquote_plus(plain)
            if redact(plain) != plain:
                return f"{name}={REDACTED}" if equals else REDACTED
    return parameter
