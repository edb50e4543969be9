"""What a look at the machine or the cloud says: how bad, what, why, and what mends it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    REFUSE = "refuse"  # the cloud would not work
    WARN = "warn"  # it works, with something lost
    INFO = "info"  # worth knowing


@dataclass(frozen=True)
class Finding:
    severity: Severity
    what: str
    why: str = ""
    cure: str = ""
    """A command, or what to do."""

    def __str__(self) -> str:
        text = f"{self.severity.value}: {self.what}"
        if self.why:
            text += f"\n  why: {self.why}"
        if self.cure:
            text += f"\n  cure: {self.cure}"
        return text

    def to_json(self) -> dict[str, str]:
        return {
            "severity": self.severity.value,
            "what": self.what,
            "why": self.why,
            "cure": self.cure,
        }


def refuse(what: str, why: str = "", cure: str = "") -> Finding:
    return Finding(Severity.REFUSE, what, why, cure)


def warn(what: str, why: str = "", cure: str = "") -> Finding:
    return Finding(Severity.WARN, what, why, cure)


def info(what: str, why: str = "", cure: str = "") -> Finding:
    return Finding(Severity.INFO, what, why, cure)
