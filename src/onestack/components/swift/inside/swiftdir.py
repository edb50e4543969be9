"""Where swift finds swift.conf: in the cloud's directory, not in /etc/swift (services' env)."""

from __future__ import annotations


def use(directory: str) -> None:
    """Read it anew: swift has looked into /etc/swift while it was imported."""
    from swift.common import constraints, storage_policy, utils

    utils.set_swift_dir(directory)
    constraints.reload_constraints()
    storage_policy.reload_storage_policies()
