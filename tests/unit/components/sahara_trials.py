"""Trials of sahara's room inside upstream, run by the Python of sahara's environment.

``sahara_trials.py TRIAL FOLDER`` prints what it found as JSON, as its last line. In the folder is
``policy.yaml``, and a database is made there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from onestack.components.sahara.inside import run, sessions

PROJECT = "0" * 32
LATER = 30


def configured(folder: Path, data_sources: str = "hdfs,maprfs") -> Any:
    """Upstream, as `run.all_in_one` makes it, with a database in ``folder``; its WSGI application
    without what asks keystone."""
    paste = folder / "api-paste.ini"
    paste.write_text(
        "[composite:sahara]\nuse = egg:Paste#urlmap\n/: api\n"
        "[app:api]\npaste.app_factory = sahara.api.middleware.sahara_middleware:RouterV2.factory\n"
    )
    places: dict[str, dict[str, Any]] = {
        "database": {"connection": f"sqlite:///{folder}/sahara.sqlite"},
        "trustee": dict.fromkeys(("username", "password", "project_name"), "x")
        | {"user_domain_name": "Default", "project_domain_name": "Default"}
        | {"auth_url": "http://127.0.0.1:1/v3"},
        "oslo_policy": {"policy_file": folder / "policy.yaml"},
        "DEFAULT": {
            "transport_url": "fake://",
            "remote": "onestack",
            "heat_enable_wait_condition": "false",
            "plugins": "fake,spark3,spark,vanilla,storm,ambari,cdh,mapr",
            "data_source_types": data_sources,
            "job_binary_types": "internal-db",
            "api_paste_config": paste,
        },
    }
    config = folder / "sahara.conf"
    config.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
            for name, options in places.items()
        )
    )
    run.configure(str(config))
    import sahara.main as server

    server.setup_common(os.devnull, run.NAME)
    run._mend()
    from sahara.db.sqlalchemy import api, models

    models.mb.SaharaBase.metadata.create_all(api.get_engine())
    application = server.make_app()
    server.setup_sahara_api(run.NAME)
    server.setup_sahara_engine()
    server.setup_auth_policy()
    return application


def asked(
    application: Any, method: str, path: str, body: Any = None, roles: str = "member,reader"
) -> tuple[int, Any]:
    from webob import Request

    request = Request.blank(f"/v1.1/{PROJECT}{path}", method=method)
    named = ("User-Id", "Auth-Token", "User-Name", "Tenant-Name")
    request.headers.update({f"X-{name}": "x" for name in named})
    request.headers.update({"X-Tenant-Id": PROJECT, "X-Service-Catalog": "[]", "X-Roles": roles})
    if isinstance(body, bytes):
        request.body = body
    elif body is not None:
        request.json = body
    answer = request.get_response(application)
    return answer.status_int, answer.json if answer.body else None


def logged_by(name: str) -> list[tuple[str, str]]:
    """Level and text of each record of this logger and of those below it, as they come."""
    import logging

    found: list[tuple[str, str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append((record.levelname, record.getMessage()))  # type: ignore[method-assign]
    logging.getLogger(name).addHandler(handler)
    return found


# -- trials ------------------------------------------------------------------------


def api(folder: Path) -> Any:
    """What people read and write, without anything that another service has."""
    application = configured(folder)
    logged = logged_by("sahara")
    source = {"name": "in", "type": "hdfs", "url": "/data/in"}
    stored = {"name": "s", "type": "swift", "url": "swift://c.sahara/o"}
    plugins = asked(application, "GET", "/plugins")[1]["plugins"]
    found: dict[str, Any] = {
        "plugins": {each["name"]: each["versions"] for each in plugins},
        "one": asked(application, "GET", "/plugins/spark3/3.5")[0],
        "made": asked(application, "POST", "/data-sources", source),
        "stored": asked(application, "POST", "/data-sources", stored),
        "listed": asked(application, "GET", "/data-sources"),
        "read": asked(application, "GET", "/data-sources", roles="reader"),
        "written": asked(
            application, "POST", "/data-sources", {**source, "name": "r"}, roles="reader"
        ),
        "nobody": asked(application, "GET", "/data-sources", roles="other"),
        "hidden": asked(application, "PATCH", "/plugins/spark3", {}, roles="member,reader"),
    }
    found["binary"] = asked(application, "PUT", "/job-binary-internals/pi.py", b"print(1)")
    found["gone"] = asked(application, "GET", f"/data-sources/{uuid.uuid4()}")[0]
    found["logged"] = [(level, said) for level, said in logged if "error_code=" in said]
    found["errors"] = [said for level, said in logged if level in ("ERROR", "CRITICAL")]
    return found


def policy(folder: Path) -> Any:
    from sahara.common import policies

    return sorted(
        (rule.name.removeprefix("data-processing:"), rule.check_str)
        for rule in policies.list_rules()
    )


def session(folder: Path) -> Any:
    """Of a session: it is a process of its own, what it is asked it does, and how it ends."""
    sessions.begin(run._warm, run._session)
    from sahara.utils import patches

    patches.patch_all()
    from eventlet import timeout
    from sahara import context, exceptions
    from sahara.utils import procutils

    from onestack.components.sahara.inside import remote

    context.set_ctx(context.get_admin_context())
    one, two = procutils.start_subprocess(), procutils.start_subprocess()
    pids = [procutils.run_in_subprocess(each, os.getpid) for each in (one, two)]
    parents = {procutils.run_in_subprocess(each, os.getppid) for each in (one, two)}
    try:
        procutils.run_in_subprocess(one, remote.described)
        wrong = ""
    except exceptions.SubprocessException as error:
        wrong = str(error)
    began = time.monotonic()
    try:
        with timeout.Timeout(1):
            procutils.run_in_subprocess(two, time.sleep, (LATER,))
        late = False
    except timeout.Timeout:
        late = True
    for each in (one, two):
        procutils.kill_subprocess(each)
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    return {
        "pids": len(set(pids)),
        "parents": len(parents),
        "own": os.getpid() in parents,
        "wrong": wrong,
        "late": late,
        "seconds": time.monotonic() - began,
        "left": [pid for pid in pids if Path(f"/proc/{pid}").exists()],
        "parent": parents.pop(),
    }


def guests(folder: Path) -> Any:
    """What guests say of themselves, and of HDFS."""
    from types import SimpleNamespace

    from sahara.utils import patches

    patches.patch_all()
    from sahara.utils import ssh_remote

    from onestack.components.sahara.inside import remote

    said: dict[str, str] = {}
    ssh_remote._execute_command = lambda command, **_: (0, said["text"])
    kinds = {}
    for name, text in (
        ("debian", 'ID=debian\nVERSION_ID="12"\n'),
        ("red hat", 'ID="rhel"\nVERSION_ID="9.4"\n'),
        ("nothing", ""),
    ):
        said["text"] = text
        kinds[name] = [ssh_remote._get_os_distrib(), ssh_remote._get_os_version()]
    assert remote.Driver.__mro__[1] is ssh_remote.SshRemoteDriver

    put: dict[str, bytes] = {}
    sftp = SimpleNamespace(putfo=lambda file, place: put.update({place: file.read()}))
    ssh_remote._write_file(sftp, "a", "\u00fc", False)
    ssh_remote._write_file(sftp, "b", b"\x00", False)
    return {"kinds": kinds, "files": {name: list(raw) for name, raw in put.items()}}


def files(folder: Path) -> Any:
    """How many servers of files a guest starts, over ssh with a guest of ours."""
    import socket

    import paramiko
    from sahara.utils import ssh_remote

    from onestack.components.sahara.inside import remote

    begun: list[Any] = []

    class Guest(paramiko.ServerInterface):  # type: ignore[misc]
        def get_allowed_auths(self, username: str) -> str:
            return "password"

        def check_auth_password(self, username: str, password: str) -> int:
            return int(paramiko.AUTH_SUCCESSFUL)

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

    class Files(paramiko.SFTPServerInterface):  # type: ignore[misc]
        def session_started(self) -> None:
            begun.append(self)

        def open(self, path: str, flags: int, attr: Any) -> Any:
            handle = paramiko.SFTPHandle(flags)
            mode = "ab" if flags & os.O_APPEND else "wb" if flags & os.O_WRONLY else "rb"
            handle.readfile = handle.writefile = (folder / Path(path).name).open(mode)
            return handle

        def stat(self, path: str) -> Any:
            return paramiko.SFTPAttributes.from_stat((folder / Path(path).name).stat())

    listener = socket.create_server(("127.0.0.1", 0))
    client = ssh_remote.paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    address = listener.getsockname()
    ours = socket.create_connection(address)
    server = paramiko.Transport(listener.accept()[0])
    server.add_server_key(paramiko.ECDSAKey.generate())
    server.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    server.start_server(server=Guest(), event=threading.Event())
    client.connect("guest", username="u", password="p", sock=ours, look_for_keys=False)
    ssh_remote._ssh = client
    for text in ("one", "two"):
        ssh_remote._write_file_to("a", text)
    ssh_remote._append_to_file("a", ", three")
    read = ssh_remote._read_file_from("a")
    kept, waits = len(begun), client.get_transport().banner_timeout
    # One that ended on its own is none of the connection's end.
    client.open_sftp().close()
    again = ssh_remote._read_file_from("a")
    client.close()
    server.close()
    assert isinstance(client, remote.Client)
    return {"read": read, "again": again, "kept": kept, "in all": len(begun), "waits": waits}


MOUNTS = """dev /dev devtmpfs rw 0 0
/dev/vda2 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
"""
LISTED = "/dev/vda\n/dev/vda1\n/dev/vda2\n/dev/vdb\n/dev/vdc\n/dev/vdc1\n"
DRIVE = "/dev/vdd"
"""Where nova says what a guest is told."""


class Guest:
    """Answers as one with a boot partition, a bare volume and one with a partition."""

    def __init__(self) -> None:
        self.typed: list[str] = []

    def remote(self) -> Guest:
        return self

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *why: object) -> None:
        pass

    def execute_command(self, command: str, **more: Any) -> tuple[int, str]:
        self.typed.append(command)
        if command.startswith("lsblk"):
            return 0, f"{LISTED}{DRIVE}\n"
        if command.startswith("mount |"):
            return 0, "/dev/vda2\n"
        if "config-2" in command:
            return 0, f"{DRIVE}\n"
        return (0, MOUNTS) if "/proc/mounts" in command else (0, "")


def disks(folder: Path) -> Any:
    """Which of a guest's disks are the cluster's, and how one is mounted."""
    from sahara.utils import patches

    patches.patch_all()
    from sahara.service import volumes

    upstream = volumes._find_instance_devices
    alone = upstream(Guest())

    from onestack.components.sahara.inside import disks

    found = volumes._find_instance_devices(Guest())
    for xfs in (False, True):
        volumes._mount_volume(guest := Guest(), "/dev/vdb", "/volumes/disk1", xfs)
    names = ("/dev/vda", "/dev/vda12", "/dev/nvme0n1", "/dev/nvme0n1p2", "/dev/mmcblk0p1")
    return {
        "upstream": alone,
        "found": found,
        "mounted": guest.typed,
        "disks": [disks.disk_of(name) for name in names],
    }


REPORT = """Configured Capacity: 1 (1 B)

-------------------------------------------------
Live datanodes (2):

Name: 10.0.0.5:50010 (one)
Hostname: one
Decommission Status : {one}
Configured Capacity: 1 (1 B)

Name: 10.0.0.6:50010 (two)
Hostname: two
Decommission Status : Normal
Configured Capacity: 1 (1 B)
"""


def spark(folder: Path) -> Any:
    configured(folder)
    from types import SimpleNamespace

    from sahara.plugins.base import PLUGINS
    from sahara_plugin_spark.plugins.spark import run_scripts, scaling
    from sahara_plugin_vanilla.plugins.vanilla.hadoop2 import run_scripts as vanilla

    commands: list[str] = []
    report = {"text": REPORT.format(one="Decommission in progress")}

    def execute(command: str, **_: Any) -> tuple[int, str]:
        commands.append(command)
        return 0, report["text"]

    there = SimpleNamespace(execute_command=execute)
    gone = [SimpleNamespace(internal_ip=ip) for ip in ("10.0.0.5", "10.0.0.9")]
    moving = scaling._is_decommissioned(there, gone)
    report["text"] = REPORT.format(one="Decommissioned")
    plugin = PLUGINS.get_plugin("spark3")
    return {
        "versions": plugin.get_versions(),
        "processes": plugin.get_node_processes("3.5"),
        "jobs": sorted(plugin.get_edp_job_types()["3.5"]),
        "live": [
            run_scripts._check_datanodes_count(remote=there, count=count) for count in (1, 2, 0)
        ],
        "vanilla": bool(vanilla._check_datanodes_count(remote=there, count=2)),
        "users": sorted({command.split()[-1] for command in commands if "su -lc" in command}),
        "moving": moving,
        "moved": scaling._is_decommissioned(there, gone),
        "plugins": sorted(PLUGINS.plugins),
    }


def python(folder: Path) -> Any:
    """Commands that start a program, and what is written to the master before it."""
    configured(folder)
    from types import SimpleNamespace

    from oslo_config.cfg import CONF
    from sahara import context
    from sahara.plugins.base import PLUGINS
    from sahara.utils import remote

    context.set_ctx(context.Context(tenant_id=PROJECT, user_id="u"))
    CONF.set_override("proxy_user_domain_name", "jobs")
    written: dict[str, str] = {}
    commands: list[str] = []

    class There:
        def __enter__(self) -> There:
            return self

        def __exit__(self, *_: object) -> None: ...

        def execute_command(self, command: str) -> tuple[int, str]:
            commands.append(command)
            return 0, "spark.executor.extraClassPath /there.jar"

        def append_to_file(self, path: str, text: str) -> None:
            written[path] = text

        def write_file_to(self, path: str, data: str) -> None:
            written[path] = data

    remote.DRIVER = SimpleNamespace(get_remote=lambda _: There())
    master = SimpleNamespace(id="m", hostname=lambda: "m")
    groups = [SimpleNamespace(node_processes=["master"], instances=[master], configuration=dict)]
    cluster = SimpleNamespace(
        cluster_configs={}, node_groups=groups, plugin_name="spark3", hadoop_version="3.5"
    )
    main = {"edp.java.main_class": "x"}
    proxied = {
        "proxy_username": "job_1",
        "proxy_password": "a\\b",
        "proxy_trust_id": "t",
    }
    given = {
        "proxied": {"configs": main, "proxy_configs": proxied, "args": ["swift://c/in", "2"]},
        "own": {
            "configs": {**main, "fs.swift.service.sahara.username": "u"},
            "args": [],
        },
    }
    found, told = {}, []
    plugin = PLUGINS.get_plugin("spark3")
    for name, configs in given.items():
        engine = plugin.get_edp_engine(cluster, "Spark")
        found[name] = engine._build_command("/w", ["p.py", "l.jar"], ["b.jar"], configs)
        told.append(written["/w/spark.properties"])
    engine = plugin.get_edp_engine(cluster, "Spark")
    found["without"] = engine._build_command("/w", ["p.py"], [], given["proxied"])
    files = dict(written)
    written.clear()
    engine = plugin.get_edp_engine(cluster, "Spark")
    found["java"] = engine._build_command("/w", ["p.jar"], ["b.jar"], given["proxied"])
    return {
        "commands": found,
        "files": files,
        "told": told[0],
        "java": sorted(written),
        "typed": commands,
        "shell": type(plugin.get_edp_engine(cluster, "Shell")).__name__,
        "none": plugin.get_edp_engine(cluster, "Pig"),
    }


def interrupted(folder: Path) -> Any:
    """What a start makes of clusters and jobs that are in the middle of something.

    By upstream's own engine and tables; what it asks of heat and of keystone is noted.
    """
    configured(folder)
    from types import SimpleNamespace

    from sahara import conductor, context
    from sahara.service import ops, trusts
    from sahara.service.health import verification_base
    from sahara.utils.openstack import heat

    from onestack.components.sahara.inside import interrupted as settling

    told: list[str] = []
    trusts.use_os_admin_auth_token = lambda cluster: told.append("as its owner")
    trusts.delete_trust = lambda trustee, identity: told.append(f"gone: {identity}")
    trusts.keystone.auth_for_admin = lambda **named: None
    there = SimpleNamespace(
        delete=lambda name: told.append(f"gone: {name}"), list=lambda **which: iter(())
    )
    heat.client = lambda: SimpleNamespace(stacks=there)
    said = logged_by("onestack.sahara")
    context.set_ctx(context.Context(tenant_id=PROJECT, user_id="u"))
    worker = {"name": "w", "flavor_id": "1", "node_processes": ["datanode"], "count": 0}
    base = {"plugin_name": "fake", "hadoop_version": "0.1", "node_groups": [worker]}
    made, scaled = "Plugin: configure cluster", "Engine: scale cluster"
    growth = {"rollback_count": {"1": 1}, "target_count": {"1": 2}}
    rows: dict[str, tuple[str, dict[str, Any], tuple[str, ...], int]] = {
        # Status, what to roll back, steps, machines that are known.
        "ready": ("Active", {}, (made,), 1),
        "asked": ("Validating", {}, (), 0),
        "spawning": ("Spawning", {"shutdown": True}, ("Engine: create cluster",), 0),
        "waiting": ("Waiting", {"shutdown": True}, ("Engine: create cluster",), 1),
        "configuring": ("Configuring", {}, (made,), 1),
        "starting": ("Starting", {}, (made, "Plugin: start cluster"), 1),
        "to-scale": ("Validating", {}, (), 1),
        "shrinking": ("Decommissioning", {}, (made, "Plugin: decommission cluster"), 1),
        "scaling": ("Scaling", {}, (made, "Plugin: decommission cluster"), 1),
        "growing": ("Scaling: Spawning", growth, (made, scaled), 1),
        "grown": ("Configuring", {}, (made, scaled), 2),
        "rolled": ("Rollback: Spawning", {}, (made, scaled), 1),
        "leaving": ("Deleting", {}, (made,), 1),
        "left": ("Deleting", {}, (made,), 0),
        # Of one that came to no stack, upstream took any that is called as it is.
        "refused": ("Deleting", {}, (), 0),
    }
    api, ids = conductor.API, {}
    for name, (status, rollback, steps, machines) in rows.items():
        cluster = api.cluster_create(context.ctx(), {**base, "name": name})
        named = {} if name in ("asked", "refused") else {"heat_stack_name": f"{name}-stack"}
        update = {"status": status, "rollback_info": rollback, "extra": named}
        update |= {} if name in ("asked", "left") else {"trust_id": f"{name}-trust"}
        cluster = api.cluster_update(context.ctx(), cluster, update)
        for step in steps:
            body = {"step_name": "s", "step_type": step, "total": 1}
            api.cluster_provision_step_add(context.ctx(), cluster.id, body)
        for each in range(machines):
            body = {"instance_id": f"{name}-{each}", "instance_name": f"{name}-w-{each}"}
            api.instance_add(context.ctx(), cluster.node_groups[0], body)
        ids[name] = cluster.id
    for name in ("ready", "grown"):
        api.cluster_verification_add(context.ctx(), ids[name], {"status": "CHECKING"})
    job = api.job_create(context.ctx(), {"name": "j", "type": "Spark"})
    execution = {"job_id": job.id, "cluster_id": ids["ready"], "info": {"status": "PENDING"}}
    lost = api.job_execution_create(context.ctx(), {**execution, "job_configs": {}})
    known = {**execution, "engine_job_id": "1@2", "info": {"status": "RUNNING"}}
    going = api.job_execution_create(context.ctx(), {**known, "job_configs": {}})
    # One after the other: SQLite lets one write at a time, and waits without eventlet's leave.
    context.spawn = lambda title, work, *args: begun.append((work, args))
    begun: list[tuple[Any, Any]] = []
    settling.settle()
    for work, args in begun:
        context.set_ctx(context.get_admin_context())
        work(*args)
    context.set_ctx(context.Context(tenant_id=PROJECT, user_id="u"))
    # What comes before a scaling fails, as while the image service is away.
    api.cluster_update(context.ctx(), ids["ready"], {"status": "Validating"})
    ops._provision_scaled_cluster(ids["ready"], {})
    found: dict[str, Any] = {}
    for name, identity in ids.items():
        if now := api.cluster_get(context.ctx(), identity):
            machines = sum(len(group.instances) for group in now.node_groups)
            why, back = now.status_description or "", now.rollback_info.to_dict()
            found[name] = [now.status, why, machines, back]
    jobs = [api.job_execution_get(context.ctx(), each.id).info["status"] for each in (lost, going)]
    checked = [verification_base.validate_verification_start(ids[n]) for n in ("ready", "grown")]
    return {
        "clusters": found,
        "jobs": jobs,
        "told": told,
        "said": said,
        "checked": checked,
        "ids": ids,
    }


def reach(folder: Path) -> Any:
    """How upstream reaches machines of a cluster with a gateway and of one without, as nova knows
    a floating IP of them or not; and what it notes of one that it has logged in to."""
    configured(folder)
    from types import SimpleNamespace

    from sahara import conductor, context
    from sahara.db.sqlalchemy import api as database
    from sahara.service import networks
    from sahara.service.heat import heat_engine
    from sahara.utils import ssh_remote
    from sqlalchemy import text

    context.set_ctx(context.Context(tenant_id=PROJECT, user_id="u"))
    api = conductor.API
    common = {"flavor_id": "1", "image_username": "u", "node_processes": [], "count": 0}
    fixed = {"addr": "10.0.0.2", "version": 4, "OS-EXT-IPS:type": "fixed"}
    floating = {"addr": "192.0.2.9", "version": 4, "OS-EXT-IPS:type": "floating"}
    networks.nova.get_instance_info = lambda instance: SimpleNamespace(
        addresses={"net": [fixed, *([floating] if instance.instance_id.endswith("-with") else ())]}
    )

    def made(name: str, **groups: dict[str, Any]) -> Any:
        body = {"plugin_name": "fake", "hadoop_version": "0.1", "name": name}
        named = [{**common, "name": group, **more} for group, more in groups.items()]
        cluster = api.cluster_create(context.ctx(), {**body, "node_groups": named})
        for group in cluster.node_groups:
            for which in ("with", "without"):
                one = f"{name}-{group.name}-{which}"
                api.instance_add(context.ctx(), group, {"instance_id": one, "instance_name": one})
        return api.cluster_get(context.ctx(), cluster.id)

    def instances(cluster: Any) -> list[Any]:
        groups = api.cluster_get(context.ctx(), cluster.id).node_groups
        return [each for group in groups for each in group.instances]

    found: dict[str, Any] = {}
    pool = {"floating_ip_pool": "net"}
    doors: dict[str, dict[str, Any]] = {
        "door": {**pool, "is_proxy_gateway": True},
        "inner": pool,
    }
    for cluster in (made("plain", m=pool), made("gated", **doors)):
        for instance in instances(cluster):
            networks.init_instances_ips(instance)
        for instance in instances(cluster):
            host, _, _, proxy, gateway, _ = ssh_remote.InstanceInteropHelper(
                instance
            )._get_conn_params()
            addresses = (instance.management_ip, instance.internal_ip)
            found[instance.instance_id] = [*addresses, host, proxy, gateway]
    cluster = made("come", m=pool)
    heat_engine.HeatEngine._is_accessible = lambda self, instance: True
    context.ctx().current_instance_info = context.InstanceInfo(cluster.id)
    heat_engine.HeatEngine()._await_networks(cluster, instances(cluster)[:1])
    query = (
        "SELECT s.step_name, e.instance_id, e.successful FROM cluster_events e "
        "JOIN cluster_provision_steps s ON s.id = e.step_id"
    )
    with database.get_engine().connect() as connection:
        noted = [list(row) for row in connection.execute(text(query))]
    return {"ways": found, "noted": noted}


def stack(folder: Path) -> Any:
    """What upstream tells heat of a cluster with all that a cluster may have."""
    configured(folder)
    from sahara import conductor, context
    from sahara.service.heat import heat_engine, templates

    templates.neutron.get_private_network_cidrs = lambda cluster: ["192.0.2.0/24"]
    templates.nova.get_flavor = lambda id: type("Flavor", (), {"disk": 1})
    context.set_ctx(context.Context(tenant_id=PROJECT, user_id="u"))
    common = {
        "flavor_id": "1",
        "image_username": "u",
        "image_id": "i",
        "floating_ip_pool": "pool",
        "auto_security_group": True,
        "volumes_size": 1,
        "volumes_per_node": 2,
        "open_ports": [],
    }
    groups = [
        {**common, "name": "m", "count": 1, "node_processes": ["namenode"]},
        {**common, "name": "w", "count": 2, "node_processes": ["datanode"]}
        | {"boot_from_volume": True},
    ]
    cluster = conductor.API.cluster_create(
        context.ctx(),
        {
            "plugin_name": "fake",
            "hadoop_version": "0.1",
            "name": "words",
            "node_groups": groups,
            "anti_affinity": ["datanode"],
            "anti_affinity_ratio": 1,
            "neutron_management_network": "net",
        },
    )
    engine, made = heat_engine.HeatEngine(), templates.ClusterStack(cluster)
    engine._update_instance_count(made, cluster, engine._get_ng_counts(cluster))
    return {"template": made._get_main_template(), "files": made.files}


def serve(folder: Path) -> None:
    """As the supervisor starts it, with the configuration that another trial made."""
    import socket

    from onestack.model.process import Process

    listening = socket.create_server(("127.0.0.1", 0))
    print(json.dumps(listening.getsockname()[1]), flush=True)
    config = {"config": str(folder / "sahara.conf")}
    run.all_in_one(
        Process("sahara", "sahara", "root", run="x", arguments=config), {"api": listening}
    )


TRIALS = (
    serve,
    api,
    policy,
    session,
    guests,
    files,
    disks,
    spark,
    python,
    interrupted,
    reach,
    stack,
)

if __name__ == "__main__":
    chosen = next(trial for trial in TRIALS if trial.__name__ == sys.argv[1])
    place = Path(sys.argv[2])
    sys.stdout.flush()
    print(json.dumps(chosen(place)))
