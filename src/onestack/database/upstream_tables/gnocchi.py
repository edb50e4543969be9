"""Gnocchi's tables, as of 4.7.1: when something was measured last, without reading measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.database.server import Server


def seconds_since_last(server: Server, metric: str) -> int | None:
    """Since any metric of this name got a measure, or was made; ``None`` when there is none."""
    ((since,),) = server.query(
        "SELECT TIMESTAMPDIFF(SECOND, MAX(last_measure_timestamp), UTC_TIMESTAMP())"
        " FROM metric WHERE name = %s",
        (metric,),
        "gnocchi",
    )
    return None if since is None else int(since)
