"""What hosts that are none any more have left in OVN's southbound database.

A chassis that joins again is another one, with the same end of tunnels: of these OVN wants each
once, and the new one would not come in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from onestack.host.command import CommandFailed, run
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import NotRunning, OnestackError
from onestack.network.distribution import distribution
from onestack.network.ovsdb import as_user

DATABASE = "OVN_Southbound"
TABLES = {"Chassis_Private": "name", "Chassis": "name", "Encap": "chassis_name"}
"""Each with the column that says whose a row is."""


def ensure_departed(ctx: Context, own: str) -> Iterator[Change]:
    """Rows of chassis that are neither the controller's (``own``) nor a member's."""
    known = [own, *(member.identity for member in ctx.members)]
    where = {
        table: [[column, "!=", identity] for identity in known] for table, column in TABLES.items()
    }
    asked = (
        {"op": "select", "table": table, "where": where[table], "columns": [column]}
        for table, column in TABLES.items()
    )
    answers = zip(TABLES.values(), _transact(ctx, *asked), strict=True)
    if gone := {row[column] for column, answer in answers for row in answer["rows"]}:
        removal = [{"op": "delete", "table": table, "where": where[table]} for table in TABLES]
        yield Change(
            f"remove what OVN has of hosts that are none any more: {', '.join(sorted(gone))}",
            lambda: _transact(ctx, *removal),
        )


def _transact(ctx: Context, *operations: dict[str, Any]) -> list[dict[str, Any]]:
    """What the database answers to each of them. Raises `NotRunning` and `OnestackError`."""
    place = ctx.at("southbound").target
    words = [distribution(ctx).program("ovsdb-client"), "transact", place]
    command = as_user(ctx.cloud.user("ovn"), *words, json.dumps([DATABASE, *operations]))
    try:
        answers: list[dict[str, Any]] = json.loads(run(command, timeout=30).out)
    except CommandFailed as error:
        raise NotRunning(
            "OVN's southbound database does not answer", error.why, "run `onestack up`"
        ) from error
    # One more than was asked where the whole was refused at the end.
    if refused := [answer for answer in answers if answer and "error" in answer]:
        raise OnestackError(
            "OVN's southbound database refuses to forget hosts that are none any more",
            f"{refused[0]['error']}: {refused[0].get('details', '')}",
            "see `onestack logs ovn`, then run up again",
        )
    return answers
