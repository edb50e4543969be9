"""A new service is one room: with its class in the list, it is everywhere it has to be."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import onestack.components
from onestack.answers import document, packstack_file
from onestack.answers.registry import registry
from onestack.answers.values import Answers
from onestack.cli import session, summary
from onestack.components import ALL, openstack, public
from onestack.components.provision import leftovers
from onestack.components.tempest import config as tempest
from onestack.database.server import Server
from onestack.deploy import switched_off
from onestack.deploy.roster import processes_of, roster_of
from onestack.deploy.up import cloud_steps
from onestack.diagnose import known_errors, preflight
from onestack.engine.step import RunReport, Step
from onestack.model.change import Change
from onestack.model.cloud import Cloud
from onestack.model.component import Component, Feature
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Frontend,
    Holding,
    Identity,
    KnownError,
    Panel,
    Task,
    TempestResources,
    ini_file,
)
from onestack.model.errors import OnestackError
from onestack.model.ini import Ini
from onestack.model.key import Key, Kind
from onestack.model.process import ApiProbe, Process
from onestack.release.release import release
from tests.unit.components.rooms import MACHINE
from tests.unit.components.upstream import write_upstream
from tests.unit.deploy import toys

PORT = 8779
DATABASE, ACCOUNT = openstack.database_password("toy"), openstack.service_password("toy")
FOUND = TempestResources("image", "f", "g", "tiny", "small", "net", "public")


class Trains(Feature):
    """On with a key of its own."""

    name = "trains"
    title = "Trains"

    def on(self, ctx: Context) -> bool:
        return bool(ctx.answers["CONFIG_TOY_TRAINS"])

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield Process("toy-trains", "toy", ctx.cloud.user("toy"), argv=("x",), needs=("toys",))

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        yield Panel("train_dashboard")


class Toy(Component):
    """The room: nothing else of onestack knows it."""

    name = "toy"
    title = "Toys"
    keys = (
        Key("CONFIG_TOY_INSTALL", "n", "Turn the toys on.", Kind.FLAG),
        Key("CONFIG_TOY_TRAINS", "n", "With trains.", Kind.FLAG),
        DATABASE.key,
        ACCOUNT.key,
    )
    secrets = (DATABASE.secret, ACCOUNT.secret)
    features = (Trains(),)
    provides = (Capability("toys", ("toy-api",), port=PORT, path="/v1"),)
    clients = ("toy",)
    holdings = (Holding("/blocks", {"owner": "{project}"}),)
    known_errors = (
        openstack.denied("toy"),
        KnownError("out of blocks", "all blocks are used", "tidy up: `onestack restart toy`"),
    )
    tempest_service = "toy"

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_TOY_INSTALL"])

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(ctx.cloud.data / "toy", ctx.cloud.user("toy"), ctx.cloud.user("toy"))

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        sections: Ini = {
            "database": openstack.database(ctx, "toy", "toy"),
            "keystone_authtoken": openstack.authtoken(ctx, "toy", "toys"),
        }
        yield ini_file(_config(ctx), ctx.cloud.user("toy"), sections)

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield openstack.own_database("toy", "toy/versions", _config(ctx))

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("toy", (Endpoint("toy", "toys", PORT, "/v1", "Toys"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("toy", PORT, f"{ctx.internal}:{PORT}", page="/shop/")

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield Process(
            "toy-api",
            self.name,
            ctx.cloud.user("toy"),
            run="toy.run:api",
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            files=(str(_config(ctx)),),
            needs=("database", "cache", "messaging", "compute"),
            probe=ApiProbe(f"{ctx.url('toys')}/blocks"),
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("shelf", lambda: iter(()), ("capability:image", "capability:toys"))

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        yield Panel("toy_dashboard", {"toys": "toy"})

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {"toys": {"image": found.image}}

    def purge(self, ctx: Context) -> Iterator[Change]:
        yield Change("put the blocks away", lambda: None)


def _config(ctx: Context) -> Path:
    return ctx.cloud.etc / "toy" / "toy.conf"


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that a new service has to do: its class is in the list."""
    monkeypatch.setattr(onestack.components, "ALL", (*ALL, Toy()))
    registry.cache_clear()
    yield
    registry.cache_clear()


def cloud(root: Path, **given: str) -> Context:
    on = {"CONFIG_TOY_INSTALL": "y", "CONFIG_HORIZON_INSTALL": "y", **given}
    answers = registry().answers({name: text for name, text in on.items() if text})
    made = session.context(Cloud("onestack", root), answers, known=MACHINE)
    ctx = dataclasses.replace(made, release=release(cache=root / "cache"))
    write_upstream(ctx)
    return ctx


def text(ctx: Context, name: str) -> str:
    files = (file for declared in ctx.model for file in declared.files)
    return next(file.content for file in files if str(file.path).endswith(name))


def steps(ctx: Context, purge: bool = False) -> dict[str, Step]:
    class Nobody(toys.Supervisor):
        def __init__(self) -> None:
            pass

        def running(self) -> bool:
            return False

    made = cloud_steps(ctx, Nobody(), dry_run=True, purge=purge)
    return {step.name: step for step in made}


def test_its_answers() -> None:
    keys = registry().keys
    file = packstack_file.full_text(
        registry(), lambda name: packstack_file.block(keys[name], keys[name].default)
    )
    for page in (document.text(registry()), file):
        assert "## Toys" in page or "Toys" in page
        assert "CONFIG_TOY_INSTALL" in page and "CONFIG_TOY_DB_PW" in page
    assert registry().accounts >= {"toy"}


def test_its_secrets(tmp_path: Path) -> None:
    ctx = cloud(tmp_path, CONFIG_TOY_DB_PW="of the operator")
    assert ctx.secrets["toy_db"] == "of the operator"
    written = text(ctx, "toy.conf")
    assert "toy:of%20the%20operator@localhost/toy?" in written
    assert f"password = {ctx.secrets['toy_keystone']}\n" in written
    kept = json.loads((tmp_path / "etc" / "secrets.json").read_text())
    assert kept["toy_keystone"] == ctx.secrets["toy_keystone"]


def test_its_client(tmp_path: Path) -> None:
    ctx = cloud(tmp_path)
    assert "/bin/toy " in text(ctx, "/bin/toy")
    assert f"{ctx.cloud.bin}:" in text(ctx, "admin-openrc")
    # It is there in a cloud without the service too.
    assert text(cloud(tmp_path, CONFIG_TOY_INSTALL=""), "/bin/toy")


def test_its_front_and_its_place_in_the_catalog(tmp_path: Path) -> None:
    ctx = cloud(tmp_path)
    front = text(ctx, "haproxy.cfg")
    assert f"listen toy\n    bind 192.0.2.5:{PORT} ssl" in front
    assert f"server toy 127.77.0.1:{PORT}" in front
    assert public.endpoints(ctx)["toys"] == f"https://192.0.2.5:{PORT}/v1"
    assert ctx.url("toys") == f"http://127.77.0.1:{PORT}/v1"
    assert "process:keystone-api" in steps(ctx)["identity:toy"].needs


def test_its_processes(tmp_path: Path) -> None:
    ctx = cloud(tmp_path, CONFIG_TOY_TRAINS="y")
    api, trains = processes_of(ctx)["toy"]
    assert api.needs == ("mariadb", "memcached", "rabbitmq", "nova-api")
    assert trains.needs == ("toy-api",)
    assert {"toy-api", "toy-trains"} <= {spec.name for spec in roster_of(ctx).processes}
    assert len(processes_of(cloud(tmp_path))["toy"]) == 1


def test_its_steps(tmp_path: Path) -> None:
    made = steps(cloud(tmp_path))
    assert {"supervisor", "process:mariadb"} <= set(made["database:toy"].needs)
    assert {"database:toy", "identity:toy", "process:rabbitmq"} <= set(
        made["process:toy-api"].needs
    )
    wanted = ("process:glance-api", "identity:glance", "process:toy-api", "identity:toy")
    assert made["toy:shelf"].needs == wanted


def test_its_ports_are_looked_at_before(tmp_path: Path) -> None:
    ports = {(address, port) for address, port, _ in preflight.needs_of(cloud(tmp_path)).ports}
    assert {("192.0.2.5", PORT), ("127.77.0.1", PORT)} <= ports


class Answer:
    def __init__(self, body: Any) -> None:
        self.body = body

    def json(self) -> Any:
        return self.body


class Session:
    """Somebody has two blocks, and nothing else."""

    def get(self, url: str, params: dict[str, str]) -> Answer:
        if url == f"http://127.77.0.1:{PORT}/v1/blocks":
            assert params == {"owner": "p1"}
            return Answer({"blocks": [{}, {}]})
        return Answer({url.rpartition("/")[2]: []})


def test_what_people_have_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "admin_session", lambda ctx: Session())
    with pytest.raises(OnestackError, match="not removed") as raised:
        leftovers._refuse_if_used(cloud(tmp_path), {"id": "p1", "name": "demo"})
    assert "2 blocks" in raised.value.why


def test_its_tests(tmp_path: Path) -> None:
    made = tempest.sections(cloud(tmp_path), FOUND)
    assert made["toys"] == {"image": "image"}
    assert made["service_available"]["toy"] is True
    without = tempest.sections(cloud(tmp_path, CONFIG_TOY_INSTALL=""), FOUND)
    assert "toys" not in without and without["service_available"]["toy"] is False


def test_its_pages(tmp_path: Path) -> None:
    written = text(cloud(tmp_path), "local_settings.py")
    assert "for _package in ('toy_dashboard',):" in written
    assert "toy_dashboard/conf/toy_policy.yaml" in written
    written = text(cloud(tmp_path, CONFIG_TOY_TRAINS="y"), "local_settings.py")
    assert "('toy_dashboard', 'train_dashboard')" in written


def test_its_errors(tmp_path: Path) -> None:
    ctx = cloud(tmp_path)
    said = "all blocks are used; tidy up: `onestack restart toy`"
    assert ctx.model.likely("toy", "we are out of blocks") == said
    assert ctx.model.likely("nova", "we are out of blocks") is None
    assert "database password" in (ctx.model.likely("toy", "Access denied for user 'toy'") or "")
    assert "## Toys" in known_errors.text(onestack.components.ALL)


def test_it_is_told_of(tmp_path: Path) -> None:
    said = "\n".join(summary.lines(cloud(tmp_path), RunReport()))
    assert f"toys           https://192.0.2.5:{PORT}/v1" in said
    assert "Toys:         https://192.0.2.5/shop/" in said
    assert "swift, toy" in said


def test_nothing_is_left_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "users", lambda self: {"toy"})
    monkeypatch.setattr(Server, "exists", lambda self, name: name == "toy")
    monkeypatch.setattr(
        switched_off, "remove_user", lambda ctx, name: iter([Change(name, lambda: None)])
    )
    (tmp_path / "data" / "toy").mkdir(parents=True)
    ctx = cloud(tmp_path, CONFIG_TOY_INSTALL="")
    assert [what.title for what in switched_off.left(ctx)] == ["Toys"]
    made = steps(ctx, purge=True)
    assert "catalog:toy" in made
    whats = [change.what for change in made["purge:toy"].ensure()]
    assert whats == [
        "put the blocks away",
        "drop the database toy",
        "drop the database's user toy",
        "toy",
        f"remove {tmp_path}/data/toy",
    ]
