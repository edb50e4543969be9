"""Who may have a compute service do what.

The broker lets a host put messages into any queue, so a compute asks for the account that the
broker has verified: from another host it takes what two computes settle between them, and all
else from the cloud's own services alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from onestack.cluster.accounts import PREFIX

BETWEEN_COMPUTES = frozenset(
    {
        # a server that moves as it runs
        *("check_can_live_migrate_source", "pre_live_migration"),
        *("post_live_migration_at_destination", "rollback_live_migration_at_destination"),
        *("remove_volume_connection", "drop_move_claim_at_destination"),
        # one that was made anew elsewhere, asked for by the host that is back
        "check_instance_shared_storage",
        # one that gets another host while it is off, or with another flavor
        *("resize_instance", "finish_resize", "finish_revert_resize"),
    }
)
"""Methods of nova's compute service (``nova.compute.rpcapi``) that computes call."""


def admits(trusted: Collection[str]) -> Callable[[str, str], bool]:
    """``trusted`` are accounts that may ask for all."""

    def admitted(account: str, method: str) -> bool:
        if account in trusted:
            return True
        return account.startswith(PREFIX) and method in BETWEEN_COMPUTES

    return admitted
