"""Trials of heat's tables inside upstream, run by the services' Python.

``heat_trials.py TRIAL FOLDER`` prints what it found as JSON, as its last line.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from onestack.database.server import Server
from onestack.database.upstream_tables import heat as tables

TAG = "data-processing-cluster"
Made = list[tuple[str, str]]


class Database:
    """Heat's, in a file, asked as the cloud's server is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def query(self, sql: str, arguments: tuple[Any, ...], database: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path)
        connection.create_function("CONCAT", -1, lambda *words: "".join(words))
        return connection.execute(sql.replace("%s", "?"), arguments).fetchall()


def engine(folder: Path) -> Any:
    """Heat's own, told of a database in ``folder``; who asks it."""
    from heat.common import context
    from heat.db import api, models
    from heat.engine import resources
    from oslo_config import cfg

    cfg.CONF([], project="heat", default_config_files=[])
    cfg.CONF.set_override("connection", f"sqlite:///{folder}/heat.sqlite", group="database")
    cfg.CONF.set_override("deferred_auth_method", "password")
    asked = context.RequestContext(project_id="p", user_id="u", username="u", password="of-a-test")
    with api.context_manager.writer.using(asked):
        models.BASE.metadata.create_all(asked.session.get_bind())
    resources.initialise()
    return asked


def fill(stack: Any, made: Made) -> None:
    """Each resource as after heat's own `handle_create`, and what is nested in it."""
    from heat.engine import stack as stacks
    from heat.engine import template
    from heat.engine.resources import stack_resource

    def nested(context: Any, template_id: int, stack_name: str, **more: Any) -> dict[str, str]:
        for name in ("template", "params", "files", "args", "environment_files"):
            more.pop(name, None)
        parent = more.pop("parent_resource_name")
        child = stacks.Stack(
            context,
            stack_name,
            template.Template.load(context, template_id),
            parent_resource=parent,
            convergence=True,
            **more,
        )
        child.store()
        fill(child, made)
        return {"stack_id": child.id}

    for resource in stack.dependencies:
        resource.action = resource.CREATE
        resource.store()
        if isinstance(resource, stack_resource.StackResource):
            resource.rpc_client = lambda: SimpleNamespace(_create_stack=nested)
            resource.create_with_template(resource.child_template(), resource.child_params())
        else:
            resource.resource_id_set(str(uuid.uuid4()))
            made.append((resource.type(), resource.resource_id))
        resource.status = resource.COMPLETE
        resource.store()


def held(folder: Path) -> Any:
    """What stacks hold by our reading of the tables, and what they were given."""
    from heat.common import template_format
    from heat.engine import stack as stacks
    from heat.engine import template
    from heat.objects import stack as objects

    asked, made = engine(folder), dict[str, Made]()
    told = json.loads((folder / "stack.json").read_text())
    for name, tags in (("cluster", [TAG]), ("other", []), ("gone", [TAG])):
        main = template.Template(template_format.parse(told["template"]), files=told["files"])
        stack = stacks.Stack(asked, name, main, tags=tags, convergence=True)
        stack.store()
        fill(stack, made.setdefault(name, []))
        if name == "gone":
            objects.Stack.delete(asked, stack.id)
    server = cast(Server, Database(folder / "heat.sqlite"))
    return {
        "made": made,
        "held": {kind: sorted(ids) for kind, ids in tables.held(server, TAG).items()},
        "tagged": [row.name for row in tables.tagged(server, TAG)],
        "untagged": [row.name for row in tables.untagged(server, TAG)],
    }


TRIALS = (held,)

if __name__ == "__main__":
    chosen = next(trial for trial in TRIALS if trial.__name__ == sys.argv[1])
    print(json.dumps(chosen(Path(sys.argv[2]))))
