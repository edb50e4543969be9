"""How Tempest and its plugins call what they make."""

from __future__ import annotations

import re
from typing import Any

_RANDOM = r"tempest-.+-\d{6,10}"
"""A number below 2**31; one in twenty thousand is shorter, and stays: people's are."""
NAME = re.compile(
    _RANDOM
    # What is made for a class of tests is called by what it is, and a user by what it may, too.
    + r"(-(project|domain|system)(-.+)?|-(network|subnet|router))?"
)


def is_tempests(name: str | None) -> bool:
    return bool(NAME.fullmatch(name or ""))


def describes(item: dict[str, Any]) -> bool:
    """Whether a project, or a domain, is described as Tempest does, too."""
    said = item.get("description") or ""
    return said == f"{item['name']}-desc" or bool(re.fullmatch(_RANDOM, said))
