"""What a test needs of the machine. Without it the test is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onestack.release.release import release


def services_python() -> Path:
    """The services' environment: ``ONESTACK_SERVICES``, or the one that `up` installed."""
    given = os.environ.get("ONESTACK_SERVICES")
    return Path(given) / "bin" / "python" if given else release().services.python


def sahara_python() -> Path:
    """Sahara's environment: ``ONESTACK_SAHARA``, or the one that `up` installed."""
    given = os.environ.get("ONESTACK_SAHARA")
    return Path(given) / "bin" / "python" if given else release().environment("sahara").python


def tempest_python() -> Path:
    """Tempest's environment: ``ONESTACK_TEMPEST``, or the one that `up` installed."""
    given = os.environ.get("ONESTACK_TEMPEST")
    return Path(given) / "bin" / "python" if given else release().environment("tempest").python


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="run as root")
needs_services = pytest.mark.skipif(
    not services_python().exists(),
    reason="the services' environment is not installed (onestack up, or ONESTACK_SERVICES)",
)
needs_sahara = pytest.mark.skipif(
    not sahara_python().exists(),
    reason="sahara's environment is not installed (onestack up, or ONESTACK_SAHARA)",
)
needs_tempest = pytest.mark.skipif(
    not tempest_python().exists(),
    reason="Tempest's environment is not installed (onestack up, or ONESTACK_TEMPEST)",
)
