"""Trials of what was interrupted in nova, run by the services' own Python, with its own tables."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import oslo_messaging as messaging
from nova import config, context, exception, objects, rpc
from nova.compute import manager, task_states, vm_states
from nova.conductor import manager as conductor
from nova.conf import CONF
from nova.db.api import api as api_database
from nova.db.api import models as api_models
from nova.db.main import api as database
from nova.db.main import models
from nova.network.model import NetworkInfo
from oslo_utils.fixture import uuidsentinel

import onestack.components.nova.inside.preload  # noqa: F401 -- first, for native threads
from onestack.components.nova.inside import forgotten, interrupted, reports

HOST = "here"
PLACE = tempfile.TemporaryDirectory()
CELL0, CELL1 = objects.CellMapping.CELL0_UUID, "11111111-1111-1111-1111-111111111111"


def tables() -> Any:
    """Of the API and of two cells, empty; an administrator."""
    place = Path(PLACE.name)
    config.parse_args(["trial"], default_config_files=[])
    objects.register_all()
    own, of_api = f"sqlite:///{place}/cell1", f"sqlite:///{place}/api"
    CONF.set_override("connection", own, "database")
    CONF.set_override("connection", of_api, "api_database")
    CONF.set_override("host", HOST)
    CONF.set_override("transport_url", "fake:/")
    CONF.set_override("driver", ["noop"], "oslo_messaging_notifications")
    rpc.init(CONF)
    database.configure(CONF)
    api_database.configure(CONF)
    admin = context.get_admin_context()
    with api_database.context_manager.writer.using(admin):
        api_models.BASE.metadata.create_all(admin.session.connection())
    for uuid, name in ((CELL0, "cell0"), (CELL1, "cell1")):
        cell = objects.CellMapping(admin, uuid=uuid, name=name, disabled=False)
        cell.transport_url, cell.database_connection = "none:///", f"sqlite:///{place}/{name}"
        cell.create()
        with (
            context.target_cell(admin, cell) as there,
            database.get_context_manager(there).writer.using(there),
        ):
            models.BASE.metadata.create_all(there.session.connection())
    return admin


def server(admin: Any, name: str, **more: Any) -> Any:
    """That is being made, not in a table yet."""
    flavor = objects.Flavor(
        admin, id=1, name="f", flavorid="f", memory_mb=64, vcpus=1, root_gb=1, ephemeral_gb=0,
        swap=0, rxtx_factor=1.0, vcpu_weight=0, disabled=False, is_public=True, extra_specs={},
    )  # fmt: skip
    return objects.Instance(
        admin, uuid=getattr(uuidsentinel, name), project_id="p", user_id="u", display_name=name,
        vm_state=vm_states.BUILDING, task_state=task_states.SCHEDULING, flavor=flavor,
        system_metadata={}, metadata={}, image_ref="", old_flavor=None, new_flavor=None,
        security_groups=objects.SecurityGroupList(objects=[]),
        info_cache=objects.InstanceInfoCache(network_info=NetworkInfo()), pci_requests=None,
        numa_topology=None, keypairs=objects.KeyPairList(objects=[]), **more,
    )  # fmt: skip


def request(admin: Any, name: str, cell: Any = None) -> None:
    """As the API leaves it to the conductor."""
    instance = server(admin, name)
    disks = [
        objects.BlockDeviceMapping(
            admin, source_type="image", destination_type="local", boot_index=0, device_name="vda",
            delete_on_termination=True, instance_uuid=instance.uuid, image_id=uuidsentinel.image,
            volume_size=None,
        ),
        objects.BlockDeviceMapping(
            admin, source_type="volume", destination_type="volume", boot_index=None,
            device_name=None, delete_on_termination=False, instance_uuid=instance.uuid,
            volume_id=uuidsentinel.volume, volume_size=1, attachment_id=uuidsentinel.attachment,
        ),
    ]  # fmt: skip
    objects.BuildRequest(
        admin, instance_uuid=instance.uuid, project_id="p", instance=instance,
        block_device_mappings=objects.BlockDeviceMappingList(objects=disks),
        tags=objects.TagList(objects=[objects.Tag(tag="mine")]),
    ).create()  # fmt: skip
    objects.InstanceMapping(
        admin, instance_uuid=instance.uuid, cell_mapping=cell, project_id="p", user_id="u"
    ).create()
    objects.RequestSpec(
        admin, instance_uuid=instance.uuid, flavor=instance.flavor, num_instances=1,
        project_id="p", user_id="u", image=None, numa_topology=None, pci_requests=None,
        availability_zone=None, force_hosts=None, force_nodes=None, retry=None, limits=None,
        instance_group=None, scheduler_hints={}, ignore_hosts=None, requested_destination=None,
        security_groups=objects.SecurityGroupList(objects=[]), is_bfv=False,
        request_level_params=objects.RequestLevelParams(),
        requested_networks=objects.NetworkRequestList(objects=[]),
        requested_resources=[],
    ).create()  # fmt: skip


def mapped(admin: Any, name: str) -> Any:
    return objects.InstanceMapping.get_by_instance_uuid(admin, getattr(uuidsentinel, name))


def reason(there: Any, instance: Any) -> str:
    faults = objects.InstanceFaultList.get_by_instance_uuids(there, [instance.uuid])
    return faults[0].message if faults else ""


class Tasks(conductor.ComputeTaskManager):  # type: ignore[misc]
    """Upstream's, without what they would tell other services."""

    report_client: Any = None

    def __init__(self) -> None:
        self.notifier, self.host = rpc.get_notifier("compute"), HOST
        self.report_client = mock.Mock()
        self.report_client.get_allocations_for_consumer.return_value = {}


class Conductor:
    def __init__(self) -> None:
        self.now = 1000.0
        self.tasks: list[Any] = []
        self.compute_task_mgr = Tasks()

    def add_periodic_task(self, task: Any) -> None:
        self.tasks.append(task)

    def look(self, admin: Any, *seconds: float) -> None:
        """Once now, and once more after each of so many seconds."""
        (task,) = self.tasks
        for later in (0, *seconds):
            self.now += later
            task(self, admin)


def requests() -> None:
    """A request whose conductor is gone ends where that was, and no other."""
    admin = tables()
    cells = {cell.name: cell for cell in objects.CellMappingList.get_all(admin)}
    service = Conductor()
    held: list[str] = []

    def schedule(context: Any, build_requests: Any) -> None:
        held.append("held")
        service.look(admin, interrupted.LOST)
        assert mapped(admin, "begun").cell_mapping is None, "a conductor has it in hand"

    service.compute_task_mgr.schedule_and_build_instances = schedule
    forgotten.end_at_the_conductor(service, lambda: service.now)
    for name in ("begun", "made", "half", "buried"):
        request(admin, name)
    request(admin, "mapped", cells["cell1"])
    request(admin, "burying", cells["cell0"])
    where = {"made": "cell1", "half": "cell1", "mapped": "cell1", "buried": "cell0"}
    where["burying"] = "cell0"
    for name, cell in where.items():
        with context.target_cell(admin, cells[cell]) as there:
            server(there, name).create()
    with context.target_cell(admin, cells["cell1"]) as there:
        wanted = {r.instance_uuid: r for r in objects.BuildRequestList.get_all(admin)}
        one = wanted[uuidsentinel.half]
        disks = forgotten._disks(there, one)[:1]
        mapper = service.compute_task_mgr._create_block_device_mapping
        mapper(cells["cell1"], server(there, "half").flavor, one.instance_uuid, disks)
    service.compute_task_mgr.schedule_and_build_instances(
        admin, build_requests=list(wanted.values())
    )
    assert held == ["held"]
    service.look(admin, interrupted.LOST - 10)
    assert len(objects.BuildRequestList.get_all(admin)) == 6, "it is not so long ago yet"
    request(admin, "young")
    service.look(admin, 11)
    (stays,) = objects.BuildRequestList.get_all(admin)
    assert stays.instance_uuid == uuidsentinel.young
    assert mapped(admin, "young").cell_mapping is None
    for name, cell in ({"begun": "cell0"} | where).items():
        assert mapped(admin, name).cell_mapping.name == cell, name
        with context.target_cell(admin, cells[cell]) as there:
            one = objects.Instance.get_by_uuid(
                there, getattr(uuidsentinel, name), expected_attrs=["tags"]
            )
            disks = objects.BlockDeviceMappingList.get_by_instance_uuid(there, one.uuid)
            # The conductor maps a server when it has all that belongs to it.
            has = (0, 0) if name == "mapped" else (2, 1)
            assert (len(disks), len(one.tags)) == has, (name, len(disks), len(one.tags))
            if cell == "cell0":
                assert (one.vm_state, one.task_state) == (vm_states.ERROR, None), name
                assert "was lost" in reason(there, one), name
            else:
                # It is for the compute service to end, which may have been told.
                assert one.vm_state == vm_states.BUILDING, name
    freed = service.compute_task_mgr.report_client.delete_allocation_for_instance
    assert [call.args[1] for call in freed.call_args_list] == [uuidsentinel.begun]


def rescheduled() -> None:
    """A server that has left its host after a failure, and that nobody makes elsewhere."""
    admin = tables()
    service = Conductor()
    placed: dict[str, Any] = {uuidsentinel.placed: {"node": {}}}
    asked = service.compute_task_mgr.report_client.get_allocations_for_consumer
    asked.side_effect = lambda there, identity: placed.get(identity, {})
    names = ("left", "placed", "hosted", "gone")
    made = {name: server(admin, name) for name in names}
    made["hosted"].host = HOST
    for one in made.values():
        one.create()
    made["gone"].destroy()

    def states() -> dict[str, str]:
        there = {n: objects.Instance.get_by_uuid(admin, made[n].uuid) for n in names[:3]}
        return {n: o.vm_state for n, o in there.items() if o.vm_state != vm_states.BUILDING}

    def build(context: Any, instances: Any) -> None:
        service.look(admin, interrupted.LOST)
        assert states() == {}, "a conductor has it in hand"

    service.compute_task_mgr.build_instances = build
    forgotten.end_at_the_conductor(service, lambda: service.now)
    service.compute_task_mgr.build_instances(admin, instances=list(made.values()))
    service.look(admin, interrupted.LOST - 1)
    assert states() == {}
    service.look(admin, 2)
    assert states() == {"left": vm_states.ERROR}
    assert "was lost" in reason(admin, made["left"])


class Compute:
    """What of upstream's manager ours goes by; of those that it wraps one is upstream's own."""

    host = HOST
    _error_out_instances_whose_build_was_interrupted: Any
    _init_instance = manager.ComputeManager._init_instance
    _set_instance_obj_error_state = manager.ComputeManager._set_instance_obj_error_state

    def __init__(self, allocated: set[str]) -> None:
        node = SimpleNamespace(uuid="node")
        self.rt = SimpleNamespace(compute_nodes={"node": node})
        answer = SimpleNamespace(allocations=allocated)
        self.reportclient = mock.Mock()
        self.reportclient.get_allocations_for_resource_provider.return_value = answer
        self.built: list[str] = []
        self.tasks: list[Any] = []

    def build_and_run_instance(self, context: Any, instance: Any) -> None:
        self.built.append(instance.uuid)

    def add_periodic_task(self, task: Any) -> None:
        self.tasks.append(task)


def explained() -> None:
    """Whom the compute service finds in the middle of something is told why it is in error."""
    admin = tables()
    compute = Compute(set())
    interrupted.end_at_the_compute(compute)
    built = server(admin, "built", host=HOST)
    built.create()
    again = server(admin, "again", host=HOST)
    again.vm_state, again.task_state = vm_states.ACTIVE, task_states.REBUILD_SPAWNING
    again.create()
    for one, said in ((built, "Delete it and make it again"), (again, "rebuild_spawning")):
        compute._init_instance(admin, one)
        assert one.vm_state == vm_states.ERROR
        assert said in reason(admin, one), reason(admin, one)
    assert "Delete" not in reason(admin, again), "it has content"
    # One that ran, and that the host cannot start again.
    other = Compute(set())
    other._init_instance = lambda context, one: other._set_instance_obj_error_state(one)
    interrupted.end_at_the_compute(other)
    ran = server(admin, "ran", host=HOST)
    ran.vm_state, ran.task_state = vm_states.ACTIVE, None
    ran.create()
    other._init_instance(admin, ran)
    assert "could not start it again" in reason(admin, ran)
    # An error of before is not this one's.
    broken = server(admin, "broken", host=HOST)
    broken.vm_state = vm_states.ERROR
    broken.create()
    compute._init_instance(admin, broken)
    assert reason(admin, broken) == ""


def unclaimed() -> None:
    """A server whose message is lost is in error after a while, and not one that waits."""
    assert hasattr(manager.ComputeManager, "_error_out_instances_whose_build_was_interrupted")
    admin = tables()
    names = ("lost", "queued", "another", "claimed")
    made = {name: server(admin, name) for name in names}
    made["claimed"].host = HOST
    for one in made.values():
        one.create()
    now = [1000.0]
    compute = Compute({one.uuid for name, one in made.items() if name != "another"})
    interrupted.end_at_the_compute(compute, lambda: now[0])
    (task,) = compute.tasks
    assert task._periodic_spacing == interrupted.LOOK

    def states() -> dict[str, str]:
        there = {n: objects.Instance.get_by_uuid(admin, o.uuid) for n, o in made.items()}
        return {n: o.vm_state for n, o in there.items() if o.vm_state != vm_states.BUILDING}

    # As it starts: its queue may have all of them.
    compute._error_out_instances_whose_build_was_interrupted(admin, set(), ["node"])
    task(compute, admin)
    assert states() == {}
    compute.build_and_run_instance(admin, made["queued"])
    assert compute.built == [made["queued"].uuid]
    now[0] += interrupted.LOST
    task(compute, admin)
    assert states() == {"lost": vm_states.ERROR}
    assert "was lost" in reason(admin, made["lost"])
    # It waits for its turn as long as that may take; then it is claimed, and forgotten.
    now[0] += 100 * interrupted.LOST
    task(compute, admin)
    assert states() == {"lost": vm_states.ERROR}
    made["queued"].host = HOST
    made["queued"].save()
    task(compute, admin)
    made["queued"].host = None
    made["queued"].save()
    task(compute, admin)
    now[0] += interrupted.LOST
    task(compute, admin)
    assert set(states()) == {"lost", "queued"}, "a second message is one of its own"
    # Where placement does not answer nobody is ended.
    failed = exception.ResourceProviderAllocationRetrievalFailed(rp_uuid="node", error="?")
    compute.reportclient.get_allocations_for_resource_provider.side_effect = failed
    made["lost"].vm_state = vm_states.BUILDING
    made["lost"].save()
    for _ in range(3):
        now[0] += interrupted.LOST
        task(compute, admin)
    assert set(states()) == {"queued"}


def report() -> None:
    """That it is up is said again soon where nobody answers; all else is waited for."""
    admin = tables()
    told = reports.Conductor()
    CONF.set_override("report_interval", 1)
    CONF.set_override("rpc_response_timeout", 5)
    objects.base.NovaObject.indirection_api = told
    took = {}
    # As a service has it whom the conductor has told before.
    up = objects.Service(admin, id=1, host=HOST, binary="nova-compute", topic="compute")
    up.obj_reset_changes()
    up.report_count = 2
    for name, one in (("report", up), ("other", server(admin, "other"))):
        begun = time.monotonic()
        try:
            one.save() if name == "report" else one.create()
        except messaging.MessagingTimeout:
            took[name] = time.monotonic() - begun
    assert 0.5 < took["report"] < 4 < took["other"], took


TRIALS = {call.__name__: call for call in (requests, rescheduled, explained, unclaimed, report)}

if __name__ == "__main__":
    TRIALS[sys.argv[1]](*sys.argv[2:])
