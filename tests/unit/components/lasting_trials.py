"""Run in the services' environment: states of upstream's that ours name."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from unittest import mock

from onestack.components.cinder import passing as of_cinder
from onestack.components.nova import passing as of_nova


def tasks() -> dict[str, str]:
    """Nova's, by their names in its code."""
    from nova.compute import task_states

    return {name: value for name, value in vars(task_states).items() if isinstance(value, str)}


def states() -> None:
    """Print trove's tasks that are under way; the others' names are upstream's."""
    from cinder.objects import fields
    from trove.instance.tasks import InstanceTask, InstanceTasks

    volumes = (fields.VolumeStatus, fields.SnapshotStatus, fields.BackupStatus)
    known = {state for each in volumes for state in each.ALL}
    unknown = of_cinder.LONG.union(*of_cinder._SETTLED_AT_START.values()) - known
    assert not unknown, unknown
    named = of_nova.LONG | of_nova._EMPTY | of_nova._OFFLOADED
    unknown = named - {*tasks().values(), "building"}
    assert not unknown, unknown
    resting = {InstanceTasks.NONE.code, InstanceTasks.RESTART_REQUIRED.code}
    made = InstanceTasks.BUILDING.code
    for code, task in sorted(InstanceTask._lookup.items()):
        if not task.is_error and code not in {*resting, made}:
            print(f"{code}={task.action}")


def compared(module: str, function: str) -> set[str]:
    """Words, and names of constants, that something is compared with in a function's source.

    The modules themselves take many seconds, and do not go into one process.
    """
    package, *path = module.split(".")
    spec = importlib.util.find_spec(package)
    assert spec and spec.origin
    tree = ast.parse(Path(spec.origin).parent.joinpath(*path).with_suffix(".py").read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function]
    assert functions, function
    found = set()
    for node in (n for one in functions for n in ast.walk(one) if isinstance(n, ast.Compare)):
        for part in (part for side in node.comparators for part in ast.walk(side)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                found.add(part.value)
            elif isinstance(part, ast.Attribute):
                found.add(ast.unparse(part).removeprefix("fields."))
    return found


def settled() -> None:
    """States that upstream's starts look for are those of which ours promise it."""
    backups = "cinder.backup.manager"
    told = {
        "volume": compared("cinder.objects.volume", "_is_cleanable")
        | compared(backups, "_cleanup_one_volume"),
        "volume snapshot": compared("cinder.objects.snapshot", "_is_cleanable")
        | compared(backups, "_cleanup_one_snapshot"),
        "volume backup": {
            name.removeprefix("BackupStatus.").lower()
            for name in compared(backups, "_cleanup_one_backup")
            if name.startswith("BackupStatus.")
        },
    }
    assert told == of_cinder._SETTLED_AT_START, told
    own = "onestack.components.cinder.inside"
    in_the_pool = of_cinder._SETTLED_IN_THE_POOL
    assert compared(f"{own}.interrupted", "settle") == in_the_pool["volume"]
    ours = of_cinder._SETTLED_BY_OURS
    volumes = {s for s in compared(f"{own}.unfinished", "_finish_volume") if s[:5] != "error"}
    assert volumes - {"_MOVING"} == ours["volume"], volumes
    snapshots = compared(f"{own}.unfinished", "_finish_snapshot")
    named = {s.removeprefix("status.").lower() for s in snapshots if s.startswith("status.")}
    assert named - {"creating"} == ours["volume snapshot"], named
    names = compared("nova.compute.manager", "_init_instance")
    names |= compared("nova.compute.manager", "_retry_reboot")
    known = tasks()
    looked_for = {known[n] for name in names if (n := name.removeprefix("task_states.")) in known}
    assert {*looked_for, "building"} == of_nova._SETTLED_AT_START, looked_for


def stacks(given: str) -> None:
    """What is to be cancelled is so, by the client; nothing else is left that could be."""
    from heat.cmd import manage
    from heat.engine.stack import Stack
    from heatclient.osc.v1 import stack as client
    from osc_lib.exceptions import CommandError

    cures = json.loads(given)
    assert cures.keys() == {f"{action}_IN_PROGRESS" for action in Stack.ACTIONS}
    for state, cure in cures.items():
        app = mock.MagicMock()
        app.client_manager.orchestration.stacks.get.return_value.stack_status = state
        command = client.CancelStack(app, None)
        try:
            with mock.patch.object(client, "_stack_action") as asked:
                asked.return_value.to_dict.return_value = {}
                command.take_action(command.get_parser("x").parse_args(["--no-rollback", "id"]))
        except CommandError as error:
            assert "not in cancelable state" in str(error), error
            assert "cancel" not in cure, (state, cure)
        else:
            assert cure.startswith("openstack stack cancel --no-rollback id"), (state, cure)
    commands = mock.MagicMock()
    manage.add_command_parsers(commands)
    assert mock.call("reset_stack_status") in commands.add_parser.call_args_list


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
