"""The broker's room: its one user, where it listens, and its boot file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from onestack.components.rabbitmq import Rabbitmq, boot, definitions
from tests.unit.components.rooms import content, context

RABBITMQ = Rabbitmq()
installed = pytest.mark.skipif(
    not Path("/usr/lib/rabbitmq/lib").is_dir(), reason="needs the package rabbitmq-server"
)


def test_the_password_is_in_no_file_and_no_argument(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    password = ctx.secrets["rabbitmq"]
    for file in RABBITMQ.files(ctx):
        assert password not in file.content
        assert (file.mode, file.group) == (0o640, "onestack-rabbitmq")
    (process,) = RABBITMQ.processes(ctx)
    assert password not in repr(process)


def test_the_broker_can_check_the_password() -> None:
    (user,) = json.loads(definitions("amqp_user", 'it\'s "secret"@'))["users"]
    raw = base64.b64decode(user["password_hash"])
    assert raw[4:] == hashlib.sha256(raw[:4] + b'it\'s "secret"@').digest()
    assert definitions("u", "x") == definitions("u", "x")
    assert user["tags"] == []
    assert user["name"] == "amqp_user"


def test_all_it_listens_on_is_the_clouds_own_address(tmp_path: Path) -> None:
    for name in ("onestack", "a"):
        ctx = context(tmp_path, name=name)
        (process,) = RABBITMQ.processes(ctx)
        words = process.argv
        assert process.env["RABBITMQ_NODE_IP_ADDRESS"] == ctx.internal
        interface = words[words.index("inet_dist_use_interface") + 1]
        assert interface == "{" + ctx.internal.replace(".", ",") + "}"
        assert words[words.index("-start_epmd") + 1] == "false"
        # RabbitMQ's own monitor would start it a minute later, at every address.
        assert "stop_child(rabbit_epmd_monitor_sup)" in words[words.index("-eval") + 1]
        assert words[words.index("-name") + 1] == f"rabbit@{ctx.internal}"
        # in the settings it would be without effect
        assert "tcp_listeners" not in content(ctx, RABBITMQ, "rabbitmq.config")


def test_the_cookie_is_made_once(tmp_path: Path) -> None:
    (task,) = RABBITMQ.tasks(context(tmp_path))
    assert [change.what for change in task.ensure()] == ["make the broker's cookie"]
    cookie = tmp_path / "data" / "rabbitmq" / ".erlang.cookie"
    cookie.parent.mkdir(parents=True)
    cookie.write_text("x")
    assert list(task.ensure()) == []


@installed
def test_the_boot_file_is_made_when_it_must(tmp_path: Path) -> None:
    make = tmp_path / "boot.escript"
    make.write_text(boot.MAKE)
    script = tmp_path / "boot.sh"
    script.write_text(boot.renew(make, tmp_path))
    made = tmp_path / "rabbit.boot"

    def run() -> int:
        subprocess.run(["/bin/sh", str(script)], check=True, timeout=60)
        return made.stat().st_mtime_ns

    first = run()
    assert sorted(os.listdir(tmp_path)) == ["boot.escript", "boot.sh", "made-for", "rabbit.boot"]
    assert run() == first
    (tmp_path / "made-for").write_text("another Erlang\n")
    assert run() != first


@installed
def test_the_boot_file_has_the_broker_loaded_and_the_libraries_at_hand(tmp_path: Path) -> None:
    make = tmp_path / "boot.escript"
    make.write_text(boot.MAKE)
    (plugins,) = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/plugins")
    subprocess.run(["escript", str(make), str(plugins), str(tmp_path / "rabbit")], check=True)
    asked = (
        "Loaded = fun(M) -> code:is_loaded(M) =/= false end, "
        'io:format("~w", [{Loaded(rabbit), Loaded(mnesia), Loaded(xmerl), '
        "element(1, code:ensure_loaded(xmerl)), element(1, application:load(rabbit))}]), halt()."
    )
    done = subprocess.run(
        [
            *("erl", "-noinput", "-mode", "interactive"),
            *("-boot", str(tmp_path / "rabbit"), "-eval", asked),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    # the application is there already: load answers {error, {already_loaded, rabbit}}
    assert done.stdout == "{true,true,false,module,error}", done.stderr
