"""What a look at the machine or the cloud says: how bad, what, why, and what mends it.

Standard library only.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onestack.model.errors import PreflightRefused


class Severity(enum.Enum):
    REFUSE = "refuse"  # the cloud would not work, or does not
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

    @classmethod
    def from_json(cls, raw: Mapping[str, str]) -> Finding:
        return cls(Severity(raw["severity"]), raw["what"], raw["why"], raw["cure"])

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


def refusals(findings: Iterable[Finding]) -> list[Finding]:
    return [f for f in findings if f.severity is Severity.REFUSE]


def raise_refusals(findings: Iterable[Finding]) -> None:
    """Raises `PreflightRefused` with every reason and cure when there is a refusal."""
    found = refusals(findings)
    if len(found) == 1:
        raise PreflightRefused(found[0].what, found[0].why, found[0].cure)
    if found:
        raise PreflightRefused(
            f"this machine is not ready: {len(found)} things must be mended first",
            "\n".join(
                f"{n}. {f.what}" + (f": {f.why}" if f.why else "") for n, f in enumerate(found, 1)
            ),
            "\n".join(f"{n}. {f.cure}" for n, f in enumerate(found, 1) if f.cure),
        )
