"""What comes by the bus is believed only when its sender could encrypt it (services' environment).

Trove encrypts its messages with a key for each guest and one of its own, but upstream's readers
take what is not encrypted, or not with the right key, as it stands: whoever reaches the bus (a
guest does) could speak for another guest, or give the service orders. Here a message names
one sender, is encrypted with that sender's key throughout, or is refused. A sender speaks of
itself only, and has no class imported but upstream's notifications. Upstream's encryption does
not bind a message's pieces to each other, to a method or a time: what was sent once can be sent
again, or put together anew, by who could read it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from oslo_serialization import jsonutils
from trove.backup.models import DBBackup
from trove.backup.state import BackupState
from trove.common import cfg, crypto_utils, exception
from trove.common.rpc.conductor_host_serializer import ConductorHostSerializer
from trove.common.rpc.secure_serializer import SecureSerializer
from trove.conductor import manager
from trove.instance import models

LOG = logging.getLogger("onestack.trove")
SENDER = "csz-instance-id"
NOTIFICATION = "notification_classname"
NOTIFICATIONS = "trove.common.notification.DBaaS"
TASKMANAGER = "taskmanager"
"""As which this process speaks to its own conductor; no guest's id."""
STARTED = {"agent": "started"}
"""What a guest's agent says, beside the database's status, each time that it starts."""
OF_A_BACKUP = frozenset({"size", "state", "backup_type", "checksum", "location", "success"})
"""What a guest may tell of a backup that it makes."""


class Disbelieved(Exception):
    """The text says what is wrong with a message."""


def speak_as_taskmanager() -> None:
    """This process has a name and a key at its own conductor, as each guest has."""
    cfg.CONF.set_override("guest_id", TASKMANAGER)
    cfg.CONF.set_override("instance_rpc_encr_key", cfg.CONF.taskmanager_rpc_encr_key)


def _opened(key: str, sealed: Any) -> Any:
    try:
        text = crypto_utils.decrypt_data(crypto_utils.decode_data(sealed), key)
        return jsonutils.loads(text)
    except (ValueError, TypeError, IndexError) as error:
        raise Disbelieved("a message that is not encrypted with its sender's key") from error


def _key_of(sender: str) -> str:
    if sender == TASKMANAGER:
        return str(cfg.CONF.taskmanager_rpc_encr_key)
    try:
        key: str = models.get_instance_encryption_key(sender)
    except exception.NotFound as error:
        raise Disbelieved("a message of a guest that is not known") from error
    return key


def _check_notification(described: Mapping[str, Any] | None) -> None:
    """Upstream imports and calls whatever class is named."""
    if described and not str(described.get(NOTIFICATION)).startswith(NOTIFICATIONS):
        raise Disbelieved("a message that names a class which is no notification")


class FromGuests(ConductorHostSerializer):  # type: ignore[misc]
    """Of the conductor: the context of a message knows its sender, `instance_id`."""

    def _deserialize_context(self, ctxt: Any) -> dict[str, Any]:
        sender = ctxt.get(SENDER)
        if not isinstance(sender, str) or not sender:
            raise Disbelieved("a message without a sender")
        found = _opened(_key_of(sender), ctxt.get("context"))
        if not isinstance(found, dict):
            raise Disbelieved("a message whose context is none")
        _check_notification(found.get("trove_notification"))
        return found | {SENDER: sender}

    def deserialize_context(self, context: Any) -> Any:
        found = self._deserialize_context(context)
        sender = found.pop(SENDER)
        made = self._base.deserialize_context(found)
        # Upstream's own loses it.
        made.instance_id = sender
        return made

    def _serialize_entity(self, ctxt: Any, entity: Any) -> Any:
        text = jsonutils.dumps(entity)
        return crypto_utils.encode_data(crypto_utils.encrypt_data(text, _key_of(ctxt.instance_id)))

    def _deserialize_entity(self, ctxt: Any, entity: Any) -> Any:
        try:
            envelope = jsonutils.loads(entity)
            sender, sealed = envelope[SENDER], envelope["entity"]
        except (ValueError, TypeError, KeyError) as error:
            raise Disbelieved("a message that is not encrypted") from error
        if sender != ctxt.instance_id:
            raise Disbelieved("a message with two senders")
        return _opened(_key_of(sender), sealed)


class OfOneKey(SecureSerializer):  # type: ignore[misc]
    """Of two that share a key: orders to the taskmanager, and what guests answer us."""

    def __init__(self, base: Any, key: str) -> None:
        if not key:
            raise ValueError("a reader of messages needs a key")
        super().__init__(base, key)

    def _deserialize_context(self, ctxt: Any) -> Any:
        return _opened(self._key, ctxt.get("context"))

    def _deserialize_entity(self, ctxt: Any, entity: Any) -> Any:
        return _opened(self._key, entity)


class Conductor(manager.Manager):  # type: ignore[misc]
    """Upstream's, to which a guest speaks of itself, and no more than it has to tell."""

    def heartbeat(
        self, context: Any, instance_id: str, payload: dict[str, Any], sent: float | None = None
    ) -> None:
        _of_itself(context, instance_id)
        if payload == STARTED:
            # The one that it was making ended with its predecessor, and nobody else knows.
            _fail_backups(instance_id)
            return
        super().heartbeat(context, instance_id, payload, sent=sent)

    def update_backup(
        self,
        context: Any,
        instance_id: str,
        backup_id: str,
        sent: float | None = None,
        **backup_fields: Any,
    ) -> None:
        _of_itself(context, instance_id)
        if strange := backup_fields.keys() - OF_A_BACKUP:
            raise Disbelieved(f"a guest tells of a backup's {', '.join(sorted(strange))}")
        state = backup_fields.get("state", BackupState.NEW)
        if state not in (*BackupState.RUNNING_STATES, BackupState.COMPLETED, BackupState.FAILED):
            raise Disbelieved("a guest tells of a backup's state that is none")
        super().update_backup(context, instance_id, backup_id, sent=sent, **backup_fields)

    def report_root(self, context: Any, instance_id: str, user: str | None = None) -> None:
        _of_itself(context, instance_id)
        super().report_root(context, instance_id, user)

    def notify_end(
        self,
        context: Any,
        serialized_notification: dict[str, Any],
        notification_args: dict[str, Any],
    ) -> None:
        _check_told(context, serialized_notification, notification_args)
        super().notify_end(context, serialized_notification, notification_args)

    def notify_exc_info(
        self,
        context: Any,
        serialized_notification: dict[str, Any],
        message: str,
        exception: Any,
    ) -> None:
        _check_told(context, serialized_notification)
        super().notify_exc_info(context, serialized_notification, message, exception)


def _fail_backups(instance_id: str) -> None:
    for state in BackupState.RUNNING_STATES:
        for backup in DBBackup.find_all(instance_id=instance_id, state=state, deleted=False).all():
            LOG.error("The backup %s was interrupted", backup.id)
            backup.state = BackupState.FAILED
            backup.save()


def _of_itself(context: Any, instance_id: str) -> None:
    if context.instance_id not in (instance_id, TASKMANAGER):
        raise Disbelieved(f"the guest {context.instance_id} speaks of another")


def _check_told(context: Any, notification: dict[str, Any], *more: dict[str, Any]) -> None:
    _check_notification(notification)
    for told in (notification, *more):
        if (about := told.get("instance_id")) is not None:
            _of_itself(context, about)
