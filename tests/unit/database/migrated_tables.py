"""Trove's tables, as its migrations make them: it has no models that declare them.

Run by the services' environment's Python, by itself: options of several projects clash. Prints
as `declared_tables` does.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
os.environ["NO_EVENTLET_MONKEYPATCH"] = "1"

import trove  # noqa: E402
from alembic import command, config  # noqa: E402
from sqlalchemy import MetaData, create_engine  # noqa: E402
from sqlalchemy.dialects import mysql  # noqa: E402
from sqlalchemy.schema import CreateTable  # noqa: E402

asked = config.Config(Path(trove.__file__).parent / "db" / "sqlalchemy" / "alembic.ini")
asked.attributes["configure_logger"] = False
# in memory, as long as this thread has it
asked.attributes["connection"] = engine = create_engine("sqlite://")
with contextlib.redirect_stdout(sys.stderr):
    command.upgrade(asked, "head")
found = MetaData()
found.reflect(engine)
json.dump(
    {
        "trove": {
            table.name: str(
                CreateTable(table, include_foreign_key_constraints=[]).compile(
                    dialect=mysql.dialect()
                )
            )
            for table in found.tables.values()
        }
    },
    sys.stdout,
)
