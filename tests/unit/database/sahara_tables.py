"""Sahara's tables, as its models declare them; run by sahara's environment's Python.

Prints as `declared_tables` does.
"""

from __future__ import annotations

import json
import sys
import warnings

warnings.simplefilter("ignore")

from sahara.db.sqlalchemy import models  # noqa: E402
from sqlalchemy.dialects import mysql  # noqa: E402
from sqlalchemy.schema import CreateTable  # noqa: E402

json.dump(
    {
        "sahara": {
            name: str(
                CreateTable(table, include_foreign_key_constraints=[]).compile(
                    dialect=mysql.dialect()
                )
            )
            for name, table in models.mb.SaharaBase.metadata.tables.items()
        }
    },
    sys.stdout,
)
