"""Backups whose data is gone: what they leave where their service is no more.

Runs in a job, when cinder's configuration is read.
"""

from __future__ import annotations

import contextlib
from typing import Any

from castellan import key_manager
from castellan.common.credentials.keystone_password import KeystonePassword
from castellan.common.exception import CastellanException
from cinder import context as contexts
from cinder import exception, objects
from cinder.objects import fields
from cinder.volume import volume_utils
from keystoneauth1 import loading
from keystoneauth1.exceptions import ClientException
from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


def forget(backup: Any) -> None:
    """Delete its record, and its key; what it was made of or restored to is at work no more."""
    status = fields.BackupStatus
    if backup.status == status.CREATING:
        _volume(backup.volume_id, "backing-up")
        if backup.snapshot_id:
            _snapshot(backup.snapshot_id, fields.SnapshotStatus.AVAILABLE)
        if backup.temp_snapshot_id:
            # What was read of a volume in use. The volume service deletes it at its next start.
            _snapshot(backup.temp_snapshot_id, fields.SnapshotStatus.DELETING)
    elif backup.status == status.RESTORING:
        _volume(backup.restore_volume_id, "restoring-backup")
    if backup.encryption_key_id:
        _delete_key(backup.encryption_key_id)
    backup.destroy()


def _volume(identity: str, state: str) -> None:
    """It was in ``state``, and is what it was before, or half of it is the backup's."""
    with contextlib.suppress(exception.VolumeNotFound):
        volume = objects.Volume.get_by_id(contexts.get_admin_context(), identity)
        if volume.status == state:
            restoring = state == "restoring-backup"
            volume.status = "error_restoring" if restoring else volume.previous_status
            volume.save()


def _snapshot(identity: str, state: str) -> None:
    with contextlib.suppress(exception.SnapshotNotFound):
        snapshot = objects.Snapshot.get_by_id(contexts.get_admin_context(), identity)
        snapshot.status = state
        snapshot.save()


def _delete_key(identity: str) -> None:
    """As upstream does where its user's word is not to be had: with the service's own."""
    section = "keystone_authtoken"
    loading.register_auth_conf_options(cfg.CONF, section)
    loading.load_auth_from_conf_options(cfg.CONF, section)
    own = cfg.CONF[section]
    service = KeystonePassword(
        password=own.password,
        auth_url=own.auth_url,
        username=own.username,
        user_domain_name=own.user_domain_name,
        project_name=own.project_name,
        project_domain_name=own.project_domain_name,
    )
    try:
        volume_utils.delete_encryption_key(service, key_manager.API(cfg.CONF), identity)
    except (CastellanException, ClientException) as problem:
        LOG.warning("Key %s stays in the key manager: %s", identity, problem)
