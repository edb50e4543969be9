"""The conventional cloud beside which onestack is measured, and what makes a table of the two.

Its figures need clouds; that its configuration is the release's, that it goes wholly, and that
what is printed follows from what was measured does not.
"""

from __future__ import annotations

import contextlib
import http.server
import importlib.machinery
import importlib.util
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import beside, figures
from bench.api import Api, Refused
from bench.beside import Figure
from bench.conventional import daemons, settings, units
from bench.conventional.cloud import SERVICES
from bench.conventional.machine import Machine, Unit
from bench.conventional.place import LAYOUTS, PORTS, Place
from bench.conventional.web import Web, needed
from onestack.model.ini import ini_text
from onestack.release.release import Release
from tests.support.ini import Parser
from tests.support.needs import needs_root
from tests.unit.test_options import complaints

PLACES = [Place("t", layout, kvm) for layout in LAYOUTS for kvm in (False, True)]


@pytest.fixture
def web(tmp_path: Path) -> Web:
    """As Debian's packages are, unpacked."""
    plugins = tmp_path / "usr" / "lib" / "uwsgi" / "plugins"
    plugins.mkdir(parents=True)
    for name in ("http", "python311"):
        (plugins / f"{name}_plugin.so").touch()
    (tmp_path / "usr" / "lib" / "x86_64-linux-gnu").mkdir()
    return Web(tmp_path)


def written(file: settings.File) -> dict[str, dict[str, str]]:
    """As a service reads it: from its text."""
    parser = Parser(default_section="", delimiters=("=",))
    parser.read_string(ini_text(file.sections))
    return {name: dict(parser[name]) for name in parser.sections()}


@needs_root
@pytest.mark.parametrize(
    "service", ["keystone", "glance", "placement", "nova", "neutron", "cinder"]
)
def test_its_options_are_the_releases(installed: Release, service: str) -> None:
    files = [
        {
            "path": str(file.path),
            "namespaces": list(file.namespaces),
            "privsep": list(file.privsep),
            "sections": written(file),
        }
        for place in PLACES
        for file in settings.files(place)
        if file.path.parent.name == service
    ]
    assert files
    wrong = complaints(installed.services, files)
    assert not wrong, "\n".join(wrong)


@needs_root
@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_programs_are_the_releases(installed: Release, layout: str, web: Web) -> None:
    place = Place("t", layout)
    scripts = {unit.name for unit in units.units(place, web)} - {f"{api}-api" for api in PORTS}
    services = [name for name in scripts if name.startswith(("nova-", "neutron-", "cinder-"))]
    assert len(services) >= 7
    for name in (*services, *(m.split()[0] for service in SERVICES for m in service.migrations)):
        assert installed.services.command(name).is_file(), name
    for module in daemons.WSGI.values():
        assert installed.services.path(module.replace(".", "/") + ".py").is_file(), module


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_what_its_units_read_is_written(place: Place, web: Web) -> None:
    made = {str(file.path) for file in settings.files(place)}
    found = units.units(place, web)
    read = {
        word
        for unit in found
        for option, word in zip(unit.argv, unit.argv[1:], strict=False)
        if option == "--config-file"
    }
    assert read <= made
    # keystone's, glance's and placement's are read by their APIs alone.
    assert {Path(path).name for path in made - read} == {
        *("keystone.conf", "glance-api.conf", "placement.conf")
    }
    names = [unit.name for unit in found]
    assert len(set(names)) == len(names)


def test_neither_workers_nor_threads_more_than_one() -> None:
    """Where upstream would have one for each core."""
    for place in PLACES:
        found = {file.path.name: written(file) for file in settings.files(place)}
        assert found["nova.conf"]["scheduler"]["workers"] == "1"
        assert found["nova.conf"]["conductor"]["workers"] == "1"
        assert int(found["neutron.conf"]["DEFAULT"]["rpc_workers"]) <= 1
        for name in daemons.WSGI:
            assert "\nprocesses = 1\n" in daemons.uwsgi(place, name)


def test_each_api_is_told_of_its_files() -> None:
    place = Place("t")
    assert f"env = OS_NOVA_CONFIG_DIR={place.root}/etc/nova\n" in daemons.uwsgi(
        place, "nova-metadata"
    )
    assert "OS_NEUTRON_CONFIG_FILES=neutron.conf;ml2_conf.ini\n" in daemons.uwsgi(place, "neutron")
    assert daemons.uwsgi(place, "cinder").endswith(
        f"pyargv = --config-file {place.root}/etc/cinder/cinder.conf\n"
    )


def test_the_web_server_is_the_unpacked_one(web: Web) -> None:
    *_, plugin = web.command
    assert web.command[0] == f"{web.tree}/usr/bin/uwsgi-core"
    assert plugin == "--plugin=python311"
    assert web.environment == {"LD_LIBRARY_PATH": f"{web.tree}/usr/lib/x86_64-linux-gnu"}


def test_packages_that_are_missing() -> None:
    said = (
        "Reading…\nInst libpcre3 (2:8.39 Debian)\nInst uwsgi-core (2.0 Debian)\nConf libpcre3 (…)"
    )
    assert needed(said) == ["libpcre3", "uwsgi-core"]


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not pytest's own: its /tmp is another in there.
    with tempfile.TemporaryDirectory(prefix="conv-", dir="/var/tmp") as folder:
        place = Place("t", base=Path(folder))
        daemons_of_none(place)
        machine = Machine(place)
        try:
            yield machine
        finally:
            machine.remove()


def daemons_of_none(place: Place) -> None:
    """The sources of the mounts, for a machine on which no cloud is."""
    for name in ("libvirt/lib", "libvirt/log", "libvirt/cache"):
        (place.lib / name).mkdir(parents=True)
    (place.etc / "libvirt").mkdir(parents=True)
    for name in ("passwd", "group"):
        (place.etc / name).write_text(Path("/etc", name).read_text())
    (place.etc / "no-kvm").touch()


def unit(machine: Machine, name: str, script: str) -> Unit:
    return Unit(name, ("/bin/sh", "-c", script), machine.place.environment, 0)


def soon(what: str, check: object, seconds: float = 20) -> None:
    assert callable(check)
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.02)


libvirt_installed = pytest.mark.skipif(
    not all(Path(p).is_dir() for p in ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt")),
    reason="libvirt is not installed: what is mounted has no place",
)


@needs_root
@libvirt_installed
def test_nothing_of_it_is_left(machine: Machine) -> None:
    """Not even a daemon that has left its session, nor after the bench itself was killed."""
    outside = Path("/proc/self/mountinfo").read_text()
    machine.power_on()
    daemon = "setsid sleep 1000 >/dev/null 2>&1 & sleep 1001"
    machine.start([unit(machine, "one", daemon), unit(machine, "two", "sleep 1002")])
    soon("three of them run", lambda: len(machine.processes()) >= 3)
    pids = machine.processes()
    assert {"mysqld", "openvswitch"} <= set(machine.run("ls", "/run").split())
    assert "lo" in machine.run("ls", "/sys/class/net").split()
    assert Path("/proc/self/mountinfo").read_text() == outside

    # another run, which knows nothing but where it was
    later = Machine(machine.place)
    assert later.processes() and later.pid == machine.pid
    later.remove()
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)
    assert not machine.place.root.exists()
    assert machine.pid is None and machine.processes() == []


@needs_root
@libvirt_installed
def test_units_are_started_again_until_they_are_stopped(machine: Machine) -> None:
    machine.power_on()
    trap = "trap 'echo ended; exit' TERM; echo begun; while :; do sleep 0.05; done"
    machine.start([unit(machine, "kind", trap), unit(machine, "deaf", "trap '' TERM; sleep 1000")])
    log = machine.place.log / "kind.log"
    soon("it runs", lambda: log.exists() and "begun" in log.read_text())
    machine.run("kill", "-9", str(machine.state()["kind"]["pid"]))
    soon("it runs again", lambda: log.read_text().count("begun") == 2)
    assert machine.state()["kind"]["starts"] == 2
    machine.stop(["kind"])
    assert log.read_text().endswith("ended\n")
    assert list(machine.state()) == ["deaf"]
    machine._ask({"stop": ["deaf"], "seconds": 0.2})
    assert machine.state() == {}
    soon("nothing runs", lambda: machine.processes() == [])


@needs_root
@libvirt_installed
def test_it_boots_with_empty_run_and_tmp(machine: Machine) -> None:
    machine.power_on()
    machine.run("touch", "/run/left", "/tmp/left")
    assert not Path("/run/left").exists()
    machine.power_off()
    machine.power_on()
    assert machine.run("ls", "/tmp") == ""
    assert "left" not in machine.run("ls", "/run")


def found(**values: float) -> dict[str, Figure]:
    return {name: Figure(value) for name, value in values.items()}


def test_the_table_and_the_ratio() -> None:
    ours = [found(up=10, memory=1000), found(up=30, memory=1000), found(up=20, memory=1000)]
    peers = [found(up=100, memory=4000), found(up=80, memory=4000), found(up=100, memory=4000)]
    lines = [line.split() for line in beside.table(ours, peers).splitlines()]
    assert lines == [
        ["onestack", "conventional", "ratio"],
        ["up", "20.0", "100.0", "0.20"],
        ["memory", "1000.0", "4000.0", "0.25"],
    ]


def test_worst_are_those_that_compare_worst() -> None:
    fast, slow = "requests/s, 8 clients", "tokens/s, 8 clients"
    ours = [{"up": Figure(1), "port": Figure(0.3), fast: Figure(30), slow: Figure(10)}]
    peers = [{"up": Figure(10), "port": Figure(0.2), fast: Figure(10), slow: Figure(40)}]
    assert beside.worst(ours, peers, 3) == [slow, "port", fast]
    assert beside.worse(slow, ours, peers) == 4.0
    assert beside.worse("port", ours, peers) == pytest.approx(1.5)


def test_a_profile_tells_what_a_figure_is_made_of() -> None:
    parts = {"neutron-api": 1.5, "mariadb": 0.5}
    ours = [{"port": Figure(0.3, 20, parts, computed=True)}]
    peers = [{"port": Figure(0.2)}]
    assert beside.profile("port", ours, peers).splitlines() == [
        "port: 1.50 times a conventional cloud's",
        "  onestack: 2.00 s of computing for 20 in all",
        "          1.50  neutron-api",
        "         0.500  mariadb",
    ]
    memory = [{"MiB": Figure(1260, parts={"mariadb": 90.0})}]
    assert beside.profile("MiB", memory, memory).splitlines()[1:3] == [
        "  onestack: 1260.0, of it",
        "          90.0  mariadb",
    ]


def test_a_run_prints_and_keeps_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = Path(__file__).resolve().parents[2] / "bench" / "run"
    loader = importlib.machinery.SourceFileLoader("bench_run", str(run))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    ours = [{"up": Figure(20, parts={"process:nova-api": 4.0})}]
    peers = [{"up": Figure(40, parts={"nova-manage db sync": 9.0})}]
    monkeypatch.setattr(beside, "measure", lambda backend, rounds: (ours * rounds, peers * rounds))
    kept = tmp_path / "figures.json"
    argv = ["run", "--conventional", "--rounds", "2", "--backend", "ovn", "--json", str(kept)]
    monkeypatch.setattr(sys, "argv", argv)
    module.main()
    printed = capsys.readouterr().out
    assert ["up", "20.0", "40.0", "0.50"] in [line.split() for line in printed.splitlines()]
    assert "up: 0.50 times a conventional cloud's" in printed
    assert "      9.00  nova-manage db sync" in printed
    written = json.loads(kept.read_text())["ovn"]
    assert [each["up"]["value"] for each in written["conventional"]] == [40, 40]
    assert written["onestack"][0]["up"]["parts"] == {"process:nova-api": 4.0}


class Noted:
    """A cloud that only notes what is done to it."""

    done: list[str]
    fails = ""

    def __init__(self, layout: str) -> None:
        self.cloud = None

    def _note(self, what: str) -> None:
        self.done.append(f"{type(self).__name__} {what}")
        if what == self.fails:
            raise RuntimeError(what)

    def up(self) -> None:
        self._note("up")

    def down(self) -> None:
        self._note("down")

    def boot(self) -> None:
        self._note("boot")

    def destroy(self) -> None:
        self._note("destroy")

    def steps(self) -> figures.Spent:
        return {"short": 1.0, "long": 2.0}

    def pids(self) -> list[int]:
        return [os.getpid()]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Noted]:
    shared = type("Shared", (Noted,), {"done": []})
    monkeypatch.setattr(beside, "Onestack", type("ours", (shared,), {}))
    monkeypatch.setattr(beside, "Peer", type("peer", (shared,), {}))
    monkeypatch.setattr(beside, "uses", lambda side: iter([("port", Figure(0.1))]))
    monkeypatch.setattr(beside, "CACHE", tmp_path)
    monkeypatch.setattr(beside, "_image", lambda cloud: None)
    return shared


def test_both_live_the_same_life_by_turns(noted: type[Noted]) -> None:
    ours, peers = beside.measure("ovn", 2, settle=0)
    life = ["up", "down", "boot", "destroy"]
    first = ["destroy", "up", "destroy", "up", *life]
    other = ["destroy", "up", *life]
    turn = [*(f"ours {each}" for each in first), *(f"peer {each}" for each in other)]
    assert noted.done == turn * 2
    assert [list(each) for each in (*ours, *peers)] == [list(ours[0])] * 4
    assert list(ours[0][beside.BOOT].parts) == ["long", "short"]
    assert beside.table(ours, peers).count("\n") == len(ours[0])


@pytest.mark.parametrize("what", ["up", "down"])
def test_what_fails_is_removed(noted: type[Noted], what: str) -> None:
    noted.fails = what
    with pytest.raises(RuntimeError):
        beside.measure("ovn", 1, settle=0)
    assert noted.done[-1] == "ours destroy"


class Told:
    """A cloud that is asked by a program of the test's."""

    def __init__(self, script: str) -> None:
        self.script = script

    def pids(self) -> list[int]:
        return [os.getpid()]

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", self.script]


SPEAKS = """
import sys
for name, seconds in (("port", 0.25), ("20 rules, one by one", 3.5)):
    print("begin", name, flush=True)
    assert sys.stdin.readline()
    print("end", name, seconds, 20, flush=True)
sys.exit(int({code}))
"""


def test_what_the_client_tells_is_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "image", lambda: Path("/none"))
    told = dict(beside.uses(Told(SPEAKS.format(code=0))))  # type: ignore[arg-type]
    assert {name: (f.value, f.count) for name, f in told.items()} == {
        "port": (0.25, 20),
        "20 rules, one by one": (3.5, 20),
    }
    with pytest.raises(SystemExit, match="ended with 3"):
        list(beside.uses(Told(SPEAKS.format(code=3))))  # type: ignore[arg-type]


def test_a_client_that_nobody_hears_ends() -> None:
    program = "from bench.uses import phase\nphase('x', 3, lambda: 1.0)"
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "begin x\n")
    assert "nobody measures" in done.stderr


def test_who_computed_meanwhile() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import time\nprint(1, flush=True)\nwhile True: pass"],
        stdout=subprocess.PIPE,
        env={**os.environ, "ONESTACK_PROCESS": "neutron-api"},
    )
    with child:
        assert child.stdout and child.stdout.readline()
        before = figures.cpu([child.pid, 1 << 22])
        end = time.monotonic() + 20
        while not (told := figures.spent(before, figures.cpu([child.pid]))):
            assert time.monotonic() < end
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    assert list(told) == ["neutron-api"] and told["neutron-api"] > 0


def test_names_of_processes_by_their_titles() -> None:
    titles = {
        "nova-scheduler: ServiceWrapper worker(0)": "nova-scheduler",
        "keystone-api [/var/lib/onestack-x]": "keystone-api",
        "neutron-ovn-metadata-agent (/usr/bin/python x)": "neutron-ovn-metadata-agent",
        "/usr/sbin/mariadbd": "mariadbd",
    }
    for title, name in titles.items():
        assert called_as(title) == name


def called_as(title: str) -> str:
    script = ["bash", "-c", 'exec -a "$0" sleep 30', title]
    with subprocess.Popen(script, env={"PATH": os.environ["PATH"]}) as process:
        cmdline = Path(f"/proc/{process.pid}/cmdline")
        soon("it has its title", lambda: cmdline.read_bytes().startswith(title.encode()))
        said = figures.called(process.pid)
        process.kill()
    return said


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status = 404 if self.path.endswith("missing") else 200
        text = json.dumps({"path": self.path}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        # Closed without a word, as a server closes what is idle.
        self.close_connection = self.path.endswith("idle")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def answering() -> Iterator[tuple[Api, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Answers,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v3/"
        try:
            yield Api({"OS_AUTH_URL": url}), asked
        finally:
            server.shutdown()


def test_a_connection_that_was_idle_is_made_anew() -> None:
    with answering() as (api, asked):
        assert api.get("identity", "/idle") == {"path": "/v3/idle"}
        assert api.get("identity", "/next") == {"path": "/v3/next"}
        assert asked == ["/v3/idle", "/v3/next"]
        with pytest.raises(Refused, match="GET identity /missing: 404"):
            api.get("identity", "/missing")


def test_a_tls_connection_that_was_idle_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as (api, asked):
        api.get("identity", "/first")
        (connection,) = api.connections.values()
        real, refused = connection.request, [ssl.SSLEOFError(8, "EOF in violation of protocol")]

        def request(*words: object) -> None:
            if refused:
                raise refused.pop()
            real(*words)  # type: ignore[arg-type]

        monkeypatch.setattr(connection, "request", request)
        assert api.get("identity", "/next") == {"path": "/v3/next"}
        assert asked == ["/v3/first", "/v3/next"]
        # of a new one it is an error
        connection.close()
        refused.append(ssl.SSLEOFError(8, "EOF in violation of protocol"))
        with pytest.raises(ssl.SSLEOFError):
            api.get("identity", "/next")
