"""The machine of a database: its container images, its registry, how its databases start."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from onestack.components.trove.guest import RECIPE
from onestack.components.trove.guest.containers import (
    IMAGES,
    LAYER,
    REGISTRY,
    configuration,
    drop_setuid,
    make_layer,
    manifest,
    write_answers,
    write_store,
)
from onestack.release.lock import parse

OURS = RECIPE.tree / "usr/lib/database"


def digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


# -- the store ---------------------------------------------------------------------


@pytest.fixture()
def store(tmp_path: Path) -> Path:
    layer = tmp_path / "overlay2" / LAYER / "diff"
    layer.mkdir(parents=True)
    write_store(tmp_path, IMAGES, 4711)
    return tmp_path


def test_each_name_leads_to_an_image_named_by_its_content(store: Path) -> None:
    known = store / "image/overlay2"
    repositories = json.loads((known / "repositories.json").read_text())["Repositories"]
    assert set(repositories) == {f"{REGISTRY}/{image.name}" for image in IMAGES}
    for image in IMAGES:
        name = f"{REGISTRY}/{image.name}"
        found = repositories[name]
        by_tag = found[f"{name}:{image.tag}"]
        assert found[f"{name}@{digest(manifest(image))}"] == by_tag
        raw = (known / "imagedb/content" / by_tag.replace(":", "/")).read_bytes()
        assert digest(raw) == by_tag
        assert json.loads(raw)["config"] == image.config


def test_the_one_layer_of_an_image_is_the_one_in_the_store(store: Path) -> None:
    """The chain of a first layer has the layer's own name."""
    (layer,) = {
        name for image in IMAGES for name in json.loads(configuration(image))["rootfs"]["diff_ids"]
    }
    chain = store / "image/overlay2/layerdb" / layer.replace(":", "/")
    assert (chain / "diff").read_text() == layer
    assert (chain / "size").read_text() == "4711"
    place = store / "overlay2" / (chain / "cache-id").read_text()
    assert (place / "diff").is_dir()
    link = (place / "link").read_text()
    assert len(link) == 26
    assert (store / "overlay2/l" / link).resolve() == (place / "diff").resolve()


def test_a_manifest_names_the_image_by_the_id_it_has_in_the_store() -> None:
    for image in IMAGES:
        told = json.loads(manifest(image))
        config = configuration(image)
        assert told["config"]["digest"] == digest(config)
        assert told["config"]["size"] == len(config)
        assert len(told["layers"]) == len(json.loads(config)["rootfs"]["diff_ids"])


# -- the layer ---------------------------------------------------------------------


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    """A little of a guest's root."""
    made = tmp_path / "root"
    for name, text in {
        "usr/sbin/mariadbd": "database",
        "usr/sbin/dockerd": "docker",
        "usr/lib/modules/6.1/overlay.ko": "module",
        "usr/lib/database/agent": "agent",
        "opt/venv/bin/python3": "python",
        "opt/trove/backup/main.py": "backup",
        "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
        "etc/shadow": "root:*:\n",
        "etc/trove/conf.d/guest_info.conf": "secret",
    }.items():
        place = made / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (made / "bin").symlink_to("usr/bin")
    (made / "usr/sbin/mysqld").symlink_to("mariadbd")
    return made


def test_the_layer_takes_no_room(root: Path, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    size = make_layer(root, layer)
    for name in ("usr/sbin/mariadbd", "opt/venv/bin/python3"):
        assert (layer / name).samefile(root / name)
    assert os.readlink(layer / "usr/sbin/mysqld") == "mariadbd"
    assert os.readlink(layer / "bin") == "usr/bin"
    assert size == sum(p.lstat().st_size for p in layer.rglob("*") if not p.is_dir())
    # MariaDB's programs end without it, and a container that restores has only what is here.
    assert (layer / "etc/mysql/my.cnf").is_file()


def test_containers_have_neither_docker_nor_what_the_guest_was_told(
    root: Path, tmp_path: Path
) -> None:
    layer = tmp_path / "layer"
    make_layer(root, layer)
    for name in (
        *("usr/sbin/dockerd", "usr/lib/modules", "usr/lib/database/agent"),
        *("etc/shadow", "etc/trove", "var/lib/docker"),
    ):
        assert (root / name).exists() or name == "var/lib/docker"
        assert not (layer / name).exists()


def test_the_guest_may_change_its_accounts_without_the_containers(
    root: Path, tmp_path: Path
) -> None:
    layer = tmp_path / "layer"
    make_layer(root, layer)
    assert not (layer / "etc/passwd").samefile(root / "etc/passwd")


def test_no_program_lends_its_owners_rights(root: Path) -> None:
    program = root / "usr/sbin/mariadbd"
    program.chmod(0o6755)
    drop_setuid(root)
    assert program.stat().st_mode & 0o7777 == 0o755


# -- the registry ------------------------------------------------------------------


@pytest.fixture()
def registry(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to the guest's registry, as its supervisor starts it."""
    program = tmp_path / "registry"
    shutil.copy(OURS / "registry", program)
    write_answers(tmp_path / "answers", IMAGES)
    here, there = socket.socketpair()
    end = there.fileno()
    with here, there, subprocess.Popen([program], stdin=end, stdout=end) as running:
        there.close()
        client = http.client.HTTPConnection("guest")
        client.sock = here
        here.settimeout(10)
        yield client
        here.shutdown(socket.SHUT_WR)
        assert running.wait(10) == 0


def ask(
    client: http.client.HTTPConnection, path: str, method: str = "GET"
) -> tuple[int, bytes, http.client.HTTPMessage]:
    client.request(method, path, headers={"Accept": "application/json", "User-Agent": "docker"})
    answer = client.getresponse()
    return answer.status, answer.read(), answer.headers


def test_the_registry_has_each_image_by_tag_and_digest(
    registry: http.client.HTTPConnection,
) -> None:
    """All in one connection, as docker asks."""
    assert ask(registry, "/v2/")[0] == 200
    for image in IMAGES:
        place = f"/v2/{image.name}/manifests"
        status, body, headers = ask(registry, f"{place}/{image.tag}", "HEAD")
        assert (status, body) == (200, b"")
        name = headers["Docker-Content-Digest"]
        assert int(headers["Content-Length"]) == len(manifest(image))
        status, body, headers = ask(registry, f"{place}/{name}")
        assert (status, body, digest(body)) == (200, manifest(image), name)
        assert headers["Content-Type"] == json.loads(body)["mediaType"]
        config = json.loads(body)["config"]["digest"]
        assert ask(registry, f"/v2/{image.name}/blobs/{config}")[1] == configuration(image)


def test_what_the_registry_does_not_have_it_says_so(
    registry: http.client.HTTPConnection, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    for path in (
        *("/v2/mariadb/manifests/10.12", "/v2/other/manifests/15", "/", "/v2/mariadb"),
        *("/../secret", "/v2/../../../secret", "/v2/%2e%2e/secret", "/v2/*/manifests/15"),
    ):
        status, body, _ = ask(registry, path)
        assert status == 404, path
        assert json.loads(body)["errors"][0]["code"] == "MANIFEST_UNKNOWN"
        assert ask(registry, path, "HEAD")[:2] == (404, b"")
    assert ask(registry, "/v2/mariadb/manifests/10.11", "PUT")[0] == 404
    assert ask(registry, "/v2/mariadb/manifests/10.11")[0] == 200


# -- the network card --------------------------------------------------------------


def network(place: Path, **told: object) -> ModuleType:
    """The program, on a machine of two cards that is told ``told``."""
    loader = SourceFileLoader("network", str(OURS / "network"))
    program = module_from_spec(spec_from_loader("network", loader) or pytest.fail())
    loader.exec_module(program)
    for name, mac in (("eth0", "fa:16:3e:00:00:01"), ("eth1", "fa:16:3e:00:00:0a")):
        (place / name).mkdir()
        (place / name / "address").write_text(f"{mac}\n")
    (place.parent / "eth1.json").write_text(json.dumps(told))
    vars(program).update(CARDS=str(place), TOLD=str(place.parent / "eth1.json"))
    return program


@pytest.fixture()
def cards(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    return tmp_path / "net"


def test_the_container_gets_the_card_that_the_cloud_says(cards: Path) -> None:
    driver = network(
        cards,
        mac_address="FA:16:3E:00:00:0A",
        ipv4_gateway="10.0.0.1",
        ipv4_host_routes=[{"destination": "10.1.0.0/16", "nexthop": "10.0.0.254"}],
        ipv6_gateway=None,
    )
    assert driver.join() == {
        "InterfaceName": {"SrcName": "eth1", "DstPrefix": "eth"},
        "Gateway": "10.0.0.1",
        "StaticRoutes": [{"Destination": "10.1.0.0/16", "RouteType": 0, "NextHop": "10.0.0.254"}],
    }


def test_a_card_that_is_not_there_is_said(cards: Path) -> None:
    driver = network(cards, mac_address="fa:16:3e:00:00:0b")
    with pytest.raises(LookupError, match="fa:16:3e:00:00:0b"):
        driver.join()


def test_docker_is_answered_in_its_protocol() -> None:
    for call, wanted in (
        ("Plugin.Activate", {"Implements": ["NetworkDriver"]}),
        ("NetworkDriver.GetCapabilities", {"Scope": "local"}),
        ("NetworkDriver.Leave", {}),
    ):
        request = f"POST /{call} HTTP/1.1\r\nHost: plugin\r\nContent-Length: 2\r\n\r\n{{}}"
        told = subprocess.run(
            [OURS / "network"], input=request.encode(), capture_output=True, check=True, timeout=20
        ).stdout
        head, _, body = told.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert json.loads(body) == wanted


def test_docker_is_told_what_cannot_be_done() -> None:
    """Here, where no cloud has said which card."""
    request = b"POST /NetworkDriver.Join HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    told = subprocess.run(
        [OURS / "network"], input=request, capture_output=True, check=True, timeout=20
    ).stdout
    assert told.startswith(b"HTTP/1.1 500 ")
    assert "eth1.json" in json.loads(told.partition(b"\r\n\r\n")[2])["Err"]


# -- how databases start -----------------------------------------------------------

STUB = """#!/bin/sh
printf '%s' "${0##*/}" >>"$SAID"; printf ' %s' "$@" >>"$SAID"; echo >>"$SAID"
"""
MARIADB = STUB + (
    "for word; do case $word in --datadir=*) data=${word#*=};; --extra-file=*) file=${word#*=};;"
    ' esac; done\ncat "$file" >"$SAID.sql"\n[ -z "${FAILS:-}" ] || exit 1\nmkdir "$data/mysql"\n'
)
INITDB = STUB + (
    'for word; do case $word in --pwfile=*) cp "${word#*=}" "$SAID.password";; esac; done\n'
    'echo 15 >"$PGDATA/PG_VERSION"\n[ -z "${FAILS:-}" ] || exit 1\n'
)


class Container:
    """Runs an entry point with the databases' programs replaced by what notes its words."""

    def __init__(self, place: Path) -> None:
        self.said = place / "said"
        self.data = place / "volume/data"
        self.data.mkdir(parents=True)
        self._programs = place / "programs"
        self._programs.mkdir()
        stubs = {"mariadbd": STUB, "postgres": STUB}
        for name, text in {**stubs, "mariadb-install-db": MARIADB, "initdb": INITDB}.items():
            (self._programs / name).write_text(text)
            (self._programs / name).chmod(0o755)

    def run(self, entrypoint: str, *words: str, **further: str) -> list[str]:
        """What was started, each with its words."""
        self.said.write_text("")
        subprocess.run(
            [OURS / "bin" / entrypoint, *words],
            env={
                "PATH": f"{self._programs}:/usr/bin:/bin",
                "SAID": str(self.said),
                "PGDATA": str(self.data / "pgdata"),
                "MYSQL_ROOT_PASSWORD": "for-root",
                "POSTGRES_PASSWORD": "for-postgres",
                **further,
            },
            check=not further,
            timeout=20,
        )
        return self.said.read_text().splitlines()


@pytest.fixture()
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_mariadb_is_made_once_and_gets_the_agents_words(container: Container) -> None:
    words = ("--defaults-file=/etc/my.cnf", "--ignore-db-dir=x", f"--datadir={container.data}")
    made, started = container.run("mariadb-entrypoint", *words)
    assert made.startswith("mariadb-install-db --defaults-file=/etc/my.cnf --datadir=")
    assert started == f"mariadbd {' '.join(words)} --skip-name-resolve"
    sql = container.said.with_name("said.sql").read_text()
    assert "IDENTIFIED BY 'for-root'" in sql
    assert "DELETE FROM mysql.global_priv WHERE User = ''" in sql
    # As the agent starts it to reset a password, and without words of its own.
    assert container.run("mariadb-entrypoint", "mysqld", *words) == [started]
    assert container.run("mariadb-entrypoint", "echo") == []


def test_databases_that_were_half_made_are_made_anew(container: Container) -> None:
    data = f"--datadir={container.data}"
    (failed,) = container.run("mariadb-entrypoint", "mariadbd", data, FAILS="yes")
    assert failed.startswith("mariadb-install-db")
    (container.data / "mysql").mkdir()
    (container.data / "ibdata1").touch()
    made, started = container.run("mariadb-entrypoint", "mariadbd", data)
    assert made.startswith("mariadb-install-db")
    assert not (container.data / "ibdata1").exists()
    assert container.run("mariadb-entrypoint", "mariadbd", data) == [started]


def test_postgresql_is_made_once_and_its_data_is_its_own(container: Container) -> None:
    words = ("postgres", "-c", "config_file=/etc/postgresql/postgresql.conf")
    made, started = container.run("postgresql-entrypoint", *words)
    assert made.startswith("initdb --username=postgres ")
    assert started == " ".join(words)
    assert container.said.with_name("said.password").read_text() == "for-postgres\n"
    data = container.data / "pgdata"
    assert data.stat().st_mode & 0o777 == 0o700
    # As a restored backup leaves it.
    data.chmod(0o755)
    assert container.run("postgresql-entrypoint", *words) == [started]
    assert data.stat().st_mode & 0o777 == 0o700


def test_postgresql_that_was_half_made_is_made_anew(container: Container) -> None:
    (failed,) = container.run("postgresql-entrypoint", "postgres", FAILS="yes")
    assert failed.startswith("initdb")
    assert (container.data / "pgdata/PG_VERSION").exists()
    assert len(container.run("postgresql-entrypoint", "postgres")) == 2
    assert len(container.run("postgresql-entrypoint", "postgres")) == 1


# -- the recipe --------------------------------------------------------------------


def test_the_guest_gets_the_agent_and_not_what_only_clients_need() -> None:
    names = {one.name for one in parse(RECIPE.requirements)}
    assert {"trove", "docker", "pymysql", "psycopg2-binary", "python-swiftclient"} <= names
    assert not names & {"lxml", "python-openstackclient", "rich"}


def test_the_database_has_the_number_that_the_agent_gives_it() -> None:
    declared = (RECIPE.tree / "usr/lib/sysusers.d/database.conf").read_text()
    assert "\nu database 1001 " in declared


def test_each_unit_of_ours_that_is_started_can_be(tmp_path: Path) -> None:
    units = RECIPE.tree / "usr/lib/systemd/system"
    for unit in RECIPE.units:
        if (units / unit).exists():
            assert "[Install]" in (units / unit).read_text()
    for service in units.glob("*.service"):
        for line in service.read_text().splitlines():
            program = line.removeprefix("ExecStart=").split(" ")[0]
            if line.startswith("ExecStart=/usr/lib/database"):
                assert os.access(RECIPE.tree / program.lstrip("/"), os.X_OK)
