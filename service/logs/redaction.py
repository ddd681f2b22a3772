"""Secrets never reach a log: they are found by the name they stand under, by their shape, and by their value.

Name and shape are a net, not a proof: a secret in a sentence of its own ("the word is hunter2") has neither. So the
secrets that the process was started with are also known by value. Every pattern here takes time that grows linearly
with the text, whatever the text is.
"""

import re
from urllib.parse import unquote, unquote_plus, urlsplit

REDACTED = "[redacted]"

# In a key with everything but letters and digits taken out. `uploadid` opens a resumable upload of Cloud Storage.
_SECRET_PARTS = (
    "authorization", "authorisation", "cookie", "passw", "passphrase", "pwd", "token", "secret", "signature", "apikey",
    "credential", "privatekey", "accesskey", "sessionid", "uploadid", "clientassertion",
)  # fmt: skip
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

# _HEADER and _NAMED find nothing where none of these is. `in` is several times faster than a pattern.
_HINTS = (
    "pass", "pwd", "token", "secret", "sig", "key", "credential", "auth", "cookie", "session", "jwt", "upload_id",
    "client_assertion",
)  # fmt: skip

_NOT_IN_A_NAME = {ord(c): None for c in "-_. "}
_known: tuple[str, ...] = ()


def remember(*secrets: str) -> None:
    """From now on these values are redacted wherever they stand, plain or percent-encoded. Replaces what was known.

    Values of fewer than six characters are passed over: they would be found in words. Of a URL the password is taken.
    """
    global _known  # noqa: PLW0603 -- one process has one log
    found: set[str] = set()
    for secret in secrets:
        password = (urlsplit(secret).password or "") if "://" in secret else secret
        found |= {password, unquote(password)}
    _known = tuple(sorted((value for value in found if len(value) >= 6), key=len, reverse=True))


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name (of a field, a parameter, a header) is to be kept out of the log."""
    bare = name.lower().translate(_NOT_IN_A_NAME)
    return bare in _SECRET_NAMES or any(part in bare for part in _SECRET_PARTS)


def redact(text: str) -> str:
    """The text with every secret that has a name or a shape replaced by ``[redacted]``."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, REDACTED)
    lower = text.lower()
    if "bearer" in lower:
        text = _BEARER.sub(rf"\1{REDACTED}", text)
    if "basic" in lower:
        text = _BASIC.sub(rf"\1 {REDACTED}", text)
    if "eyj" in lower:
        text = _JWT.sub(REDACTED, text)
    if "-----b" in lower:
        text = _PEM.sub(REDACTED, text)
    if "//" in lower and "@" in lower:
        text = _USERINFO.sub(f"//{REDACTED}@", text)
    if any(hint in lower for hint in _HINTS):
        text = _HEADER.sub(rf"\1{REDACTED}", text)
        text = _NAMED.sub(rf"\1{REDACTED}", text)
    return text


def redact_url(url: str) -> str:
    """The URL without its secrets, those of its query too: signed URLs, tokens, and URLs inside it."""
    before, mark, query = url.partition("?")
    if not mark:
        return redact(url)
    return f"{redact(before)}?{'&'.join(_redact_parameter(part) for part in query.split('&'))}"


def _redact_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    decoded = unquote_plus(name)
    is_secret = decoded.lower() in _SECRET_PARAMETERS or is_secret_name(decoded)
    if equals and (is_secret or ("%" in name and is_secret_name(unquote(decoded)))):
        return f"{name}={REDACTED}"
    plain = parameter
    for _ in range(2):  # what was encoded twice is decoded by somebody, too
        if "%" in plain or "+" in plain:
            plain = unquote_plus(plain)
            if redact(plain) != plain:
                return f"{name}={REDACTED}" if equals else REDACTED
    return redact(parameter)
