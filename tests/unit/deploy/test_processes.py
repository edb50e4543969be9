"""What a run says to a supervisor of another version of onestack, asked by the real client."""

from __future__ import annotations

import dataclasses
import json
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.database import schemas
from onestack.deploy import up
from onestack.engine.runner import Runner
from onestack.engine.step import Outcome
from onestack.model.context import Context
from onestack.supervise.client import Client, OtherVersion
from tests.unit.deploy.toys import context


class Unversioned(socketserver.StreamRequestHandler):
    """Answers as the supervisors of before the protocol had a version."""

    def handle(self) -> None:
        if self.rfile.readline():
            answer = {"kind": "done", "program": "/old", "processes": []}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Context]:
    """A cloud whose supervisor is an older program's."""
    with tempfile.TemporaryDirectory(prefix="old-") as folder:  # a socket's path has to be short
        ctx = context(tmp_path)
        ctx = dataclasses.replace(ctx, cloud=dataclasses.replace(ctx.cloud, root=Path(folder)))
        path = ctx.cloud.run / "supervisor" / "control.sock"
        path.parent.mkdir(parents=True)
        with socketserver.ThreadingUnixStreamServer(str(path), Unversioned) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield ctx
            server.shutdown()


def test_a_dry_run_says_that_an_older_supervisor_would_be_replaced(
    old: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas.Schemas, "ensure", lambda *arguments: iter(()))
    monkeypatch.setattr(up, "ensure_identity", lambda *arguments: iter(()))
    client = Client(old.cloud)
    with pytest.raises(OtherVersion):
        client.status()
    runner = Runner(dry_run=True)
    runner.execute(up.cloud_steps(old, client, dry_run=True))
    said = dict(runner.report.changes)
    assert said["supervisor"].startswith("restart the supervisor and all processes")
    for name in ("stored", "doors-api", "rooms-api"):
        assert said[f"process:{name}"] == f"start {name}"
    assert not [result for result in runner.report.results if result.outcome is Outcome.FAILED]
