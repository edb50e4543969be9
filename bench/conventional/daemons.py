"""Files that are not oslo.config's: of the daemons below the services, and of uWSGI."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.conventional.place import HOST, PASSWORD, PORTS, Place
from bench.conventional.settings import SHARE

WSGI = {
    "keystone": "keystone.wsgi.api",
    "glance": "glance.wsgi.api",
    "placement": "placement.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
    "nova-metadata": "nova.wsgi.metadata",
    "neutron": "neutron.wsgi.api",
    "cinder": "cinder.wsgi.api",
}
"""Upstream's module for each API; all call what is to be served ``application``."""


def write(place: Place) -> None:
    """All of them, the directories that they name, and what upstream has for ``/etc``."""
    for service in ("cinder", "glance", "keystone", "neutron", "nova"):
        shutil.copytree(place.upstream / service, place.etc / service, dirs_exist_ok=True)
    texts = {
        place.etc / "my.cnf": _mariadb(place),
        place.etc / "libvirt" / "libvirtd.conf": 'auth_unix_rw = "none"\n',
        place.etc / "libvirt" / "qemu.conf": _QEMU,
        place.etc / "passwd": _known("/etc/passwd", "libvirt-qemu:x:64055:64055::/:/bin/false"),
        place.etc / "group": _known("/etc/group", "libvirt-qemu:x:64055:"),
        place.etc / "no-kvm": "KVM does not work on this machine.\n",
        place.config("cinder", "nfs_shares"): f"{SHARE}\n",
        # Looked for, and not started: the share is there already.
        place.root / "bin" / "mount.nfs": "#!/bin/sh\nexit 1\n",
        place.config("neutron", "rootwrap.conf"): _rootwrap(place),
        **{place.etc / "uwsgi" / f"{name}.ini": uwsgi(place, name) for name in WSGI},
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (place.root / "bin" / "mount.nfs").chmod(0o755)
    for path in (
        *(place.lib / "keystone" / f"{kind}-keys" for kind in ("fernet", "credential")),
        *(place.lib / "glance" / kind for kind in ("images", "staging", "tasks", "lock")),
        *(place.lib / service / "tmp" for service in ("nova", "neutron", "cinder")),
        *(place.lib / name for name in ("rabbitmq", "openvswitch", "ovn", "nova/instances")),
        *(place.lib / "libvirt" / kind for kind in ("lib", "log", "cache")),
    ):
        path.mkdir(parents=True, exist_ok=True)
    # Else made open to all, and complained of.
    for kind in ("fernet", "credential"):
        (place.lib / "keystone" / f"{kind}-keys").chmod(0o700)


def uwsgi(place: Place, name: str) -> str:
    """As DevStack and Kolla have it (the same but for the line that listens): one process.

    Both put a proxy before it, Kolla's ``http`` is a process of its own: ``http-socket`` is
    neither.
    """
    module = f"{WSGI[name]}:application"
    service = name.partition("-")[0]
    arguments = f"pyargv = --config-file {place.config('cinder')}\n" if name == "cinder" else ""
    variables = {f"OS_{service.upper()}_CONFIG_DIR": str(place.etc / service)}
    if name == "neutron":
        variables["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf;ml2_conf.ini"
    lines = "".join(f"env = {key}={value}\n" for key, value in variables.items())
    return f"""[uwsgi]
add-header = Connection: close
buffer-size = 65535
die-on-term = true
enable-threads = true
exit-on-reload = false
hook-master-start = unix_signal:15 gracefully_kill_them_all
http-socket = {HOST}:{PORTS[name]}
http-auto-chunked = true
http-chunked-input = true
http-raw-body = true
lazy-apps = true
master = true
module = {module}
need-app = true
processes = 1
socket-timeout = 30
start-time = %t
thunder-lock = true
virtualenv = {place.release.services.place}
worker-reload-mercy = 80
{lines}{arguments}"""


def rabbitmq(place: Place) -> dict[str, str]:
    """The broker's environment, and its tools': its own places, all else as Debian has it."""
    data = place.lib / "rabbitmq"
    return place.environment | {
        "HOME": str(data),
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(data / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
        "RABBITMQ_LOG_BASE": str(place.log),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_PID_FILE": str(data / "pid"),
    }


def chassis(place: Place) -> tuple[str, ...]:
    """What ovn-controller reads of the switch's database, by neutron's guide."""
    ids = {
        "system-id": "conventional",
        "ovn-remote": f"tcp:{HOST}:6642",
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": HOST,
        "ovn-bridge": "br-int",
        "ovn-bridge-mappings": "extnet:br-ex",
        "ovn-bridge-datapath-type": place.datapath,
        "ovn-cms-options": "enable-chassis-as-gw",
    }
    return tuple(f"external-ids:{key}={value}" for key, value in ids.items())


def grants(database: str, user: str) -> str:
    """The statements of every guide's first page."""
    to = (f"'{user}'@'{host}' IDENTIFIED BY '{PASSWORD}'" for host in ("localhost", "%"))
    rights = "".join(f"GRANT ALL PRIVILEGES ON {database}.* TO {whom};\n" for whom in to)
    return f"CREATE DATABASE IF NOT EXISTS {database};\n{rights}"


def _mariadb(place: Place) -> str:
    return f"""[mysqld]
user = root
datadir = {place.lib}/mysql
socket = /run/mysqld/mysqld.sock
pid-file = /run/mysqld/mysqld.pid
# by the installation guide
bind-address = {HOST}
default-storage-engine = innodb
innodb_file_per_table = on
max_connections = 4096
collation-server = utf8_general_ci
character-set-server = utf8
"""


_QEMU = """user = "root"
group = "root"
# There is neither virtlogd nor a cgroup manager here, as there is none for onestack.
stdio_handler = "file"
security_driver = "none"
cgroup_controllers = []
namespaces = []
"""


def _rootwrap(place: Place) -> str:
    return f"""[DEFAULT]
filters_path = {place.etc}/neutron/rootwrap.d
exec_dirs = {place.path.replace(":", ",")}
use_syslog = False
"""


def _known(file: str, line: str) -> str:
    """The machine's accounts and one that libvirtd looks up: its package makes it, unused."""
    text = Path(file).read_text()
    name = line.partition(":")[0]
    return text if f"\n{name}:" in text else f"{text}{line}\n"
