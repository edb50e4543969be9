"""Keys of encrypted volumes where there is no key manager: none are given out.

Upstream's class without one gives every volume of every project the same key, which stands in
cinder.conf. Volumes that have it already (of back-ends other than the pool) are still read.

Keys of a key manager that was switched off are not to be had here. Upstream answers for them with
errors of its own, which its callers do not expect: what has such a key could not even be deleted.
"""

from __future__ import annotations

from typing import Any

from castellan.common.exception import ManagedObjectNotFoundError
from cinder import exception
from cinder.keymgr import conf_key_mgr
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

CURE = (
    "volumes of an encrypted type want a key manager, and this cloud has none: its operator adds "
    "it with CONFIG_ONESTACK_BARBICAN_INSTALL=y"
)


class ConfKeyManager(conf_key_mgr.ConfKeyManager):  # type: ignore[misc]
    """Named as upstream's, by which cinder knows that there is no other to move keys to."""

    def __init__(self, configuration: Any) -> None:
        # What it warns of is what is not done here.
        conf_key_mgr.ConfKeyManager.warning_logged = True
        super().__init__(configuration)

    def create_key(self, context: Any, **kwargs: Any) -> str:
        raise exception.InvalidVolume(reason=CURE)

    def get(self, context: Any, managed_object_id: str) -> Any:
        if managed_object_id != self.key_id:
            raise exception.InvalidVolume(reason=CURE)
        return super().get(context, managed_object_id)

    def delete(self, context: Any, managed_object_id: str) -> None:
        if managed_object_id != self.key_id:
            LOG.warning("Key %s stays in the key manager, which is off.", managed_object_id)
            raise ManagedObjectNotFoundError(uuid=managed_object_id)
        super().delete(context, managed_object_id)
