"""Trials of swift's room inside upstream, in the services' environment.

``python swift_trials.py TRIAL FOLDER``: prints what it found as JSON. In
``FOLDER`` are the room's files as a cloud has them (``etc/swift``).
"""

from __future__ import annotations

import configparser
import importlib.metadata
import inspect
import json
import os
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

RINGS = ("account", "container", "object")


def rings(folder: Path) -> Any:
    """How partitions lie after each of several wishes, one after another."""
    from swift.common import utils

    utils.HASH_PATH_SUFFIX = b"of a test"
    from swift.common.ring import Ring

    from onestack.components.swift.inside import rings as ours

    found = []
    before: dict[int, set[str]] = {}
    for zones, replicas in ((1, 1), (3, 1), (3, 3), (2, 2), (1, 1)):
        wanted = {
            "replicas": replicas,
            "emptied": True,
            "ip": f"127.0.0.{zones}",
            "ports": {"account": 6202, "container": 6201, "object": 6200},
            "devices": [
                {"name": f"zone{n}", "zone": n, "weight": 100.0} for n in range(1, zones + 1)
            ],
        }
        ours.build(wanted, folder)
        ring = Ring(str(folder), ring_name="object")
        places = {
            part: [node["device"] for node in ring.get_part_nodes(part)]
            for part in range(ring.partition_count)
        }
        now = {part: set(names) for part, names in places.items()}
        found.append(
            {
                "share": Counter(name for names in places.values() for name in names),
                "twice": sum(len(set(names)) < len(names) for names in places.values()),
                "moved": sum(not before[part] & now[part] for part in before),
                "ips": sorted({dev["ip"] for dev in ring.devs if dev}),
                "devices": sorted(dev["device"] for dev in ring.devs if dev),
            }
        )
        before = now
    return found


def dispersed(folder: Path) -> Any:
    """Partitions with two copies in one zone, after each of several wishes; disks' shares.

    The first builder is as earlier ones were made: shares by weight came first.
    """
    from swift.common.ring import RingBuilder

    from onestack.components.swift.inside import rings as ours

    def count(builder: Any) -> int:
        parts = range(builder.parts)
        zones = [[builder.devs[row[p]]["zone"] for row in builder._replica2part2dev] for p in parts]
        return sum(len(set(each)) < len(each) for each in zones)

    equal, unlike = (("a", 1, 10), ("b", 2, 10), ("c", 1, 10)), (("a", 1, 90), ("b", 2, 1))
    found = []
    (folder / "builders").mkdir()
    kept = folder / "builders" / "object.builder"
    earlier = RingBuilder(ours.PART_POWER, 2, 0)
    for name, zone, weight in equal:
        place = {"ip": "127.0.0.1", "port": 6200, "region": 1, "zone": zone}
        earlier.add_dev({**place, "device": name, "weight": weight})
    earlier.rebalance(seed=1)
    found.append([count(earlier), {}])
    earlier.save(str(kept))
    for disks in (equal, unlike, (*unlike, ("d", 2, 30)), (*equal, ("d", 2, 1), ("e", 3, 5))):
        devices = [{"name": name, "zone": zone, "weight": weight} for name, zone, weight in disks]
        ports = {"object": 6200}
        wanted = {"replicas": 2, "emptied": False, "ip": "127.0.0.1", "ports": ports}
        ours.build({**wanted, "devices": devices}, folder)
        builder = RingBuilder.load(str(kept))
        shares = {device["device"]: device["parts"] for device in builder.devs if device}
        found.append([count(builder), shares])
    return found


def again(folder: Path) -> Any:
    """The same wish makes the same ring, also in another cloud."""
    from onestack.components.swift.inside import rings as ours

    wanted = {
        "replicas": 2,
        "emptied": True,
        "ip": "127.0.0.1",
        "ports": {"object": 6200},
        "devices": [{"name": f"zone{n}", "zone": n, "weight": 100.0} for n in (1, 2, 3)],
    }
    sums = []
    for name in ("one", "other"):
        (folder / name).mkdir()
        ours.build(wanted, folder / name)
        sums.append((folder / name / "object.ring.gz").read_bytes().hex())
    return sums[0] == sums[1]


def patched(folder: Path) -> Any:
    """What the libraries know of TLS and locks in the zygote; and what it left open."""
    import os
    import ssl
    import threading

    before = set(os.listdir("/proc/self/fd"))
    import onestack.components.swift.inside.preload  # noqa: F401

    after = set(os.listdir("/proc/self/fd"))
    import eventlet.green.ssl
    import urllib3.util.ssl_ as urllib3

    urllib3.create_urllib3_context()
    return {
        "tls": ssl.SSLContext is eventlet.green.ssl.GreenSSLContext,
        "descriptors": len(after - before),
        "threads": threading.active_count(),
    }


def files(folder: Path) -> Any:
    """Upstream makes all its servers and workers from the files; what it warns of."""
    place = folder / "etc" / "swift"
    wanted = {
        "replicas": 1,
        "emptied": True,
        "ip": "127.0.0.1",
        "ports": {"account": 6202, "container": 6201, "object": 6200},
        "devices": [{"name": "zone1", "zone": 1, "weight": 100.0}],
    }
    from onestack.components.swift.inside import rings as ours

    ours.build(wanted, place)
    import onestack.components.swift.inside.preload  # noqa: F401
    from onestack.components.swift.inside import swiftdir
    from onestack.components.swift.inside.consistency import WORKERS

    swiftdir.use(str(place))
    from swift.common import utils, wsgi

    for name in ("proxy-server", "account-server", "container-server", "object-server"):
        wsgi.init_request_processor(str(place / f"{name}.conf"), name)
    for name, reference in WORKERS.items():
        module, _, attribute = reference.partition(":")
        worker = getattr(importlib.import_module(module), attribute)
        kind = name.partition("-")[0]
        worker(utils.readconf(str(place / f"{kind}-server.conf"), name))
    return sorted(WORKERS)


def unknown(folder: Path) -> Any:  # noqa: C901 - a section for each kind of swift's
    """Options whose names stand nowhere in the code that could read them."""
    import onestack.components.swift.inside.preload  # noqa: F401
    from onestack.components.swift.inside.consistency import WORKERS

    common = (
        *("swift.common.wsgi", "swift.common.utils", "swift.common.utils.logs"),
        *("swift.common.daemon", "swift.common.base_storage_server"),
    )
    more = {
        "proxy-server": ("swift.proxy.controllers.base", "swift.common.error_limiter"),
        "object": ("swift.obj.diskfile",),
        "container": ("swift.common.db_replicator", "swift.common.db_auditor"),
        "account": ("swift.common.db_replicator", "swift.common.db_auditor"),
        "cache": ("swift.common.memcached",),
        "s3token": ("keystoneauth1.identity.generic.password", "keystoneauth1.identity.base"),
    }
    eggs = {
        entry.name: entry.module
        for group in ("paste.filter_factory", "paste.app_factory")
        for entry in importlib.metadata.distribution("swift").entry_points.select(group=group)
    }
    found = []
    for path in sorted((folder / "etc" / "swift").glob("*-*.conf")):
        parser = configparser.RawConfigParser()
        parser.read(path)
        for section in parser.sections():
            kind, _, name = section.rpartition(":")
            options = dict(parser[section])
            used = options.pop("use", "").rpartition("#")[2]
            factory = options.pop("paste.filter_factory", "").partition(":")[0]
            modules = [*common, *more.get(name, ()), *more.get(name.partition("-")[0], ())]
            if kind in ("filter", "app"):
                modules.append(eggs[used] if used else factory)
                # One of ours reads what upstream's of that name does, too.
                if factory.startswith("onestack.") and name in eggs:
                    modules.append(eggs[name])
            elif section in WORKERS:
                modules.append(WORKERS[section].partition(":")[0])
            elif section == "pipeline:main":
                options.pop("pipeline")
            elif section == "DEFAULT":
                raise AssertionError("RawConfigParser lists no DEFAULT")
            if factory.startswith("keystonemiddleware"):
                from keystoneauth1 import loading
                from keystonemiddleware.auth_token import _opts

                known = {o.dest for _, group in _opts.list_opts() for o in group}
                plugin = loading.get_plugin_loader("password").get_options()
                known |= {o.name.replace("-", "_") for o in plugin}
                own = set(options) - set(parser.defaults())
                found += [f"{path.name}: [{section}] {n}" for n in sorted(own - known - {"cache"})]
                continue
            if name == "s3token":
                from keystoneauth1 import loading

                plugin = loading.get_plugin_loader("password").get_options()
                for option in [o.name.replace("-", "_") for o in plugin] + ["valid_interfaces"]:
                    options.pop(option, None)
            text = "".join(inspect.getsource(importlib.import_module(m)) for m in set(modules))
            for option in options:
                if option in parser.defaults() and section not in ("pipeline:main",):
                    continue
                if f"'{option}'" not in text and f'"{option}"' not in text:
                    if option in parser.defaults() and _anywhere(option):
                        continue
                    found.append(f"{path.name}: [{section}] {option}")
    return found


def _anywhere(option: str) -> bool:
    import swift

    root = Path(swift.__file__).parent
    return any(f"'{option}'" in path.read_text() for path in root.rglob("*.py"))


def room(folder: Path) -> Any:
    """The filter: what fits passes, what does not is refused with a reason."""
    from swift.common.swob import Request

    from onestack.components.swift.inside import quota as ours

    (folder / "srv" / "zone1").mkdir(parents=True)
    (folder / "srv" / "zone1" / ".ismount").touch()
    (folder / "srv" / "lost").mkdir()
    passed: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        passed.append(environ["REQUEST_METHOD"])
        start_response("201 Created", [])
        return [b""]

    made = ours.filter_factory({"devices": str(folder / "srv")})(app)
    free = made.free()
    answers = []
    for method, path, size in (
        ("PUT", "/v1/a/c/o", 1),
        ("PUT", "/v1/a/c/o", free * 2),
        ("PUT", "/v1/a/c", free * 2),
        ("POST", "/v1/a/c/o", free * 2),
    ):
        request = Request.blank(path, method=method, headers={"Content-Length": str(size)})
        response = request.get_response(made)
        answers.append((response.status_int, response.body.decode()))

    def statvfs(place: Path) -> types.SimpleNamespace:
        free = 110 if place.name == "zone1" else 500
        return types.SimpleNamespace(f_frsize=1, f_blocks=1000, f_bavail=free)

    with mock.patch.object(os, "statvfs", statvfs):
        return {"answers": answers, "passed": passed, "free": made.free()}


def temporary_urls(folder: Path) -> Any:
    """How a URL is answered whose signature is of each kind."""
    from swift.common.swob import Request

    from onestack.components.swift.inside import tempurl as ours

    made = ours.filter_factory({"allowed_digests": "sha256 sha512"})(None)
    answers = []
    for method, signature in (
        ("GET", "a" * 40),
        ("GET", "a" * 64),
        ("GET", "nonsense"),
        ("HEAD", "a" * 40),
    ):
        path = f"/v1/a/c/o?temp_url_sig={signature}&temp_url_expires=99999999999"
        request = Request.blank(path, method=method)
        with mock.patch.object(ours.TempURL, "_get_keys", lambda self, env: []):
            response = request.get_response(made)
        answers.append((response.status_int, response.body.decode()))
    return answers


def main() -> None:
    result = globals()[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
