"""Why a volume could not be made of an image, as cinder's own API tells it."""

from __future__ import annotations

import pytest

from tests.support.needs import needs_services
from tests.support.trials import tried_text

TRIAL = """
import types
import onestack.components.cinder.inside.preload
from cinder import exception
from cinder.message import message_field
from cinder.volume.flows.manager import create_volume
from onestack.components.cinder.inside import messages

task_class = create_volume.CreateVolumeFromSpecTask
raised = {}

def of_image(self, context, volume, *image, **more):
    raise raised["error"]

task_class._create_from_image = of_image
messages.tell_of_images()
kept = []

def said(error):
    raised["error"] = error
    task = object.__new__(task_class)
    task._message = types.SimpleNamespace(
        create=lambda context, action, resource_uuid, detail: kept.append((action, detail)))
    kept.clear()
    try:
        task._create_from_image(None, types.SimpleNamespace(id="v"), "where", "image", {}, None)
    except type(error) as again:
        assert again is error
    else:
        raise AssertionError("it is an error all the same")
    # as the API reads it back
    return [message_field.translate_detail(message_field.translate_detail_id(None, detail))
            for _, detail in kept]

(text,) = said(exception.ImageUnacceptable(image_id="x", reason="no"))
assert "no disk of the format" in text, text
for error in (exception.ImageCopyFailure(reason="x"), exception.ImageNotFound(image_id="x")):
    assert "could not be had" in said(error)[0]
# of these upstream tells by itself
assert said(exception.ImageTooBig(image_id="x", reason="no")) == []
assert said(ValueError("a defect")) == []
numbers = [number for number, _ in message_field.Detail.ALL]
assert len(set(numbers)) == len(numbers)
"""


@needs_services
def test_reasons_that_upstream_has_no_message_for() -> None:
    tried_text(TRIAL)


ROOM = r"""
import os, sys, tempfile, types
import onestack.components.cinder.inside.preload
from cinder import context, exception, objects
from cinder.db import api as database, models
from cinder.message import api
from cinder.message.message_field import Action, Detail
from cinder.volume import manager, volume_types
from oslo_config import cfg
from onestack.components.cinder.inside import messages, refusals

scratch = tempfile.TemporaryDirectory()
place = scratch.name
with open(f"{place}/cinder.conf", "w") as file:
    file.write(f"[database]\nconnection=sqlite:///{place}/cinder.sqlite\n")
cfg.CONF(["--config-file", f"{place}/cinder.conf"], project="cinder")
models.BASE.metadata.create_all(database.get_engine())
admin = context.get_admin_context()
database.volume_type_create(admin, {"name": "__DEFAULT__"})
user = context.RequestContext(user_id="u", project_id="p", is_admin=False)

def volume(**more):
    made = objects.Volume(admin, **{"size": 20, "status": "creating", "project_id": "p", **more})
    made.create()
    return made

def read(thing):
    from cinder.api.v3.messages import MessagesController
    controller = MessagesController(None)
    kept = controller.message_api.get_all(user, filters={"resource_uuid": thing.id})
    for message in kept:
        controller._build_user_message(message)
    return [message["user_message"] for message in kept]

messages.know()
messages.read_figures()
"""

PLACES = """
def state(**free):
    pools = {n: types.SimpleNamespace(free_capacity_gb=v) for n, v in free.items()}
    return types.SimpleNamespace(pools=pools)

states = {"here@pool": state(pool=3.5), "here@nfs": state(a=9, b="unknown")}
no = exception.NoValidBackend(reason="x")

class Scheduler:
    driver = types.SimpleNamespace(
        host_manager=types.SimpleNamespace(backend_state_map=states))

    def extend_volume(self, context, volume, new_size, reservations, request_spec=None):
        api.API().create(context, Action.EXTEND_VOLUME, resource_uuid=volume.id, exception=no)

    def create_snapshot(self, ctxt, volume, snapshot, backend, request_spec=None):
        snapshot.status = backend

scheduler = Scheduler()
messages.tell_of_places(scheduler)
here = "here@pool#pool"
one, two, three = volume(host=here), volume(size=5, host=here), volume()
api.API().create(user, Action.SCHEDULE_ALLOCATE_VOLUME, resource_uuid=one.id, exception=no)
(text,) = read(one)
assert "No back-end takes 20 GiB" in text and "9.0 GiB free" in text, text
assert "onestack pool grow" in text and "{" not in text, text
scheduler.extend_volume(user, two, 30, None)
(text,) = read(two)
assert text.startswith("extend volume:25 GiB more are wanted where the volume is"), text
assert "there 3.5 GiB are free" in text, text
# Where the one that was found has refused, and told why, this would be another reason.
four = volume()
messages.say(user, Action.CREATE_VOLUME_FROM_BACKEND, four.id, refusals.NO_KEY)
api.API().create(user, Action.SCHEDULE_ALLOCATE_VOLUME, resource_uuid=four.id, exception=no)
assert len(read(four)) == 1, read(four)
for status, told in (("error", 1), ("creating", 0)):
    shot = types.SimpleNamespace(id=f"shot-{status}", status="creating")
    scheduler.create_snapshot(user, one, shot, status, request_spec={})
    texts = read(shot)
    assert len(texts) == told, texts
    assert all(text.startswith("create snapshot:20 GiB more are wanted") for text in texts)
    assert all("there 3.5 GiB are free" in text for text in texts)
del states["here@pool"]
five = volume(size=5, host=here)
scheduler.extend_volume(user, five, 30, None)
assert "none is there" in read(five)[0], "another place is of no use to it"
states.clear()
api.API().create(user, Action.SCHEDULE_ALLOCATE_VOLUME, resource_uuid=three.id, exception=no)
assert "none is there" in read(three)[0]
# What is not of room, upstream tells as it does.
api.API().create(user, Action.ATTACH_VOLUME, resource_uuid=two.id, detail=Detail.ATTACH_ERROR)
assert "attach volume:Failed to attach volume." in read(two)
"""

DRIVER = """
messages.tell_once()

class Driver:
    @messages.told(Action.EXTEND_VOLUME)
    def extend_volume(self, volume, size):
        raise refusals.Refused(refusals.NO_ROOM, wanted=5.0, free=1.25)

one = volume()
one._context = user
try:
    Driver().extend_volume(one, 25)
except exception.VolumeBackendAPIException as problem:
    assert "5.0 GiB are wanted" in str(problem)
    try:
        raise exception.ImageCopyFailure(reason="of it")
    except exception.ImageCopyFailure:
        # Upstream's own of the same, while it is handled.
        detail = Detail.DRIVER_FAILED_EXTEND
        api.API().create(user, Action.EXTEND_VOLUME, resource_uuid=one.id, detail=detail)
else:
    raise AssertionError("it is an error all the same")
(text,) = read(one)
assert "5.0 GiB are wanted, and the pool has 1.25 GiB free" in text, text
api.API().create(user, Action.EXTEND_VOLUME, resource_uuid=one.id, detail=Detail.DETACH_ERROR)
assert len(read(one)) == 2
# A user knows nothing of a migration's copy.
two = volume()
copy = volume(migration_status=f"target:{two.id}")
messages.tell(copy, Action.CREATE_VOLUME_FROM_BACKEND, refusals.Refused(refusals.STAYS))
assert not read(copy)
assert read(two)[0].startswith("move a volume:An encrypted volume stays"), read(two)
for reason in refusals.ALL:
    assert len(reason.number) == 3 and int(reason.number) > 900, reason
"""

RETYPES = """
asked = []
change = manager.VolumeManager.retype
manager.VolumeManager.retype = lambda self, *words, **more: asked.append((words, more))
messages.tell_of_retypes()
encrypted = database.volume_type_create(admin, {"name": "luks"})
how = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256,
       "control_location": "front-end"}
database.volume_type_encryption_create(admin, encrypted["id"], dict(how))
plain = database.volume_type_create(admin, {"name": "other"})
for new, policy, told in ((plain, "on-demand", 0), (encrypted, "never", 1)):
    one = volume()
    words = (user, one, new["id"], {"host": "here@pool#pool"}, "on-demand")
    manager.VolumeManager.retype(object(), *words, reservations=["r"])
    (given, more) = asked[-1]
    assert (given[4], more) == (policy, {"reservations": ["r"]}), (given, more)
    texts = read(one)
    assert len(texts) == told, texts
    assert all(text.startswith("change the type of a volume:A volume keeps") for text in texts)

# Two types of one encryption: upstream lists what is the same, and takes it for a change.
from unittest import mock
same = database.volume_type_create(admin, {"name": "same", "extra_specs": {"a": "b"}})
database.volume_type_encryption_create(admin, same["id"], dict(how))
diff, equal = volume_types.volume_types_diff(admin, encrypted["id"], same["id"])
assert not equal and diff["extra_specs"] and not diff["encryption"], diff
diff, _ = volume_types.volume_types_diff(admin, encrypted["id"], plain["id"])
assert diff["encryption"]["provider"] == ("luks", None)
service = mock.MagicMock()
service.driver.retype.return_value = (True, None)
one = volume(host="here@pool#pool", status="retyping", previous_status="available",
             volume_type_id=encrypted["id"])
change(service, user, one, same["id"], {"host": "here@pool#pool"})
one.refresh()
assert (one.status, one.volume_type_id) == ("available", same["id"])
"""

KEYS = r"""
import inspect
from onestack.components.cinder.inside import keys
from cinder.keymgr import migration
from cinder.volume import volume_utils

cfg.CONF.set_override("fixed_key", "ab" * 32, group="key_manager")
own = keys.ConfKeyManager(cfg.CONF)
fixed = "00000000-0000-0000-0000-000000000000"
assert own.get(user, fixed).get_encoded() == b"\xab" * 32, "what there is, is read"
encrypted = database.volume_type_create(admin, {"name": "luks"})
how = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256,
       "control_location": "front-end"}
database.volume_type_encryption_create(admin, encrypted["id"], how)
try:
    volume_utils.create_encryption_key(admin, own, encrypted["id"])
except exception.Invalid as problem:
    # which the API gives to whoever asks
    assert problem.code == 400 and "CONFIG_ONESTACK_BARBICAN_INSTALL=y" in str(problem)
else:
    raise AssertionError("all volumes get one key")
# Keys of a key manager that was switched off: nothing is copied, and everything can be deleted.
foreign = "7d7ad7b6-6a3c-4a1e-9d0c-0f3f5b7f8a11"
try:
    volume_utils.clone_encryption_key(admin, own, foreign)
except exception.Invalid as problem:
    assert problem.code == 400 and "CONFIG_ONESTACK_BARBICAN_INSTALL=y" in str(problem)
else:
    raise AssertionError("of what")
volume_utils.delete_encryption_key(admin, own, foreign)
volume_utils.delete_encryption_key(admin, own, fixed)
import castellan.key_manager
from onestack.components.cinder.inside import luks
castellan.key_manager.API = lambda configuration: own
try:
    luks.passphrase_of(types.SimpleNamespace(id="v", encryption_key_id=foreign), admin)
except refusals.Refused as problem:
    assert problem.reason is refusals.NO_KEY
else:
    raise AssertionError("it has no key")
# By its name cinder knows that there is nothing to move keys to.
assert f"'{type(own).__name__}'" in inspect.getsource(migration)
"""

FORGOTTEN = """
import uuid
from unittest import mock
from cinder import quota
from onestack.components.cinder.inside import forgotten, jobs

jobs._unpatched = lambda: None  # it comes before all else, and once
with open(f"{place}/cinder.conf", "a") as file:
    file.write("[keystone_authtoken]\\nauth_type=password\\nusername=cinder\\n")
    file.write("password=p\\nauth_url=http://identity\\n")

def backup(service, status, of, **more):
    made = objects.Backup(context.RequestContext("u", "p", is_admin=True), project_id="p",
        user_id="u", host="h", service=service, status=status, volume_id=of.id, **more)
    made.create()
    return made

def shot(of, status):
    made = objects.Snapshot(admin, volume_id=of.id, volume_size=1, project_id="p")
    made.create()
    made.status = status
    made.save()
    return made

used = volume(status="backing-up", previous_status="in-use")
filled = volume(status="restoring-backup")
busy = volume(status="backing-up", previous_status="available")
temporary, of_shot = shot(used, "available"), shot(used, "backing-up")
key = str(uuid.uuid4())
forgot = [
    backup("gone", "creating", used, temp_snapshot_id=temporary.id),
    backup("gone", "creating", filled, snapshot_id=of_shot.id),
    backup("gone", "restoring", busy, restore_volume_id=filled.id, encryption_key_id=key),
    # Of a volume of which the other's service makes one.
    backup("gone", "available", busy, restore_volume_id=busy.id),
]
others = [backup("other", "creating", busy), backup(None, "creating", busy)]
arguments = {"config": f"{place}/cinder.conf", "driver": "gone", "service": False}
manager = mock.MagicMock()
with mock.patch.object(forgotten.key_manager, "API", return_value=manager):
    jobs.forget_backups(arguments)
(asked,) = manager.delete.call_args_list
assert asked.args[1] == key and asked.args[0].username == "cinder", asked
for each in (used, filled, busy, temporary, of_shot):
    each.refresh()
assert (used.status, filled.status, busy.status) == ("in-use", "error_restoring", "backing-up")
assert (temporary.status, of_shot.status) == ("deleting", "available")
left = {each.id for each in objects.BackupList.get_all(admin)}
assert left == {each.id for each in others}, left
# No backups any more: nobody begins what waits. A key that cannot be had stays.
jobs.forget_backups({**arguments, "service": True})
assert [each.service for each in objects.BackupList.get_all(admin)] == ["other"]
one = backup("gone", "available", busy, encryption_key_id=key)
manager.delete.side_effect = forgotten.CastellanException("no")
with mock.patch.object(forgotten.key_manager, "API", return_value=manager):
    jobs.forget_backups(arguments)
assert len(objects.BackupList.get_all(admin)) == 1
"""


@needs_services
@pytest.mark.parametrize("trial", [PLACES, DRIVER, RETYPES, KEYS, FORGOTTEN])
def test_words_with_figures(trial: str) -> None:
    tried_text(ROOM + trial)
