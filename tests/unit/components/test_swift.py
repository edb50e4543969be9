"""Swift's room: what it asks for, its rings, and what it says to its own log lines."""

from __future__ import annotations

import configparser
import json
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.components import swift as room
from onestack.components.cinder import Cinder
from onestack.components.glance import Glance
from onestack.components.swift import Swift, config, devices, ensure_rings
from onestack.components.swift.inside.places import Places
from onestack.model.component import Component
from onestack.model.errors import OnestackError
from tests.unit.components.rooms import answered, content, context


@pytest.fixture
def swift() -> Swift:
    return Swift()


def parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser


def test_everything_is_below_the_clouds_root(tmp_path: Path, swift: Swift) -> None:
    ctx = context(tmp_path, swift, name="a")
    for file in swift.files(ctx):
        assert file.path.is_relative_to(tmp_path)
        assert "127.77.0.1" not in file.content
        for path in re.findall(r"(?<![\w:/.<])/[\w./-]+", file.content):
            if path not in ("/v3", "/ ", "/", "/devices", "/dev/stderr"):
                assert path.startswith(str(tmp_path)), f"{file.path.name}: {path}"


def test_only_the_service_reads_its_secrets(tmp_path: Path, swift: Swift) -> None:
    ctx = context(tmp_path, swift)
    secret = [f for f in swift.files(ctx) if any(v in f.content for v in ctx.secrets.known())]
    assert {f.path.name for f in secret} == {"swift.conf", "proxy-server.conf"}
    assert {(f.group, f.mode) for f in secret} == {("onestack-swift", 0o640)}
    assert not [p for p in swift.processes(ctx) if set(p.argv) & ctx.secrets.known()]


def test_the_catalog(tmp_path: Path, swift: Swift) -> None:
    (identity,) = swift.identity(context(tmp_path, swift))
    (endpoint,) = identity.endpoints
    assert (endpoint.type, endpoint.port) == ("object-store", 8080)
    assert endpoint.path == "/v1/AUTH_%(project_id)s"


@pytest.mark.parametrize("name", ["proxy-server", "internal-client", "object-server"])
def test_every_filter_is_described(tmp_path: Path, swift: Swift, name: str) -> None:
    parser = parsed(content(context(tmp_path, swift), swift, f"{name}.conf"))
    *filters, application = parser["pipeline:main"]["pipeline"].split()
    for each in filters:
        found = parser[f"filter:{each}"]
        assert "use" in found or "paste.filter_factory" in found
    assert f"app:{application}" in parser


def test_the_pipelines_order() -> None:
    order = config.PIPELINE.split()
    # Signed URLs and forms come before there is a user; a whole pipeline's rules after.
    rules = (
        "catch_errors gatekeeper cache tempurl authtoken keystoneauth copy slo dlo "
        "versioned_writes symlink room proxy-server",
        "formpost authtoken",
        "s3api authtoken s3token keystoneauth staticweb slo",
        "keystoneauth container-quotas slo",
    )
    for rule in rules:
        places = [order.index(name) for name in rule.split()]
        assert places == sorted(places), rule
    # The expirer's client may do what no user's request may.
    assert "gatekeeper" not in config.INTERNAL_PIPELINE


def test_storage_is_asked_for_patiently(tmp_path: Path, swift: Swift) -> None:
    for copies in (1, 2, 3):
        ctx = context(tmp_path, swift, CONFIG_SWIFT_STORAGE_REPLICAS=str(copies))
        app = parsed(content(ctx, swift, "proxy-server.conf"))["app:proxy-server"]
        assert app["error_suppression_interval"] == "0"
        assert int(app["node_timeout"]) >= 60
        # one of two is believed alone
        believed = app.get("rebalance_missing_suppression_count")
        assert believed == ("0" if copies == 2 else None)


def test_the_disk_is_mounted_before_the_storage_servers(tmp_path: Path, swift: Swift) -> None:
    ctx = context(tmp_path, swift)
    processes = {p.name: p for p in swift.processes(ctx)}
    assert set(processes) == {"swift-storage", "swift-proxy", "swift-rsync", "swift-upkeep"}
    storage = processes["swift-storage"]
    (store,) = swift.stores(ctx)
    assert (store.owner, store.after) == ("swift-storage", ("swift:disk",))
    assert pkgutil.resolve_name(store.store)(tmp_path) == Places(tmp_path)
    # What uses the disk ends before it is unmounted.
    for name in ("swift-proxy", "swift-rsync", "swift-upkeep"):
        assert "swift-storage" in processes[name].needs
    for process in processes.values():
        assert process.user == "onestack-swift"
        assert not process.capabilities
    for target in storage.sockets.values():
        assert target.startswith(f"tcp:{ctx.internal}:")


def test_every_worker_has_its_turn(tmp_path: Path, swift: Swift) -> None:
    from onestack.components.swift.inside.consistency import WORKERS

    assert set(room.UPKEEP) == set(WORKERS)
    ctx = context(tmp_path, swift)
    for name in WORKERS:
        kind = name.partition("-")[0]
        assert name in parsed(content(ctx, swift, f"{kind}-server.conf"))


def test_replicators_speak_to_the_daemon(tmp_path: Path, swift: Swift) -> None:
    """rsync refuses swift's --contimeout for a plain path; a zone that is given up needs it too."""
    ctx = context(tmp_path, swift)
    for kind in config.PORTS:
        section = parsed(content(ctx, swift, f"{kind}-server.conf"))[f"{kind}-replicator"]
        assert section["rsync_module"] == f"rsync://{{replication_ip}}:{config.RSYNC}/devices"
    text = content(ctx, swift, "rsyncd.conf")
    assert f"address = {ctx.internal}\n" in text and f"path = {devices.srv(tmp_path)}\n" in text
    assert "rsync" in set(swift.packages(ctx))
    upkeep = next(p for p in swift.processes(ctx) if p.name == "swift-upkeep")
    assert "swift-rsync" in upkeep.needs


def test_green_threads_stay_apart(swift: Swift, tmp_path: Path) -> None:
    assert swift.zygote_isolated
    assert not list(swift.preload(context(tmp_path, swift)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"CONFIG_SWIFT_STORAGE_REPLICAS": "2"}, "more copies than"),
        (
            {"CONFIG_SWIFT_STORAGES": "/dev/vdb", "CONFIG_SWIFT_STORAGE_ZONES": "2"},
            "more zones than CONFIG_SWIFT_STORAGES has disks (1)",
        ),
        ({"CONFIG_SWIFT_STORAGES": "/dev/vdb,/dev/vdb"}, "vdb twice"),
        ({"CONFIG_SWIFT_STORAGE_SIZE": "100M"}, "at least 512M"),
        ({"CONFIG_SWIFT_STORAGE_ZONES": "0"}, "from 1 on"),
        ({"CONFIG_SWIFT_STORAGE_FSTYPE": "btrfs"}, "xfs, ext4"),
        ({"CONFIG_SWIFT_HASH": "a b"}, "letters and digits"),
    ],
)
def test_answers_that_cannot_be_honoured(swift: Swift, given: dict[str, str], says: str) -> None:
    answers, problems = answered(CONFIG_SWIFT_INSTALL="y", **given)
    found = problems or list(swift.validate(answers)) if answers else problems
    assert found and says in found[0]


def test_zones_and_disks() -> None:
    zones = registry().answers(
        {"CONFIG_SWIFT_STORAGE_ZONES": "3", "CONFIG_SWIFT_STORAGE_REPLICAS": "2"}
    )
    layout = devices.layout(zones, "u")
    assert [(d.name, d.zone) for d in layout.devices] == [("zone1", 1), ("zone2", 2), ("zone3", 3)]
    assert layout.in_file and layout.replicas == 2
    assert devices.DeviceLayout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
    disks = registry().answers(
        {
            "CONFIG_SWIFT_STORAGES": "/dev/vdb, 192.0.2.5/vdc, /dev/disk/by-id/a:b",
            "CONFIG_SWIFT_STORAGE_ZONES": "2",
        }
    )
    found = devices.layout(disks, "u")
    assert not found.in_file
    assert [(d.source, d.name, d.zone) for d in found.devices] == [
        ("/dev/vdb", "vdb", 1),
        ("/dev/vdc", "vdc", 2),
        ("/dev/disk/by-id/a:b", "a_b", 1),
    ]


@pytest.mark.parametrize(
    ("disk", "why"), [("/dev/no-such-disk", "it is not there"), ("/dev/null", "it is no disk")]
)
def test_what_is_no_disk_is_refused(tmp_path: Path, disk: str, why: str) -> None:
    with pytest.raises(OnestackError) as caught:
        devices.check_disk(disk, tmp_path)
    assert caught.value.why == why


class TestRings:
    """The program's side; the rings themselves are in test_swift_upstream."""

    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        calls: list[list[str]] = []

        def build(argv: list[str | Path], **more: object) -> None:
            calls.append([str(word) for word in argv])
            for kind in config.PORTS:
                (Path(argv[-1]) / f"{kind}.ring.gz").touch()

        monkeypatch.setattr(room, "run", build)
        return calls

    def settle(self, tmp_path: Path, **given: str) -> list[str]:
        ctx = context(tmp_path, Swift(), **given)
        config.directory(ctx).mkdir(parents=True, exist_ok=True)
        done = []
        for change in ensure_rings(ctx):
            change.do()
            done.append(change.what)
        return done

    def test_they_are_made_once(self, tmp_path: Path, made: list[list[str]]) -> None:
        first = self.settle(tmp_path)
        assert first == ["make the rings of the object store: 1 copy on zone1"]
        assert self.settle(tmp_path) == []
        assert len(made) == 1

    def test_other_answers_other_rings(self, tmp_path: Path, made: list[list[str]]) -> None:
        self.settle(tmp_path)
        more = {"CONFIG_SWIFT_STORAGE_ZONES": "2", "CONFIG_SWIFT_STORAGE_REPLICAS": "2"}
        assert self.settle(tmp_path, **more) == [
            "make the rings of the object store: 2 copies on zone1, zone2"
        ]
        assert self.settle(tmp_path, **more) == []

    def test_earlier_rings_are_made_anew(self, tmp_path: Path, made: list[list[str]]) -> None:
        """They may have two copies in one zone."""
        self.settle(tmp_path)
        record = tmp_path / "etc" / "swift" / "rings.json"
        kept = json.loads(record.read_text())
        del kept["dispersed"]
        record.write_text(json.dumps(kept))
        assert self.settle(tmp_path)
        assert self.settle(tmp_path) == []

    def test_a_lost_ring_is_made_again(self, tmp_path: Path, made: list[list[str]]) -> None:
        self.settle(tmp_path)
        (tmp_path / "etc" / "swift" / "object.ring.gz").unlink()
        assert self.settle(tmp_path)

    def test_another_hash_is_refused(self, tmp_path: Path, made: list[list[str]]) -> None:
        self.settle(tmp_path)
        with pytest.raises(OnestackError, match="CONFIG_SWIFT_HASH") as caught:
            self.settle(tmp_path, CONFIG_SWIFT_HASH="another")
        assert caught.value.cure == "put the old value back"

    def test_they_go_with_the_store(self, tmp_path: Path, made: list[list[str]]) -> None:
        self.settle(tmp_path)
        ctx = context(tmp_path, Swift())
        for change in Swift().purge(ctx):
            change.do()
        assert not list((tmp_path / "etc" / "swift").glob("*ring*"))
        assert not list(Swift().purge(ctx))

    def test_the_hash_is_no_default_password(self, tmp_path: Path) -> None:
        ctx = context(tmp_path, Swift(), CONFIG_DEFAULT_PASSWORD="easy")
        assert config.suffix(ctx) != "easy"


def test_images_go_where_the_answer_says(tmp_path: Path, swift: Swift) -> None:
    glance = Glance()

    def store(*rooms: Component, **given: str) -> tuple[str, str]:
        ctx = context(tmp_path, glance, *rooms, **given)
        parser = parsed(content(ctx, glance, "glance-api.conf"))
        return parser["DEFAULT"]["enabled_backends"], parser["glance_store"]["default_backend"]

    assert store() == ("file:file", "file")
    # The answer falls back where there is no object store, as packstack's did.
    assert store(CONFIG_GLANCE_BACKEND="swift") == ("file:file", "file")
    # Both stay readable, whichever is the default.
    assert store(swift) == ("file:file,swift:swift", "file")
    assert store(swift, CONFIG_GLANCE_BACKEND="swift") == ("file:file,swift:swift", "swift")


def test_glances_account_is_glances_alone(tmp_path: Path, swift: Swift) -> None:
    glance = Glance()
    ctx = context(tmp_path, glance, swift)
    (file,) = [f for f in ctx.model["glance"].files if f.path.name == "swift.conf"]
    assert (file.group, file.mode) == ("onestack-glance", 0o640)
    assert ctx.secrets["glance_keystone"] in file.content
    (process,) = glance.processes(ctx)
    assert str(file.path) in process.files


def test_backups_go_into_the_object_store(tmp_path: Path, swift: Swift) -> None:
    cinder = Cinder()
    ctx = context(tmp_path, cinder, swift)
    backup = next(p for p in ctx.model["cinder"].processes if p.name == "cinder-backup")
    # It reads the volumes' files where cinder-volume has mounted them.
    assert {"cinder-volume", "object-store"} <= set(backup.needs)
    defaults = parsed(content(ctx, cinder, "cinder.conf"))["DEFAULT"]
    assert defaults["swift_catalog_info"] == "object-store:swift:internalURL"
    assert "backup_posix_path" not in defaults
    assert int(defaults["backup_swift_object_size"]) % 32768 == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ERROR Insufficient Storage 127.77.0.1:6200/zone1", "CONFIG_SWIFT_STORAGE_SIZE"),
        ("Object returning 503 for [507]", "CONFIG_SWIFT_STORAGE_SIZE"),
        ("Skipping: vdb is not mounted", "onestack restart swift"),
        ("ERROR Remote drive not mounted {'device': 'c'}", "is not mounted"),
        ("127.77.0.1:6200/c responded as unmounted", "is not mounted"),
        ("Ran out of handoffs while replicating partition 1 of policy 0", "is not mounted"),
        ("There are not enough handoff nodes to reach replica", "is not mounted"),
        ("Container update failed: 507 response from 127.77.0.1:6201/c", "not mounted"),
        ("OSError: [Errno 28] No space left on device", "df -h"),
        ("Unable to validate token: Identity server rejected authorization", "run up again"),
        ("No such file or directory: '/x/object.ring.gz'", "run up again"),
        ("ERROR with Account server: [Errno 111] ECONNREFUSED", "swift-storage"),
        ("something else", None),
    ],
)
def test_explanations(tmp_path: Path, swift: Swift, line: str, says: str | None) -> None:
    text = context(tmp_path, swift).model.likely("swift", line)
    assert (says in text) if says and text else text is None and says is None


def test_passes_are_children_and_one_at_a_time(tmp_path: Path) -> None:
    """The real loop, with passes of ours: each ends before the next of its kind begins."""
    program = f"""
import os, sys, time
from pathlib import Path
from onestack.components.swift.inside import consistency
consistency.FIRST = consistency.APART = 0.0
def once(name, config):
    book = Path({str(tmp_path / "book")!r})
    if name == "object-updater":
        raise ValueError("of a test")
    if name == "object-auditor" and os.fork() == 0:
        sys.exit(3)  # as upstream's own children of a pass end
    with book.open("a") as file:
        file.write(f"{{name}} begins {{config}}\\n")
        file.flush()
        time.sleep(0.3 if name == "object-expirer" else 0)
        file.write(f"{{name}} ends\\n")
consistency.once = once
seconds = {{"object-updater": 0.1, "object-expirer": 0.1, "object-auditor": 60}}
consistency.Upkeep({{"object": "file"}}, seconds).run(lambda: print("ready", flush=True))
"""
    import sys
    import time

    started = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(room.__file__).parents[3])},
        text=True,
    )
    assert started.stdout and started.stdout.readline() == "ready\n"
    book = tmp_path / "book"
    end = time.monotonic() + 20
    while not book.exists() or book.read_text().count("object-expirer ends") < 2:
        assert time.monotonic() < end and started.poll() is None
        time.sleep(0.02)
    started.terminate()
    _, err = started.communicate(timeout=10)
    assert started.returncode == 0
    lines = [line for line in book.read_text().splitlines() if line.startswith("object-expirer")]
    assert lines[:4] == ["object-expirer begins file", "object-expirer ends"] * 2
    assert book.read_text().count("object-auditor begins") == 1
    # What fails says so and is tried again; it stops nobody else.
    assert err.count("ValueError: of a test") > 1
    assert "object-updater ended with 1" in err
    assert "object-auditor ended" not in err
