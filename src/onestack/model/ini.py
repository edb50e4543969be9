"""Configuration as data, rendered as oslo.config reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path


class MultiOpt(tuple[str, ...]):
    """Values of an option that may stand in a file more than once, each on a line of its own."""


Value = str | int | float | bool | list[str] | tuple[str, ...]
Ini = dict[str, dict[str, Value]]
"""Section to option to value; booleans and lists are rendered as oslo.config reads them."""


def ini_text(sections: Ini) -> str:
    """Render ``sections`` for oslo.config, in the order given."""

    def lines(option: str, v: Value) -> Iterable[str]:
        if isinstance(v, MultiOpt):
            return (f"{option} = {ini_value(each)}" for each in v)
        return (f"{option} = {ini_value(v)}",)

    return "\n".join(
        "\n".join([f"[{section}]", *(t for k, v in options.items() for t in lines(k, v)), ""])
        for section, options in sections.items()
    )


def merged(sections: Ini, *shares: Ini) -> Ini:
    """``sections`` and after them, in each, what the ``shares`` have.

    A list in a share follows a list that is there. Raises `ValueError` for an option twice
    that is no list.
    """
    found: Ini = {section: dict(options) for section, options in sections.items()}
    for share in shares:
        for section, options in share.items():
            own = found.setdefault(section, {})
            for option, value in options.items():
                if option not in own:
                    own[option] = value
                    continue
                before = own[option]
                if not (isinstance(before, list | tuple) and isinstance(value, list | tuple)):
                    raise ValueError(f"two parts of a component set [{section}] {option}")
                both = (*before, *value)
                own[option] = MultiOpt(both) if isinstance(before, MultiOpt) else both
    return found


def ini_value(value: Value) -> str:
    """As oslo.config reads it back: ``$`` would be a reference, outer quotes would go."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ",".join(value) if isinstance(value, (list, tuple)) else str(value)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = f'"{text}"'
    return text.replace("$", "$$")


def read_option(path: Path, option: str) -> str | None:
    """``option`` as `ini_text` wrote it to the file that is there, of whichever section."""
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" = ")
            if name == option:
                return value
    return None
