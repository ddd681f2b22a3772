"""Anything, as something that JSON can say: bounded, without secrets, and without raising.

What is logged may be circular, endless, hostile, or changing while it is read. None of that may cost the record.
"""

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from pythonjsonlogger.json import JsonEncoder

from service.logs.redaction import REDACTED, is_secret_name, redact

MAX_DEPTH = 8
MAX_NODES = 1000  # values in one field, all levels together
LONG = 64 * 1024  # characters; what is longer is cut before it is looked at
MARGIN = 16 * 1024  # left away at each side of that cut, so that no half of a secret is shown
CLIPPED = " ...[clipped]... "

_foreign = JsonEncoder()


def text(value: str) -> str:
    """The string without secrets, at most 64 KiB, and in valid Unicode: a lone surrogate is spelled out."""
    value = redact(value) if len(value) <= LONG else _middle_cut(value)
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def plain(value: object) -> object:
    """The value as dicts, lists, strings, finite numbers, booleans and None. Never raises an Exception.

    Secrets are redacted by key at any depth, and in strings. More than eight levels or a thousand values are left out.
    """
    return _Plain().convert(value, ())


def under(name: str, value: object) -> object:
    """As ``plain``, of what stands under this name, which may say that it is a secret."""
    return REDACTED if is_secret(name, value) else plain(value)


def is_secret(name: str, value: object) -> bool:
    """Whether the value under this name is not for the log. That something is there, or is not, may be said."""
    return is_secret_name(name) and value is not None and not isinstance(value, bool)


def describe(value: object) -> str:
    """``str(value)``, or what can be said of an object whose ``__str__`` raises."""
    try:
        return text(str(value))
    except Exception as error:  # noqa: BLE001 -- anything may come out of a foreign __str__
        return f"<{type(value).__name__}: {type(error).__name__} in __str__>"


def _middle_cut(value: str) -> str:
    half = LONG // 2
    head, tail = redact(value[:half]), redact(value[-half:])
    # A secret that was cut in two has lost its name or its shape. It would have to be longer than the margin to show.
    return head[:-MARGIN] + CLIPPED + tail[MARGIN:]


class _Plain:
    """One conversion, and how much it may still take."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def convert(self, value: object, path: tuple[int, ...]) -> object:
        self._left -= 1
        try:
            return self._convert(value, path)
        except Exception as error:  # noqa: BLE001 -- foreign objects raise what they like
            return f"<{type(value).__name__}: {type(error).__name__}>"

    def _convert(self, value: object, path: tuple[int, ...]) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return _number(value)
        if isinstance(value, str):
            return text(str(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return text(bytes(value[: LONG + 1]).decode("utf-8", "backslashreplace"))
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {describe(value)}"
        return self._inside(value, path)

    def _inside(self, value: object, path: tuple[int, ...]) -> object:
        if id(value) in path:
            return "<circular>"
        if len(path) >= MAX_DEPTH or self._left <= 0:
            return CLIPPED.strip()
        inner = (*path, id(value))
        if isinstance(value, Mapping):
            return self._mapping(value, inner)
        if isinstance(value, list | tuple | AbstractSet):
            return self._items(value, inner)
        return self.convert(_foreign.default(value), inner)  # dates, dataclasses, enumerations, then str()

    def _items(self, value: Iterable[object], path: tuple[int, ...]) -> list[object]:
        result: list[object] = []
        for item in value:
            if self._left <= 0:
                result.append(CLIPPED.strip())
                break
            result.append(self.convert(item, path))
        return result

    def _mapping(self, value: Mapping[object, object], path: tuple[int, ...]) -> dict[str, object]:
        result: dict[str, object] = {}
        for key, item in value.items():
            if self._left <= 0:
                result[CLIPPED.strip()] = True
                break
            name = describe(key)[:200]
            result[name] = REDACTED if is_secret(name, item) else self.convert(item, path)
        return result


def _number(value: float) -> object:
    if isinstance(value, int):
        return int(value) if value.bit_length() < 1024 else f"<int of {value.bit_length()} bits>"
    return float(value) if math.isfinite(value) else repr(float(value))
