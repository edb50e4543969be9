"""Trials of trove's room inside upstream, in the services' environment.

``python trove_trials.py TRIAL FOLDER``: prints what it found as JSON. In ``FOLDER`` are the
room's files as a cloud has them (``etc/trove``); the database is a file there.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

CONFIG = """[DEFAULT]
transport_url = fake://
use_stderr = true
taskmanager_rpc_encr_key = of-the-taskmanager
inst_rpc_key_encr_key = of-the-rows
[database]
connection = sqlite:///{folder}/trove.sqlite
[service_credentials]
auth_url = http://127.0.0.1:1/v3
username = trove
[oslo_policy]
policy_file = {folder}/etc/trove/policy.yaml
[oslo_messaging_notifications]
driver = noop
"""


def schema(folder: Path) -> Any:
    """The release's own, made as a cloud makes it."""
    from onestack.components.trove.inside import jobs

    with contextlib.suppress(SystemExit):  # as upstream's command ends
        jobs.sync({"config": [str(written(folder))]})
    return (folder / "trove.sqlite").stat().st_size > 0


def written(folder: Path) -> Path:
    path = folder / "trial.conf"
    path.write_text(CONFIG.format(folder=folder))
    return path


def begin(folder: Path) -> None:
    """Upstream on native threads, with the database that is there."""
    from onestack.components.trove.inside import run

    run.configure([str(written(folder))])


def native(folder: Path) -> Any:
    """Whether anything was patched by upstream."""
    begin(folder)
    import queue
    import threading

    import eventlet.patcher

    names = ("socket", "thread", "time", "select")
    return {
        "modules": [socket.socket.__module__, threading.Thread.__module__, queue.Queue.__module__],
        "patched": [name for name in names if eventlet.patcher.is_monkey_patched(name)],
        "patches": eventlet.patcher.monkey_patch.__module__,
    }


def log(folder: Path) -> Any:
    """What stands in the log of requests that upstream shows whole, and of a few more."""
    begin(folder)
    import io
    import logging

    from trove.common import base_wsgi, exception, wsgi
    from trove.extensions.common import models, service, views

    text = io.StringIO()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(text)
    request = base_wsgi.Request.blank(
        "/v1.0/p/instances/i/root",
        method="POST",
        headers={"X-Auth-Token": "of-a-client", "Content-Type": "application/json"},
        body=json.dumps({"password": 'it\'s "mine", all'}).encode(),
    )
    request.environ[wsgi.CONTEXT_KEY] = None
    made = types.SimpleNamespace(data=dict)
    with (
        mock.patch.object(models.Root, "create", lambda *_: None),
        mock.patch.object(views, "RootCreatedView", lambda root: made),
    ):
        service.DefaultRootController().root_create(
            request, {"password": 'it\'s "mine", all'}, "p", "i", False
        )
    # These two it masks itself before.
    users = {"users": [{"name": "app", "password": 'of"a-user, of-two"of-three'}]}
    put = base_wsgi.Request.blank(
        "/v1.0/p/instances/i/users", method="PUT", body=json.dumps(users).encode()
    )
    put.environ[wsgi.CONTEXT_KEY] = None
    refused = mock.Mock(side_effect=exception.Forbidden)
    controller = service.UserController()
    with mock.patch.object(service.UserController, "authorize_target_action", refused):
        for told in (controller.create, controller.update_all):
            with contextlib.suppress(exception.Forbidden):
                told(put, users, "p", "i")
    other = logging.getLogger("trove.a.test")
    other.error("a body %s", {"users": [{"name": "app", "password": 'it\'s "mine", all'}]})
    other.error("a token gAAAAABl%s", "x" * 60)
    try:
        raise ValueError("password='of-a-user'")
    except ValueError:
        other.exception("failed")
    with mock.patch.object(sys, "stderr", text):
        other.error("too few %s %s", "password='of-a-user'")
    return text.getvalue()


def policy(folder: Path) -> Any:
    """Of upstream's rules: those that only read, and what a reader and a member may."""
    begin(folder)
    from trove.common import exception, policies
    from trove.common import policy as enforced
    from trove.common.context import TroveContext

    listed = [rule for rule in policies.list_rules() if hasattr(rule, "operations")]
    owned = [rule for rule in listed if rule.check_str == "rule:admin_or_owner"]
    reading = [r.name for r in owned if all(o["method"] == "GET" for o in r.operations)]

    def may(*roles: str, project: str = "one") -> list[str]:
        context = TroveContext(project_id=project, roles=list(roles), user_id="u")
        found = []
        for rule in listed:
            try:
                enforced.authorize_on_target(context, rule.name, {"tenant": "one"})
                found.append(rule.name)
            except exception.PolicyNotAuthorized:
                pass
        return sorted(found)

    public = sorted(rule.name for rule in listed if rule.check_str == "")
    return {
        "owned": sorted(rule.name for rule in owned),
        "reading": sorted(reading),
        "public": public,
        "reader": may("reader"),
        "member": may("member", "reader"),
        "stranger": may("member", "reader", project="two"),
    }


class Bus:
    """A server of calls as it is made in a cloud, and guests that speak to it."""

    def __init__(self) -> None:
        from oslo_messaging.rpc import dispatcher
        from trove.common.rpc import conductor_guest_serializer, secure_serializer
        from trove.common.rpc.serializer import TroveRequestContextSerializer
        from trove.conductor import api

        from onestack.components.trove.inside import strict

        self.plain = TroveRequestContextSerializer(None)
        self.guest = conductor_guest_serializer.ConductorGuestSerializer
        self.secure = secure_serializer.SecureSerializer
        self.version = api.API.API_LATEST_VERSION
        policy = dispatcher.DefaultRPCAccessPolicy
        self.conductor = dispatcher.RPCDispatcher(
            [strict.Conductor()], strict.FromGuests(self.plain), policy
        )

        class Obeys:
            """Does what it is told."""

            heard: list[str] = []  # noqa: RUF012

            def restart(self, context: Any, instance_id: str) -> str:
                self.heard.append(instance_id)
                return instance_id

            def stop(self, context: Any) -> str:
                return "stopped"

        self.tasks = Obeys()
        self.taskmanager = dispatcher.RPCDispatcher(
            [self.tasks], strict.OfOneKey(self.plain, "of-the-taskmanager"), policy
        )

    def said(
        self, as_guest: str, key: str | None, **context: Any
    ) -> tuple[Any, Callable[..., Any]]:
        """A message's context, and what makes its arguments, by upstream's own serializer."""
        from oslo_config import cfg
        from trove.common.context import TroveContext

        cfg.CONF.set_override("guest_id", as_guest)
        serializer = self.guest(self.plain, key)
        made = TroveContext(**context)
        return serializer.serialize_context(made), lambda x: serializer.serialize_entity(made, x)

    def send(
        self, server: Any, method: str, ctxt: Any, seal: Callable[..., Any], **told: Any
    ) -> str:
        """What becomes of it: what is returned, or the error's class and text."""
        message = {
            "method": method,
            "version": "1.0",
            "args": {k: seal(v) for k, v in told.items()},
        }
        incoming = types.SimpleNamespace(message=message, ctxt=ctxt, client_timeout=None)
        try:
            return f"taken: {server.dispatch(incoming)}"
        except Exception as error:  # noqa: BLE001 - as the server of calls does
            return f"{type(error).__name__}: {error}"


def make_instance(name: str = "x", **more: Any) -> Any:
    from trove.instance import service_status
    from trove.instance.models import DBInstance, InstanceServiceStatus
    from trove.instance.tasks import InstanceTasks

    task = more.pop("task_status", InstanceTasks.BUILDING)
    made = DBInstance.create(
        name=name, flavor_id="1", tenant_id="one", volume_size=1, task_status=task, **more
    )
    InstanceServiceStatus.create(instance_id=made.id, status=service_status.ServiceStatuses.NEW)
    return made


def messages(folder: Path) -> Any:
    """Each message that a guest might send, and what became of it."""
    begin(folder)
    from trove.common import crypto_utils
    from trove.instance.models import InstanceServiceStatus, get_instance_encryption_key

    bus = Bus()
    one, two = make_instance("one"), make_instance("two")
    keys = {row.id: get_instance_encryption_key(row.id) for row in (one, two)}

    def status(row: Any) -> str:
        return str(InstanceServiceStatus.find_by(instance_id=row.id).get_status().description)

    def beat(row: Any, words: str, ctxt: Any, seal: Any) -> list[str]:
        told = {"payload": {"service_status": words}, "sent": time.time()}
        return [
            bus.send(bus.conductor, "heartbeat", ctxt, seal, instance_id=row.id, **told),
            status(row),
        ]

    found: dict[str, Any] = {}
    own = bus.said(one.id, keys[one.id])
    found["own"] = beat(one, "healthy", *own)
    found["of another"] = beat(two, "crashed", *own)
    found["unencrypted"] = beat(one, "crashed", *bus.said(one.id, None))
    found["unencrypted, with a name"] = beat(
        one, "crashed", {"csz-instance-id": one.id, "project_id": "one"}, lambda x: x
    )
    found["the wrong key"] = beat(one, "crashed", *bus.said(one.id, keys[two.id]))
    # Upstream's readers take a context that they cannot open as it stands.
    garbage = crypto_utils.encode_data(b"x" * 64)
    found["a context of garbage"] = beat(
        one, "crashed", {"csz-instance-id": one.id, "context": garbage}, own[1]
    )
    found["plain arguments"] = beat(one, "crashed", own[0], lambda x: x)
    found["arguments of another"] = beat(one, "crashed", own[0], bus.said(two.id, keys[two.id])[1])
    found["of nobody"] = beat(one, "crashed", *bus.said("nobody", keys[one.id]))
    found["as the service"] = beat(one, "crashed", *bus.said("taskmanager", keys[one.id]))
    found["the service"] = beat(one, "running", *bus.said("taskmanager", "of-the-taskmanager"))
    found["private"] = bus.send(bus.conductor, "_message_too_old", *own, instance_id=one.id)
    evil = {"notification_classname": "subprocess.Popen", "instance_id": one.id}
    found["a class"] = bus.send(
        bus.conductor, "notify_end", *own, serialized_notification=evil, notification_args={}
    )
    sealed = bus.guest(bus.plain, keys[one.id])
    from trove.common.context import TroveContext

    context = TroveContext()
    bare = {**context.to_dict(), "trove_notification": evil}
    with mock.patch.object(TroveContext, "to_dict", lambda self: bare):
        found["a class in the context"] = beat(
            one, "crashed", sealed.serialize_context(context), own[1]
        )
    kind = "trove.common.notification.DBaaSInstanceCreate"
    told = {"notification_classname": kind, "request_id": "r", "instance_id": two.id}
    found["a fault of another"] = bus.send(
        bus.conductor,
        "notify_exc_info",
        *own,
        serialized_notification=told,
        message="m",
        exception=["e"],
    )
    return found


def orders(folder: Path) -> Any:
    """Who may tell the taskmanager to do something; and an agent, whose reader is the same."""
    begin(folder)
    bus = Bus()
    from trove.common.context import TroveContext

    context = TroveContext(project_id="one")

    def tell(key: str | None) -> str:
        serializer = bus.secure(bus.plain, key)
        return bus.send(
            bus.taskmanager,
            "restart",
            serializer.serialize_context(context),
            lambda x: serializer.serialize_entity(context, x),
            instance_id="i",
        )

    found: dict[str, Any] = {
        "key": tell("of-the-taskmanager"),
        "none": tell(None),
        "another": tell("x"),
    }
    # Upstream takes it: its context is not base64, so it is believed as it stands.
    found["forged"] = bus.send(
        bus.taskmanager,
        "restart",
        {"context": "§", "project_id": "one"},
        lambda x: x,
        instance_id="f",
    )
    # The context of a message that was read, with another method.
    read = bus.secure(bus.plain, "of-the-taskmanager").serialize_context(context)
    found["spliced"] = bus.send(bus.taskmanager, "stop", read, lambda x: x)
    from oslo_messaging.rpc import dispatcher

    lenient = dispatcher.RPCDispatcher(
        [bus.tasks], bus.secure(bus.plain, "k"), dispatcher.DefaultRPCAccessPolicy
    )
    found["forged, upstream"] = bus.send(
        lenient, "restart", {"context": "§", "project_id": "one"}, lambda x: x, instance_id="u"
    )
    found["heard"] = bus.tasks.heard
    return found


def backups(folder: Path) -> Any:
    """What a guest may say of backups, and what its agent's start does to them."""
    begin(folder)
    from trove.backup.models import DBBackup
    from trove.instance.models import get_instance_encryption_key

    bus = Bus()
    one, two = make_instance("one"), make_instance("two")
    made = {
        row.id: DBBackup.create(
            name="b", tenant_id="one", state="BUILDING", instance_id=row.id, deleted=False
        )
        for row in (one, two)
    }

    def say(row: Any, about: Any, **fields: Any) -> list[str]:
        said = bus.said(row.id, get_instance_encryption_key(row.id))
        told = {"instance_id": row.id, "backup_id": about.id, "sent": time.time(), **fields}
        result = bus.send(bus.conductor, "update_backup", *said, **told)
        kept = DBBackup.find_by(id=about.id)
        return [result, kept.state, kept.tenant_id]

    found: dict[str, Any] = {}
    found["owner"] = say(one, made[one.id], tenant_id="two", state="COMPLETED")
    found["no state"] = say(one, made[one.id], state="anything")
    found["of another"] = say(one, made[two.id], state="COMPLETED")
    said = bus.said(one.id, get_instance_encryption_key(one.id))
    found["start"] = bus.send(
        bus.conductor, "heartbeat", *said, instance_id=one.id, payload={"agent": "started"}
    )
    found["started"] = [DBBackup.find_by(id=made[row.id].id).state for row in (one, two)]
    found["own"] = say(one, made[one.id], state="COMPLETED", size=0.1, location="l", checksum="c")
    return found


def interrupted(folder: Path) -> Any:
    """What a process finds at its start, and what it makes of it."""
    begin(folder)
    from trove.backup.models import DBBackup
    from trove.common import exception
    from trove.instance.models import DBInstance
    from trove.instance.tasks import InstanceTasks
    from trove.quota.models import QuotaUsage, Reservation

    from onestack.components.trove.inside import interrupted as ours
    from onestack.components.trove.inside.tasks import Tasks

    tasks = {
        name: make_instance(name, task_status=getattr(InstanceTasks, name))
        for name in (
            *("BUILDING", "DELETING", "REBOOTING", "RESIZING", "MIGRATING", "LOGGING", "UPDATING"),
            *("PROMOTING", "EJECTING", "DETACHING", "UPGRADING", "NONE"),
            *("RESTART_REQUIRED", "BUILDING_ERROR_SERVER"),
        )
    }
    begun = make_instance("begun")
    waited = make_instance("waited", compute_instance_id="server")
    for state, of in (
        ("NEW", "NONE"),
        ("BUILDING", "NONE"),
        ("SAVING", "LOGGING"),
        ("COMPLETED", "NONE"),
    ):
        DBBackup.create(
            name=state, tenant_id="one", state=state, instance_id=tasks[of].id, deleted=False
        )
    usage = QuotaUsage.create(tenant_id="one", in_use=2, reserved=3, resource="instances")
    Reservation.create(usage_id=usage.id, delta=3, status=Reservation.Statuses.RESERVED)
    did: list[list[str]] = []
    manager: Any = Tasks()
    runs = {tasks["NONE"].id: "ACTIVE", tasks["LOGGING"].id: "SHUTOFF"}
    refusals = [exception.TroveError("cinder: 503"), exception.TroveError("cinder: 503")]

    def delete(working: Any, context: Any, identity: str) -> None:
        if refusals:
            raise refusals.pop()
        did.append(["delete", identity])

    with (
        mock.patch.object(Tasks, "delete_instance", delete),
        mock.patch.object(ours, "DELETION_PAUSE", 0.1),
        mock.patch.object(ours, "_bring_back", lambda i: did.append(["back", i.id])),
        mock.patch.object(ours, "_wait_for", lambda i: did.append(["wait", i.id])),
        mock.patch.object(ours, "_server", lambda i: types.SimpleNamespace(status=runs[i.id])),
        mock.patch.object(ours, "MINE_SECONDS", 0.2),
    ):
        for one in (ours._bring_back, ours._wait_for):
            one.__name__ = "of a test"
        ours.settle(manager)
        manager.building.add(begun.id)
        time.sleep(2)
    names = {row.id: name for name, row in tasks.items()} | {
        begun.id: "begun",
        waited.id: "waited",
    }
    rows = {row.name: row for row in DBInstance.find_all(deleted=False).all()}
    return {
        "tasks": {name: str(row.task_status) for name, row in sorted(rows.items())},
        "did": sorted([what, names[identity]] for what, identity in did),
        "backups": {b.name: b.state for b in DBBackup.find_all(deleted=False).all()},
        "reserved": [u.reserved for u in QuotaUsage.find_all().all()],
        "reservations": [r.status for r in Reservation.find_all().all()],
    }


def failing(folder: Path) -> Any:
    """What is left of what was interrupted when everything that is asked for it fails."""
    begin(folder)
    import io
    import logging

    from trove.backup.models import DBBackup
    from trove.common import exception
    from trove.instance.models import DBInstance
    from trove.instance.tasks import InstanceTasks
    from trove.taskmanager import models

    from onestack.components.trove.inside import interrupted as ours
    from onestack.components.trove.inside.tasks import Tasks

    text = io.StringIO()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(text)
    built = {"compute_instance_id": "server"}
    for name in ("RESIZING", "MIGRATING"):
        make_instance(name, task_status=getattr(InstanceTasks, name), **built)
    make_instance("waited", **built)
    make_instance("without")
    rows = [
        make_instance(name, task_status=InstanceTasks.NONE, **built) for name in ("asked", "gone")
    ]
    for row in rows:
        DBBackup.create(
            name=row.name, tenant_id="one", state="SAVING", instance_id=row.id, deleted=False
        )
    rows[1].delete()
    asked: list[str] = []

    def refuse(context: Any, identity: str, **_: Any) -> Any:
        asked.append(DBInstance.find_by(id=identity).name)
        raise exception.TroveError("nova: 503")

    settle_build = ours._settle_build
    stumbled: list[Any] = []

    def stumble(*those: Any) -> None:
        if not stumbled:
            stumbled.append(those)
            raise exception.TroveError("the first of all")
        settle_build(*those)

    first = make_instance("first", **built)
    with (
        mock.patch.object(models.BuiltInstanceTasks, "load", refuse),
        mock.patch.object(models.FreshInstanceTasks, "load", refuse),
        mock.patch.object(ours, "MINE_SECONDS", 0),
        # One after the other: the database of this trial has one writer.
        mock.patch.object(ours, "_beside", lambda *work: ours._alone("it", *work)),
        mock.patch.object(ours, "_settle_build", stumble),
        mock.patch.object(
            ours,
            "_left",
            lambda *those: sorted(
                (i for i in DBInstance.find_all(deleted=False).all() if i.task_status in those),
                key=lambda i: i.id != first.id,
            ),
        ),
    ):
        ours.settle(Tasks())
    left = DBInstance.find_all(deleted=False).all()
    return {
        "tasks": {row.name: str(row.task_status) for row in left},
        "backups": {b.name: b.state for b in DBBackup.find_all(deleted=False).all()},
        "asked": sorted(asked),
        "log": text.getvalue(),
    }


def agent(folder: Path) -> Any:
    """The guest's own start of upstream's agent, with a docker that only remembers."""
    import runpy

    import docker

    import onestack

    told: list[Any] = []

    class Client:
        def __init__(self, *_: Any, **named: Any) -> None:
            told.append(named)

        def create_container(self, *_: Any, **named: Any) -> None:
            told.append(named)

    docker.APIClient, docker.from_env = Client, dict
    place = Path(onestack.__file__).parent / "components/trove/guest/tree/usr/lib/database/agent"
    ours = runpy.run_path(str(place))
    from trove.guestagent.utils import docker as containers

    said = {"restored": ["starting", "Restore successfully, restore_size: 1"], "failed": ["gone"]}
    containers.run_container = lambda client, image, name, **_: (said[image], True)
    ours["prepare"]()
    client = docker.APIClient()
    client.create_container("i", healthcheck={"timeout": 5, "retries": 3})
    client.create_container("i")
    run = containers.run_container
    return {
        "told": told,
        "restored": run(None, "restored", "db_restore")[1],
        "failed": run(None, "failed", "db_restore")[1],
        "of another": run(None, "failed", "db_backup")[1],
    }


def waited_for_again(folder: Path) -> Any:
    """How long the guest of an instance is waited for that was begun long ago."""
    begin(folder)
    import datetime

    from onestack.components.trove.inside import interrupted
    from onestack.components.trove.inside.tasks import Fresh

    row = make_instance("old", compute_instance_id="server")
    row.created -= datetime.timedelta(hours=5)
    row.save()
    waits: list[Any] = []
    flavors = types.SimpleNamespace(get=lambda _: types.SimpleNamespace(ram=2048))
    task = types.SimpleNamespace(
        nova_client=types.SimpleNamespace(flavors=flavors),
        wait_for_instance=lambda *given: waits.append(given),
    )
    with mock.patch.object(Fresh, "load", lambda *_: task):
        interrupted._wait_for(row)
    return waits


def after_a_power_cut(folder: Path) -> Any:
    """What is asked of nova for a host is asked once its compute service listens."""
    begin(folder)
    import datetime

    from trove.common import utils

    from onestack.components.trove.inside import interrupted

    asked: list[Any] = []
    times = iter((None, "2026-11-30T04:21:40.000000", "2026-11-30T04:22:26.000000"))

    def services(**given: str) -> Any:
        asked.append(given)
        return [types.SimpleNamespace(updated_at=next(times))]

    nova = types.SimpleNamespace(services=types.SimpleNamespace(list=services))
    server = types.SimpleNamespace(**{"OS-EXT-SRV-ATTR:host": "one"})
    task = types.SimpleNamespace(nova_client=nova, server=server)
    with mock.patch.object(utils, "poll_until", until):
        interrupted._await_compute(task, datetime.datetime(2026, 11, 30, 4, 22, 5))
    return asked


def until(ready: Any, **_: Any) -> None:
    """Asks as often as it takes, without a pause."""
    while not ready():
        pass


def one_at_a_time(folder: Path) -> Any:
    """An instance that is deleted by force while it is made, and whose making is told of again."""
    begin(folder)
    import threading

    from trove.common import exception
    from trove.common.context import TroveContext
    from trove.instance import models as instances
    from trove.instance.models import DBInstance
    from trove.instance.tasks import InstanceTasks
    from trove.taskmanager import manager, models

    from onestack.components.trove.inside import run, tasks

    run._mend()
    row = make_instance("cut")
    context = TroveContext(project_id="one", is_admin=True)
    did: list[str] = []
    asked: list[Any] = []
    reached, finish = threading.Event(), threading.Event()

    def create(task: Any, *_: Any, **__: Any) -> None:
        reached.set()
        finish.wait(10)
        did.append("made")

    def delete(work: Any, context: Any, identity: str) -> None:
        found = DBInstance.find_by(id=identity)
        did.append(f"deleted with {found.compute_instance_id}")
        found.deleted = True
        found.save()

    statuses = iter((["creating"], ["available"]))

    def volumes(search_opts: Any) -> Any:
        asked.append(search_opts)
        return [types.SimpleNamespace(status=status) for status in next(statuses)]

    def servers(search_opts: Any) -> Any:
        asked.append(search_opts)
        return [types.SimpleNamespace(id="a-server")]

    clients = types.SimpleNamespace(
        nova_client=types.SimpleNamespace(servers=types.SimpleNamespace(list=servers)),
        volume_client=types.SimpleNamespace(volumes=types.SimpleNamespace(list=volumes)),
    )
    with (
        mock.patch.object(instances, "load_simple_instance_addresses", lambda *_: None),
        mock.patch.object(models.FreshInstanceTasks, "create_instance", create),
        mock.patch.object(manager.Manager, "delete_instance", delete),
        mock.patch.object(models.BuiltInstanceTasks, "load", lambda *_, **__: clients),
    ):
        fresh = manager.FreshInstanceTasks.load(context, row.id)
        working = tasks.Tasks()
        making = threading.Thread(target=fresh.create_instance)
        making.start()
        reached.wait(10)
        row.task_status = InstanceTasks.DELETING
        row.save()
        deleting = threading.Thread(target=working.delete_instance, args=(context, row.id))
        deleting.start()
        time.sleep(0.5)
        finish.set()
        for thread in (making, deleting):
            thread.join(20)
        fresh.create_instance()
    try:
        fresh._service_is_active()
        waited = "yes"
    except exception.ComputeInstanceNotFound:
        waited = "no more"
    return {"did": did, "asked": asked, "waited": waited, "id": row.id}


def keys(folder: Path) -> Any:
    """Keys of guests, asked for by many threads at once; and where they come from."""
    begin(folder)
    import random
    import threading

    from trove.common import crypto_utils
    from trove.instance.models import get_instance_encryption_key

    from onestack.components.trove.inside import run

    run._mend()
    rows = [make_instance(str(number)) for number in range(30)]
    wrong: list[str] = []

    def ask() -> None:
        try:
            for _ in range(20):
                for row in rows:
                    assert get_instance_encryption_key(row.id) == row.key.decode()
        except (AssertionError, KeyError, ValueError, IndexError) as error:
            wrong.append(repr(error))

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    random.seed(1)
    first = crypto_utils.generate_random_key()
    random.seed(1)
    return {"wrong": wrong, "seeded": first == crypto_utils.generate_random_key()}


def queue(folder: Path) -> Any:
    """A new guest's queue is made before the guest is there, by upstream's client of agents."""
    begin(folder)
    from trove.common.context import TroveContext
    from trove.guestagent import api

    from onestack.components.trove.inside import run

    run._mend()
    row = make_instance("one")
    agent = api.API(TroveContext(project_id="one"), row.id)
    agent.prepare(512, "", [], [], ds_version="10.11")
    return {"made": True}


def answers(folder: Path) -> Any:
    """Of guests: what upstream's client of agents makes of each."""
    begin(folder)
    import oslo_messaging
    from trove.common import exception
    from trove.common.context import TroveContext
    from trove.guestagent import api
    from trove.instance.models import get_instance_encryption_key

    from onestack.components.trove.inside import run, strict

    run._mend()

    class Plain(strict.OfOneKey):
        def _serialize_entity(self, ctxt: Any, entity: Any) -> Any:
            return entity

    class OfAnother(strict.OfOneKey):
        def _serialize_entity(self, ctxt: Any, entity: Any) -> Any:
            return strict.OfOneKey(None, "x" * 32).serialize_entity(ctxt, entity)

    class Agent:
        target = oslo_messaging.Target(version="1.0")

        def enable_root(self, context: Any) -> Any:
            return {"_name": "root", "_password": "chosen"}

        def restart(self, context: Any) -> None:
            return None

    found: dict[str, Any] = {}
    for name, kind in {"own": strict.OfOneKey, "plain": Plain, "of another": OfAnother}.items():
        row = make_instance(name)
        agent = api.API(TroveContext(project_id="one"), row.id)
        target = oslo_messaging.Target(topic=f"guestagent.{row.id}", server=row.id, version="1.0")
        serializer = kind(run._plain(), get_instance_encryption_key(row.id))
        server = run._server(target, [Agent()], serializer)
        server.start()
        for ask in (agent.enable_root, agent.restart):
            try:
                found[f"{name} {ask.__name__}"] = ask()
            except exception.GuestError as error:
                found[f"{name} {ask.__name__}"] = str(error)
        server.stop()
        server.wait()
    return found


def options(folder: Path) -> Any:
    """Whether upstream reads the file with ids as it is written."""
    path = folder / "management.conf"
    from onestack.components.trove.inside import threads

    threads.begin()
    from trove.common import cfg

    cfg.CONF(["--config-file", str(path)], project="trove")
    return [cfg.CONF.management_networks, cfg.CONF.management_security_groups]


def serving(folder: Path) -> Any:
    """The whole process: it answers who it is, asks others who they are, and ends when told."""
    import signal
    import threading
    import urllib.error
    import urllib.request

    from onestack.components.trove.inside import run
    from onestack.model.process import Process

    config = written(folder)
    paste = Path(sys.prefix) / "etc" / "trove" / "api-paste.ini"
    text = config.read_text().replace(
        "[DEFAULT]\n", f"[DEFAULT]\napi_paste_config = {paste}\nhost = 127.0.0.1\n", 1
    )
    config.write_text(text + "[keystone_authtoken]\nauth_type = none\n")
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    found: list[Any] = []

    def ask() -> None:
        for path in ("/", "/v1.0/p/instances"):
            try:
                with urllib.request.urlopen(f"{url}{path}", timeout=60) as answer:
                    found.append([answer.status, "versions" in json.load(answer)])
            except urllib.error.HTTPError as error:
                found.append([error.code, False])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    spec = Process("trove", "trove", "nobody", arguments={"config": [str(config)]})
    run.all_of_it(spec, {"api": listening})
    ended = time.monotonic()
    return {"answers": found, "patched": socket.socket.__module__, "ended": ended > 0}


class Obedient:
    """A guest's manager, which is asked whether it heard what it was told before it was there."""

    memory = 0

    def prepare(self, context: Any, memory_mb: int, **_: Any) -> None:
        self.memory = memory_mb

    def enable_root(self, context: Any) -> Any:
        return {"memory": self.memory}


def guest(folder: Path) -> None:
    """Upstream's agent as its image starts it, as long as whoever started it."""
    import runpy

    import onestack

    place = Path(onestack.__file__).parent / "components/trove/guest/tree/usr/lib/database/agent"
    runpy.run_path(str(place))["prepare"]()
    import eventlet
    from oslo_config import cfg
    from oslo_log import log as logging
    from trove import rpc
    from trove.common import cfg as options
    from trove.common import debug_utils
    from trove.common.rpc import service
    from trove.guestagent import api

    logging.register_options(cfg.CONF)
    options.parse_args(["agent", "--config-dir", str(folder / "conf.d")])
    logging.setup(cfg.CONF, None)
    debug_utils.setup()
    rpc.init(cfg.CONF)
    service.RpcService(
        key=cfg.CONF.instance_rpc_encr_key,
        topic=f"guestagent.{cfg.CONF.guest_id}",
        manager=f"{Path(__file__).stem}.Obedient",
        host=cfg.CONF.guest_id,
        rpc_api_version=api.API.API_LATEST_VERSION,
    ).start()
    starter = os.getppid()
    while os.getppid() == starter:
        eventlet.sleep(0.2)


def bus(folder: Path) -> Any:
    """At a real one: a guest that comes and is called, and one that strangers have."""
    # Ours says there that nothing is to be patched.
    environment = dict(os.environ)
    from onestack.components.trove.inside import run

    run.configure([str(folder / "trove.conf")])
    run._mend()
    from oslo_config import cfg
    from trove.common.context import TroveContext
    from trove.conductor import api as conductor_api
    from trove.guestagent import api
    from trove.instance.models import get_instance_encryption_key
    from trove.taskmanager import api as task_api

    from onestack.components.trove.inside import strict

    strict.speak_as_taskmanager()
    beats: list[Any] = []
    came: list[str] = []
    obeyed: list[str] = []

    class Conductor(strict.Conductor):
        def heartbeat(self, context: Any, instance_id: str, *told: Any, **more: Any) -> None:
            super().heartbeat(context, instance_id, *told, **more)
            beats.append(instance_id)

    class Orders(strict.OfOneKey):
        def deserialize_context(self, context: Any) -> Any:
            came.append(context["way"])
            return super().deserialize_context(context)

    class Tasks:
        def restart(self, context: Any, instance_id: str) -> None:
            obeyed.append(instance_id)

    conf = cfg.CONF
    believed = strict.FromGuests(run._plain())
    orders = Orders(run._plain(), conf.taskmanager_rpc_encr_key)
    version = conductor_api.API.API_LATEST_VERSION
    listeners = (
        run._Listener(conf.conductor_queue, Conductor(), version, believed),
        run._Listener(conf.taskmanager_queue, Tasks(), task_api.API.API_LATEST_VERSION, orders),
    )
    for listener in listeners:
        listener.start()
    row = make_instance("one")
    own = f"guest_id = {row.id}\ninstance_rpc_encr_key = {get_instance_encryption_key(row.id)}\n"
    (folder / "conf.d/guest_info.conf").write_text(f"[DEFAULT]\n{own}report_interval = 0\n")
    agent = api.API(TroveContext(project_id="one"), row.id)
    agent.prepare(512, "", [], [], ds_version="10.11")
    python = (sys.executable, "-W", "ignore")
    own_agent = (*python, __file__, "guest", folder)
    with subprocess.Popen(own_agent, env=environment, stdout=subprocess.DEVNULL) as other:
        try:
            soon(lambda: beats, "a word of the agent")
            answer = agent.enable_root()
        finally:
            other.terminate()
    intruder = Path(__file__).parents[2] / "support/intruder.py"
    stranger = (*python, intruder, folder / "conf.d/agent.conf", "taskmanager")
    told = subprocess.run(stranger, stdout=subprocess.PIPE, check=True)
    tries = json.loads(told.stdout)
    ways = [name for name in tries if name.startswith("tell by")]
    soon(lambda: len(came) == len(ways), "what it told")
    for listener in listeners:
        listener.stop()
    heard = [identity == row.id for identity in beats]
    return {"heard": heard, "answer": answer, "tries": tries, "came": came, "obeyed": obeyed}


def soon(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)


def exchanges(folder: Path) -> Any:
    """Whether those of its own bus are durable, and those that it tells the cloud by."""
    import oslo_messaging
    from oslo_config import cfg

    conf = cfg.ConfigOpts()
    conf(["--config-file", str(folder / "trove.conf")])
    made = {
        "own": oslo_messaging.get_rpc_transport(conf),
        "told": oslo_messaging.get_notification_transport(conf),
    }
    return {
        name: bool(transport._driver.conf.oslo_messaging_rabbit.amqp_durable_queues)
        for name, transport in made.items()
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))))
