"""The dashboard's room: what its answers make of fronts, settings and assets."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.answers.registry import registry
from onestack.components.heat import Heat
from onestack.components.horizon import Horizon
from onestack.components.horizon.assets import Assets
from onestack.components.horizon.names import names_of
from onestack.components.horizon.settings import LOOKS, PLACE, text
from onestack.host.command import CommandFailed
from onestack.model.context import Context
from onestack.model.findings import Severity
from onestack.release.environment import Environment
from onestack.release.release import release
from tests.support.needs import needs_root
from tests.unit.components.certificates import Made, authority
from tests.unit.components.rooms import content, context
from tests.unit.supervise.bench import Bench

HORIZON = Horizon()
ON = {"CONFIG_HORIZON_INSTALL": "y"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An authority, and certificates by it."""
    return authority(tmp_path_factory.mktemp("pki"))


def settings(ctx: Context) -> dict[str, Any]:
    """The settings as Python has them after it read the file."""
    found: dict[str, Any] = {}
    exec(content(ctx, HORIZON, "local_settings.py"), found)
    return found


def own(made: Made, **given: Path | str) -> dict[str, str]:
    files = {"CERT": made.certificate, "KEY": made.key, "CACERT": made.ca, **given}
    return ON | {f"CONFIG_HORIZON_SSL_{name}": str(path) for name, path in files.items() if path}


def test_it_is_off_until_asked_for(tmp_path: Path) -> None:
    assert not HORIZON.enabled(registry().answers())
    assert HORIZON.enabled(registry().answers(ON))
    assert list(HORIZON.environments(context(tmp_path, HORIZON, **ON))) == ["dashboard"]


def test_https_and_the_way_to_it(tmp_path: Path) -> None:
    ctx = context(tmp_path, HORIZON, **ON)
    front, to_https = HORIZON.frontends(ctx)
    assert (front.port, front.plain, front.backend) == (443, False, "127.77.0.1:80")
    assert (to_https.port, to_https.plain, to_https.backend) == (80, True, "")
    found = settings(ctx)
    assert found["SESSION_COOKIE_SECURE"] and found["CSRF_COOKIE_SECURE"]
    assert list(HORIZON.preflight_checks(ctx)) == []


def test_http_on_demand_is_told(tmp_path: Path) -> None:
    ctx = context(tmp_path, HORIZON, **ON, CONFIG_HORIZON_SSL="n")
    (front,) = HORIZON.frontends(ctx)
    assert (front.port, front.plain) == (80, True)
    assert not settings(ctx)["SESSION_COOKIE_SECURE"]
    (finding,) = HORIZON.preflight_checks(ctx)
    assert finding.severity is Severity.WARN and "passwords" in finding.why


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"CONFIG_HORIZON_SSL_CERT": "/c"}, "CONFIG_HORIZON_SSL_CERT needs CONFIG_HORIZON_SSL_KEY"),
        ({"CONFIG_HORIZON_SSL_KEY": "/k"}, "CONFIG_HORIZON_SSL_KEY needs CONFIG_HORIZON_SSL_CERT"),
        ({"CONFIG_HORIZON_SSL_CACERT": "/a"}, "CONFIG_HORIZON_SSL_CACERT needs"),
        (
            {
                "CONFIG_HORIZON_SSL_CERT": "/c",
                "CONFIG_HORIZON_SSL_KEY": "/k",
                "CONFIG_HORIZON_SSL": "n",
            },
            "CONFIG_HORIZON_SSL=n turns off",
        ),
    ],
)
def test_contradictions(given: dict[str, str], said: str) -> None:
    (found,) = HORIZON.validate(registry().answers(ON | given))
    assert said in found
    assert list(HORIZON.validate(registry().answers(given))) == []


def test_the_manuals_name_is_understood() -> None:
    assert registry().targets["CONFIG_HORIZON_SSL_CACHAIN"] == "CONFIG_HORIZON_SSL_CACERT"


def test_a_certificate_of_ones_own(tmp_path: Path, made: Made) -> None:
    ctx = context(tmp_path, HORIZON, **own(made))
    assert list(HORIZON.preflight_checks(ctx)) == []
    front = next(iter(HORIZON.frontends(ctx)))
    assert front.certificate and front.certificate.certificate == str(made.certificate)
    assert list(names_of(made.certificate)) == ["cloud.example", ".many.example", "198.51.100.7"]
    assert {"cloud.example", ".many.example"} <= set(settings(ctx)["ALLOWED_HOSTS"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda m: {"KEY": m.other_key}, "does not belong to the certificate"),
        (lambda m: {"KEY": m.locked_key}, "has a passphrase"),
        (lambda m: {"KEY": "/nowhere.key"}, "/nowhere.key is not there"),
        (lambda m: {"CERT": m.expired, "KEY": m.key}, "expired"),
        (lambda m: {"CACERT": m.other_ca}, "issuer"),
        (lambda m: {"CERT": m.key}, "cannot be read as PEM"),
    ],
)
def test_certificates_that_cannot_be(
    tmp_path: Path, made: Made, given: Callable[[Made], dict[str, Path]], said: str
) -> None:
    """Found by looking, before anything is touched."""
    (finding,) = HORIZON.preflight_checks(context(tmp_path, HORIZON, **own(made, **given(made))))
    assert finding.severity is Severity.REFUSE
    assert said in finding.why
    assert "CONFIG_HORIZON_SSL_KEY" in finding.cure


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(ValueError, match="whole path"):
        registry().answers({"CONFIG_HORIZON_SSL_CERT": "here.pem"})


def test_settings_of_a_safe_front(tmp_path: Path) -> None:
    ctx = context(
        tmp_path,
        HORIZON,
        **ON,
        CONFIG_DEFAULT_PASSWORD="known-to-many",
        CONFIG_ONESTACK_HORIZON_NAMES="cloud.example, 198.51.100.9",
    )
    found = settings(ctx)
    assert found["DEBUG"] is False
    assert found["WEBROOT"] == "/dashboard/"
    assert found["ALLOWED_HOSTS"] == [
        *("192.0.2.5", "somewhere", "localhost", "127.77.0.1"),
        *("cloud.example", "198.51.100.9"),
    ]
    assert found["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")
    assert found["OPENSTACK_KEYSTONE_URL"] == "http://127.77.0.1:5000/v3"
    # Whoever has this key can be anybody: it is not the password of everything.
    assert found["SECRET_KEY"] == ctx.secrets["horizon_secret_key"] != "known-to-many"
    file = next(f for f in HORIZON.files(ctx) if f.path.name == "local_settings.py")
    assert (file.mode, file.group) == (0o640, "onestack-horizon")
    mine = context(tmp_path, HORIZON, **ON, CONFIG_HORIZON_SECRET_KEY="my own")
    assert settings(mine)["SECRET_KEY"] == "my own"


def test_pages_of_services_that_are_on(tmp_path: Path) -> None:
    without = context(tmp_path, HORIZON, **ON)
    assert "__path__" not in content(without, HORIZON, "local_settings.py")
    ctx = context(tmp_path, HORIZON, Heat(), **ON)
    written = content(ctx, HORIZON, "local_settings.py")
    assert "for _package in ('heat_dashboard',):" in written
    assert "heat_dashboard/conf/heat_policy.yaml" in written
    # Other pages have other scripts, so other assets.
    (process,) = HORIZON.processes(ctx)
    place = next(line for line in written.splitlines() if line.startswith("STATIC_ROOT"))
    assert place not in content(without, HORIZON, "local_settings.py")
    assert process.files == (str(tmp_path / "etc/horizon/local/local_settings.py"),)


def test_failures_are_explained(tmp_path: Path) -> None:
    ctx = context(tmp_path, HORIZON, **ON)
    for line, cure in (
        ("Invalid HTTP_HOST header: 'x'. You may need to add", "CONFIG_ONESTACK_HORIZON_NAMES"),
        ("compressor.exceptions.OfflineGenerationError: You have", "onestack restart horizon"),
        ("Unable to establish connection to http://127.77.0.1:5000", "onestack status"),
        ("Internal Server Error: /dashboard/api/glance/metadefs/namespaces/", "goes on without"),
    ):
        assert cure in (ctx.model.likely("horizon", line) or "")
    assert ctx.model.likely("horizon", "something else") is None


class TestAssets:
    """With a program that stands for the environment's Python."""

    @pytest.fixture
    def assets(self, tmp_path: Path) -> Assets:
        python = tmp_path / "environment" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(
            "#!/bin/sh\n"
            "place=${PYTHONPATH%%:*}\n"
            "grep -q STATIC_ROOT $place/local/local_settings.py || exit 3\n"
            "mkdir -p $place/static/dashboard; echo made > $place/static/dashboard/one\n"
            f"echo run >> {tmp_path}/runs; [ ! -e {tmp_path}/fail ]\n"
        )
        python.chmod(0o755)
        lock = tmp_path / "dashboard.lock"
        lock.write_text("horizon==27\n")
        environment = Environment("dashboard", tmp_path / "environment", lock, "the dashboard")
        return Assets(environment, (), tmp_path / "cache")

    def test_made_once(self, assets: Assets, tmp_path: Path) -> None:
        (change,) = assets.ensure()
        change.do()
        assert (assets.static / "dashboard" / "one").stat().st_mode & 0o444 == 0o444
        assert [p.name for p in assets.place.iterdir()] == ["static"]
        assert list(assets.ensure()) == []
        change.do()  # another cloud had the same idea
        assert (tmp_path / "runs").read_text() == "run\n"

    def test_a_half_made_one_is_none(self, assets: Assets, tmp_path: Path) -> None:
        (tmp_path / "fail").touch()
        with pytest.raises(CommandFailed):
            assets.make()
        assert not assets.place.exists() and len(list(assets.ensure())) == 1
        left = assets.place.with_name(f".{assets.place.name}.new")
        (left / "static" / "from-before").touch()
        (tmp_path / "fail").unlink()
        assets.make()
        assert not left.exists() and not (assets.static / "from-before").exists()

    def test_what_they_are_made_of_names_them(self, assets: Assets) -> None:
        other = Assets(assets.environment, ("heat_dashboard",), assets.cache)
        assert other.place != assets.place
        before = assets.place
        assets.environment.lock.write_text("horizon==28\n")
        assert assets.place != before


@needs_root
def test_every_setting_is_one_that_upstream_knows(tmp_path: Path) -> None:
    """A slip in a setting's name would have no effect, and be told by nobody."""
    found = release()
    for change in found.environment("dashboard").ensure():
        change.do()
    names = [name for name in settings(context(tmp_path, HORIZON, **ON)) if name.isupper()]
    assert len(names) > 20
    program = (
        "import django, json, sys\n"
        "django.setup()\n"
        "from django.conf import settings\n"
        "print(json.dumps([n for n in json.load(sys.stdin) if n not in dir(settings)]))\n"
    )
    local = tmp_path / "local"
    local.mkdir()
    (local / "__init__.py").touch()
    (local / "local_settings.py").write_text(text({"SECRET_KEY": "x"}, ("heat_dashboard",)))
    done = subprocess.run(
        [found.environment("dashboard").python, "-W", "ignore", "-c", program],
        input=json.dumps([*names, "NO_SUCH_SETTING"]),
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "openstack_dashboard.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["NO_SUCH_SETTING"]


@pytest.fixture
def bench() -> Iterator[Bench]:
    # short, for the sockets' sake
    found = Bench(Path(tempfile.mkdtemp(prefix="horizon-")))
    yield found
    found.end()


@needs_root
def test_it_is_served_in_its_environment(bench: Bench) -> None:
    """By the same supervisor and means as all services: the page for who asks for none is up."""
    dashboard = release().environment("dashboard")
    for change in dashboard.ensure():
        change.do()
    (process,) = HORIZON.processes(context(bench.root, HORIZON, **ON))
    place = bench.root / "etc" / "horizon" / "local"
    place.mkdir(parents=True)
    (place / "__init__.py").touch()
    made = {
        **LOOKS,
        "SECRET_KEY": "x",
        "ALLOWED_HOSTS": ["*"],
        "STATIC_ROOT": str(bench.root),
        "SESSION_ENGINE": "django.contrib.sessions.backends.file",
        "SESSION_FILE_PATH": str(bench.root),
    }
    (place / "local_settings.py").write_text(text(made, ()))
    address = "127.77.9.9"
    sockets = {"web": f"tcp:{address}:80"}
    own = dataclasses.replace(process, user="root", sockets=sockets, probe=None, files=())
    client = bench.launch(own, environments={"dashboard": str(dashboard.python)}, preload=())
    client.start()
    client.wait(seconds=60)
    with socket.create_connection((address, 80), 60) as connection:
        connection.settimeout(60)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 302"), bench.log("horizon")
    assert f"Location: {PLACE}".encode() in answer
