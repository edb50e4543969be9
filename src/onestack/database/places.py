"""Where the database server keeps things, known also while it does not run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from onestack.model.cloud import Cloud


class Table(NamedTuple):
    """A table of the server's."""

    database: str
    name: str


def data_directory(cloud: Cloud) -> Path:
    """All of the server's contents."""
    return cloud.data / "mariadb" / "data"


def table_file(cloud: Cloud, table: Table) -> Path:
    """There as long as the table is."""
    return data_directory(cloud) / table.database / f"{table.name}.ibd"
