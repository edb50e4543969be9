"""Dataclasses as plain JSON values, and back again: the types of their fields say how.

A dataclass with a class variable ``kind`` is written with it, so that one of a union
of such is read back as what it was.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")

TAG = "kind"


class Malformed(ValueError):
    """The value is not of that type; the text says where and why."""


def to_plain(value: Any) -> Any:
    """``value`` as dicts, lists, strings, numbers, booleans and ``None``."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tag = getattr(value, TAG, None)
        found = {TAG: tag} if isinstance(tag, str) else {}
        names = (field.name for field in dataclasses.fields(value))
        return found | {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(name): to_plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(one) for one in value]
    return value


def from_plain(wanted: type[T], raw: Any) -> T:
    """A ``wanted`` of what `to_plain` made of one. Raises `Malformed`."""
    return cast(T, _read(wanted, raw, wanted.__name__))


def _read(wanted: Any, raw: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Any:
        return raw
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, raw, where)
    if dataclasses.is_dataclass(wanted):
        return _read_dataclass(cast(type, wanted), raw, where)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        try:
            return wanted(raw)
        except ValueError:
            raise Malformed(f"{where}: there is no {wanted.__name__} {raw!r}") from None
    if origin is tuple:
        _expect(raw, (list, tuple), where)
        return tuple(_read(arguments[0], one, f"{where}[{i}]") for i, one in enumerate(raw))
    if origin is dict:
        _expect(raw, (dict,), where)
        return {name: _read(arguments[1], one, f"{where}.{name}") for name, one in raw.items()}
    return _read_simple(wanted, raw, where)


def _read_simple(wanted: Any, raw: Any, where: str) -> Any:
    if wanted is types.NoneType:
        _expect(raw, (types.NoneType,), where)
    elif wanted is float:
        _expect(raw, (int, float), where)
        try:
            return float(raw)
        except OverflowError:
            raise Malformed(f"{where}: the number is too large") from None
    elif wanted in (str, int, bool):
        _expect(raw, (wanted,), where)
    else:
        raise TypeError(f"{where}: {wanted} has no plain form")
    return raw


def _read_union(members: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw is None and types.NoneType in members:
        return None
    rest = [member for member in members if member is not types.NoneType]
    if len(rest) == 1:
        return _read(rest[0], raw, where)
    _expect(raw, (dict,), where)
    for member in rest:
        if getattr(member, TAG, None) == raw.get(TAG):
            return _read_dataclass(member, raw, where)
    raise Malformed(f"{where}: there is no kind {raw.get(TAG)!r}")


def _read_dataclass(wanted: type, raw: Any, where: str) -> Any:
    _expect(raw, (dict,), where)
    hints = _hints(wanted)
    given = {name: one for name, one in raw.items() if name != TAG or name in hints}
    if unknown := given.keys() - hints.keys():
        raise Malformed(f"{where} has no field {', '.join(sorted(unknown))}")
    values = {name: _read(hints[name], one, f"{where}.{name}") for name, one in given.items()}
    try:
        return wanted(**values)
    except TypeError as error:  # a field without a default is missing
        raise Malformed(f"{where}: {error}") from None


@functools.cache
def _hints(wanted: type) -> dict[str, Any]:
    """Names of the fields to their types."""
    hints = typing.get_type_hints(wanted)
    return {field.name: hints[field.name] for field in dataclasses.fields(cast(Any, wanted))}


def _expect(raw: Any, kinds: tuple[type, ...], where: str) -> None:
    if not isinstance(raw, kinds) or (isinstance(raw, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise Malformed(f"{where}: {raw!r} is not {names}")
