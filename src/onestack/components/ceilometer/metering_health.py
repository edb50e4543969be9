"""Whether servers run that nobody measures: nova's list beside the store's."""

from __future__ import annotations

from onestack.components import telemetry
from onestack.database.server import server_of
from onestack.database.upstream_tables import gnocchi, nova
from onestack.model.context import Context

SPARE = 60
"""Seconds more than three intervals, for a machine that has much to do."""


def silence(ctx: Context) -> int:
    """Seconds without a measure of any server, while some run; 0 when all is well.

    Raises `OnestackError` when the database does not answer.
    """
    allowed = 3 * int(ctx.answers[telemetry.INTERVAL]) + SPARE
    server = server_of(ctx)
    if not nova.running_longer_than(server, allowed):
        return 0
    since = gnocchi.seconds_since_last(server, "cpu")
    # Never measured at all: for as long at least as one has run.
    seconds = allowed + 1 if since is None else since
    return seconds if seconds > allowed else 0
