"""Whether servers run that nobody measures: nova's list beside the store's."""

from __future__ import annotations

from onestack.components import telemetry
from onestack.components.mariadb.sql import connect
from onestack.model.context import Context

SPARE = 60
"""Seconds more than three intervals, for a machine that has much to do."""

RUNNING = """SELECT COUNT(*) FROM nova.instances WHERE deleted = 0 AND vm_state = 'active'
    AND launched_at < UTC_TIMESTAMP() - INTERVAL %s SECOND"""
SINCE = """SELECT TIMESTAMPDIFF(SECOND, MAX(last_measure_timestamp), UTC_TIMESTAMP())
    FROM gnocchi.metric WHERE name = 'cpu'"""


def silence(ctx: Context) -> int:
    """Seconds without a measure of any server, while some run; 0 when all is well.

    Raises `OnestackError` when the database does not answer.
    """
    allowed = 3 * int(ctx.answers[telemetry.INTERVAL]) + SPARE
    with connect(ctx.cloud) as database, database.cursor() as cursor:
        cursor.execute(RUNNING, (allowed,))
        (running,) = cursor.fetchone() or (0,)
        cursor.execute(SINCE)
        (since,) = cursor.fetchone() or (None,)
    if not running:
        return 0
    # Never measured at all: for as long at least as one has run.
    seconds = allowed + 1 if since is None else int(since)
    return seconds if seconds > allowed else 0
