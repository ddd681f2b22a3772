"""Any value as one that JSON has: bounded, without secrets, and without raising.

What is logged may be circular, endless, hostile, or changing while it is read. None of that may cost the record.
"""

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from pythonjsonlogger.json import JsonEncoder

from service.logs.redaction import CLIPPED, LONG, REDACTED, clean, is_secret_name

MAX_DEPTH = 8
MAX_NODES = 1000  # values in one field, all levels together
LEFT_OUT = CLIPPED.strip(" ")  # in place of what is deeper or more

_foreign = JsonEncoder()


def plain(value: object) -> object:
    """The value as dicts, lists, strings, finite numbers, booleans and None. Never raises an Exception.

    Secrets are redacted by key at any depth, and in strings. More than eight levels or a thousand values are left out.
    """
    return _Plain().convert(value, ())


def is_secret(name: str, value: object) -> bool:
    """Whether the value under this name must stay out of the log. Whether there is one may be logged."""
    return value is not None and not isinstance(value, bool) and is_secret_name(name)


def describe(value: object) -> str:
    """``str(value)`` without secrets, or a note about an object whose ``__str__`` raises."""
    try:
        return clean(str(value))
    except Exception as error:  # noqa: BLE001 -- anything may come out of a foreign __str__
        return f"<{type(value).__name__}: {type(error).__name__} in __str__>"


class _Plain:
    """One conversion, and how many values it may still take."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def convert(self, value: object, path: tuple[int, ...]) -> object:
        """``path`` has the ids of the containers around the value."""
        self._left -= 1
        try:
            if value is None or isinstance(value, bool):
                return value
            if isinstance(value, str):
                return clean(str(value))
            if isinstance(value, int | float):
                return _number(value)
            if isinstance(value, bytes | bytearray | memoryview):
                return clean(bytes(value[: LONG + 1]).decode("utf-8", "backslashreplace"))
            return self._inside(value, path)
        except Exception as error:  # noqa: BLE001 -- foreign objects raise what they like
            return f"<{type(value).__name__}: {type(error).__name__}>"

    def _inside(self, value: object, path: tuple[int, ...]) -> object:
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {describe(value)}"
        if id(value) in path:
            return "<circular>"
        if len(path) >= MAX_DEPTH or self._left <= 0:
            return LEFT_OUT
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
                result.append(LEFT_OUT)
                break
            result.append(self.convert(item, path))
        return result

    def _mapping(self, value: Mapping[object, object], path: tuple[int, ...]) -> dict[str, object]:
        result: dict[str, object] = {}
        for key, item in value.items():
            if self._left <= 0:
                result[LEFT_OUT] = True
                break
            name = describe(key)[:200]
            result[name] = REDACTED if is_secret(name, item) else self.convert(item, path)
        return result


def _number(value: float) -> object:
    if isinstance(value, int):
        return int(value) if value.bit_length() < 1024 else f"<int of {value.bit_length()} bits>"
    return float(value) if math.isfinite(value) else repr(float(value))
