"""The machine of a database under plain QEMU: its agent, and both databases in containers.

The agent's own code prepares them, told by a program of the test's instead of the bus.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pymysql
import pytest

from onestack.components.trove.guest import RECIPE
from onestack.components.trove.guest.containers import REGISTRY
from onestack.model.cloud import CACHE
from tests.support.needs import needs_root
from tests.support.service_guest import MAC, ServiceGuest, free_port, write_drive

pytestmark = needs_root

USERS_MAC = "fa:16:3e:00:00:22"
ADDRESS = "10.0.3.15"
AGENT = f"""[DEFAULT]
transport_url = rabbit://guest:guest@10.0.2.2:%d/trove
control_exchange = trove
log_dir = /var/log/trove
log_file = trove-guestagent.log
state_change_wait_time = 600
command_process_timeout = 120
[mariadb]
docker_image = {REGISTRY}/mariadb
backup_docker_image = {REGISTRY}/db-backup-mariadb
[postgresql]
docker_image = {REGISTRY}/postgresql
backup_docker_image = {REGISTRY}/db-backup-postgresql
"""
INFO = """[DEFAULT]
guest_id = 11111111-2222-3333-4444-555555555555
datastore_manager = mariadb
datastore_version = 10.11
instance_rpc_encr_key = 0123456789abcdef0123456789abcdef
network_isolation = True
ssl_mode =
"""
NETWORK = {
    "mac_address": USERS_MAC,
    "ipv4_address": ADDRESS,
    "ipv4_cidr": "10.0.3.0/24",
    "ipv4_gateway": "10.0.3.2",
    "ipv4_host_routes": [],
}
DOCKER = {"bridge": "none", "ip-forward": False, "iptables": False}
FOUND = "test: "
PROGRAM = f"""
import runpy, sys
MANAGER, VERSION, MOUNT, FLAVOR = sys.argv[1], sys.argv[2], sys.argv[3], {{"ram": 1024, "vcpus": 1}}
agent = runpy.run_path("/usr/lib/database/agent")
agent["prepare"]()
import semantic_version
from trove.common import cfg, utils
from trove.common.rpc.secure_serializer import SecureSerializer
from trove.guestagent import dbaas
from trove.guestagent.common import guestagent_utils

def say(*words):
    with open("/dev/ttyS0", "w") as console:
        print("{FOUND}" + " ".join(words), file=console)

cfg.parse_args(["agent", "--config-dir", "/etc/trove/conf.d"])
cfg.CONF.set_override("datastore_manager", MANAGER)
cfg.CONF.set_override("datastore_version", VERSION)

mine, others = SecureSerializer(None, "k" * 32), SecureSerializer(None, "j" * 32)
for forged in ({{"user": "nobody"}}, {{"context": "plain"}}, others.serialize_context({{"a": 1}})):
    try:
        mine.deserialize_context(forged)
    except Exception:
        continue
    say("took what was forged")
if mine.deserialize_context(mine.serialize_context({{"a": 1}})) != {{"a": 1}}:
    say("did not take its own")

guestagent_utils.disable_user_defined_port()
manager = __import__("oslo_utils.importutils").importutils.import_object(
    dbaas.datastore_registry()[MANAGER])
images = manager.docker_client.images.list()
say("images", *sorted(tag for image in images for tag in image.tags))
registered = manager.docker_client.images.get_registry_data("{REGISTRY}/db-backup-%s:%s" % (
    MANAGER, VERSION))
say("registered", registered.image_name)
store = {{"semantic_version": semantic_version.Version.coerce(VERSION)}}
template = utils.ENV.get_template("%s/config.template" % MANAGER)
config = template.render(flavor=FLAVOR, server_id=7, datastore=store)
manager.do_prepare(None, [], None, 1024, None, "/dev/vdb", MOUNT, None, config, None, {{}}, None,
    None, ds_version=VERSION)
if MANAGER == "mariadb":
    shop = {{"_name": "shop", "_character_set": "utf8mb4", "_collate": None}}
    manager.adm.create_databases([shop])
    manager.adm.create_users([{{"_name": "anna", "_password": "of-a-test", "_host": "%",
        "_databases": [shop]}}])
else:
    say("version", manager.adm.query("SHOW server_version")[0][0],
        manager.adm.query("SHOW lc_time")[0][0])
say("health", MANAGER, manager.app.status.get_actual_db_status().description)
output, worked = __import__("trove.guestagent.utils.docker").guestagent.utils.docker.run_container(
    manager.docker_client, registered.image_name, "try",
    command="python3 main.py --help")
say("backup", str(worked), str(any("--swift-url" in line for line in output)))
if MANAGER != "mariadb":
    manager.app.stop_db()
    manager.docker_client.containers.get("database").remove(force=True)
say("done", MANAGER)
"""
TRIAL = """[Service]
Type=oneshot
StandardOutput=journal
# As the volume's root is, where there is one for it.
ExecStartPre=/usr/bin/install -d -o database -g database /var/lib/postgresql
ExecStart=/opt/venv/bin/python3 -W ignore /root/trial.py postgresql 15 /var/lib/postgresql
ExecStart=/opt/venv/bin/python3 -W ignore /root/trial.py mariadb 10.11 /var/lib/mysql
ExecStopPost=/bin/sh -c 'journalctl -b -u trial -n 30 --no-pager > /dev/ttyS0; touch /root/tried'
"""
TRUST = """#!/bin/sh
install -m 644 /etc/trove/ca.pem /var/lib/docker/overlay2/databases/diff/etc/ssl/cloud.pem
[ -e /root/tried ] || { systemctl daemon-reload; systemctl start --no-block trial.service; }
"""
"""In place of the guest's own, which only has the first line."""


def user_data(files: Mapping[str, str]) -> str:
    """As Trove writes it."""
    lines = ["#cloud-config", "write_files:"]
    for path, content in files.items():
        lines += [f"- path: {path}", "  owner: root:root", "  encoding: b64"]
        lines += [f"  content: {base64.b64encode(content.encode()).decode()}"]
        lines += ["  permissions: '0755'"] if content.startswith("#!") else []
    return "\n".join(lines) + "\n"


@pytest.fixture
def place() -> Iterator[Path]:
    # Not pytest's own: a unix socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="guest-") as folder:
        yield Path(folder)


@pytest.fixture
def bus() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(600)
        yield server


def greeting(bus: socket.socket) -> bytes:
    """What the next who comes to the bus says first."""
    connection, _ = bus.accept()
    with connection:
        connection.settimeout(60)
        return connection.recv(8)


def numbers(port: int, statement: str, seconds: float = 400) -> list[int]:
    """What the user of the database is told, as a tenant's guest would be."""
    until = time.monotonic() + seconds
    while True:
        try:
            with (
                pymysql.connect(
                    host="127.0.0.1",
                    port=port,
                    user="anna",
                    password="of-a-test",
                    database="shop",
                    autocommit=True,
                    connect_timeout=30,
                ) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)
                return [row[0] for row in cursor.fetchall()]
        except pymysql.err.OperationalError:
            assert time.monotonic() < until
            time.sleep(2)


@pytest.mark.timeout(2700)
def test_both_databases_start_and_mariadb_outlives_a_power_cut(
    place: Path, bus: socket.socket
) -> None:
    image = RECIPE.build(CACHE / "images")
    files = {
        "/etc/trove/conf.d/guest_info.conf": INFO,
        "/etc/trove/conf.d/trove-guestagent.conf": AGENT % bus.getsockname()[1],
        "/etc/trove/eth1.json": json.dumps(NETWORK),
        "/etc/trove/ca.pem": "no authority's",
        "/etc/docker/daemon.json": json.dumps(DOCKER),
        "/root/trial.py": PROGRAM,
        "/etc/systemd/system/trial.service": f"[Unit]\nAfter=docker.service\n{TRIAL}",
        "/usr/lib/database/trust": TRUST,
    }
    port = free_port()
    volume = place / "volume.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", volume, "1G"], check=True)
    drive = write_drive(place, user_data(files), "database-one")
    devices = (
        *("-drive", f"file={volume},if=virtio"),
        *("-netdev", "user,id=n0", "-device", f"virtio-net-pci,netdev=n0,mac={MAC}"),
        "-netdev",
        f"user,id=n1,net=10.0.3.0/24,restrict=on,hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:3306",
        *("-device", f"virtio-net-pci,netdev=n1,mac={USERS_MAC}"),
    )
    guest = ServiceGuest(place, image, drive, devices, memory=2048, disk="4G")
    guest.start()
    try:
        guest.wait("guest: database-one")
        assert greeting(bus) == b"AMQP\0\0\x09\1"
        guest.wait(f"{FOUND}done postgresql", 900)
        guest.wait(f"{FOUND}done mariadb", 900)
        found = [line for line in guest.console().splitlines() if line.startswith(FOUND)]
        images = " ".join(
            f"{REGISTRY}/{name}"
            for name in (
                *("db-backup-mariadb:10.11", "db-backup-postgresql:15"),
                *("mariadb:10.11", "postgresql:15"),
            )
        )
        assert found[0] == f"{FOUND}images {images}"
        assert found[1] == f"{FOUND}registered {REGISTRY}/db-backup-postgresql:15"
        assert found[2].startswith(f"{FOUND}version 15.")
        assert found[2].endswith(" en_US.utf8")
        assert found[3:6] == [
            f"{FOUND}health postgresql healthy",
            f"{FOUND}backup True True",
            f"{FOUND}done postgresql",
        ]
        assert found[6:] == [
            f"{FOUND}images {images}",
            f"{FOUND}registered {REGISTRY}/db-backup-mariadb:10.11",
            f"{FOUND}health mariadb healthy",
            f"{FOUND}backup True True",
            f"{FOUND}done mariadb",
        ]

        numbers(port, "CREATE TABLE kept (number INT)")
        numbers(port, "INSERT INTO kept VALUES (42)")
        guest.kill()
        guest.start()
        assert numbers(port, "SELECT number FROM kept") == [42]
        assert "is known already" in guest.wait("guest: database-one")
        assert greeting(bus) == b"AMQP\0\0\x09\1"
        guest.press_power()
    finally:
        guest.kill()
