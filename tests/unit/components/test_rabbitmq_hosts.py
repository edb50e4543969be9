"""A host's account at a real broker, used by upstream's own library."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from onestack.components import openstack
from onestack.components.door import Door
from onestack.components.hosts import JOIN
from onestack.components.rabbitmq import Rabbitmq
from tests.support import broker as brokers
from tests.support.joined import member
from tests.support.needs import needs_root, needs_services
from tests.support.trials import OURS, tried
from tests.unit.components.rooms import context

TRIALS = Path(__file__).with_name("rabbitmq_trials.py")
TESTS = Path(__file__).resolve().parents[3]
pytestmark = [brokers.installed, needs_root, needs_services, pytest.mark.timeout(600)]


@pytest.mark.parametrize("trial", ["host", "guarded"])
def test_a_host_does_its_work_at_the_bus_and_nothing_else(tmp_path: Path, trial: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "c").mkdir()
    ctx = context(tmp_path / "c", Rabbitmq(), Door(), **{JOIN: "y"})
    own = member(ctx, "web1", "identity")
    ctx = dataclasses.replace(ctx, members=(own,))
    account = own.accounts["messaging"]
    users = {"openstack": ctx.secrets["rabbitmq"], account.user: account.password}
    main, host = (
        f"rabbit://{quote(user)}:{quote(word)}@{ctx.at('messaging')}/"
        for user, word in users.items()
    )
    (tmp_path / "locks").mkdir()
    try:
        with brokers.running(ctx, tmp_path):
            words = (own.name, openstack.HOSTS_PROCESS, str(tmp_path / "locks"))
            env = {**os.environ, "PYTHONPATH": f"{OURS}:{TESTS}"}
            tried(TRIALS, trial, main, host, *words, env=env, timeout=400)
    finally:
        for left in Path("/dev/shm").glob(f"web?_{openstack.HOSTS_PROCESS}_qmanager"):
            left.unlink()
