"""What to make of findings. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable

from onestack.errors import PreflightRefused
from onestack.host.findings import Finding, Severity, info, refuse, warn

__all__ = ["Finding", "Severity", "info", "raise_refusals", "refusals", "refuse", "warn"]


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
