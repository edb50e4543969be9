"""The tables of the release, as its own models declare them.

Run by the services' environment's Python: prints a JSON object with a list of CREATE TABLE
statements for each database.
"""

from __future__ import annotations

import json
import sys
import warnings

warnings.simplefilter("ignore")

import keystone.catalog.backends.sql  # noqa: E402
import keystone.identity.backends.sql_model  # noqa: E402
import keystone.resource.backends.sql_model  # noqa: E402, F401
import neutron_fwaas.db.firewall.v2.firewall_db_v2  # noqa: E402, F401
from cinder.db import models as cinder  # noqa: E402
from glance.db.sqlalchemy import models as glance  # noqa: E402
from gnocchi.indexer import sqlalchemy_base as gnocchi  # noqa: E402
from heat.db import models as heat  # noqa: E402
from keystone.common.sql import core as keystone_sql  # noqa: E402
from neutron.db.migration.models import head as neutron  # noqa: E402
from nova.db.api import models as nova_api  # noqa: E402
from nova.db.main import models as nova  # noqa: E402
from octavia.db import base_models as octavia  # noqa: E402
from octavia.db import models as octavia_models  # noqa: E402, F401
from sqlalchemy import Table  # noqa: E402
from sqlalchemy.dialects import mysql  # noqa: E402
from sqlalchemy.schema import CreateTable  # noqa: E402

METADATA = {
    "cinder": cinder.BASE.metadata,
    "glance": glance.BASE.metadata,
    "gnocchi": gnocchi.Base.metadata,
    "heat": heat.BASE.metadata,
    "keystone": keystone_sql.ModelBase.metadata,
    "neutron": neutron.get_metadata(),
    "nova": nova.BASE.metadata,
    "nova_api": nova_api.BASE.metadata,
    "octavia": octavia.BASE.metadata,
}


def made(table: Table) -> CreateTable:
    """Without what it refers to, which need not be there."""
    return CreateTable(table, include_foreign_key_constraints=[])


json.dump(
    {
        database: {
            table.name: str(made(table).compile(dialect=mysql.dialect()))
            for table in metadata.tables.values()
        }
        for database, metadata in METADATA.items()
    },
    sys.stdout,
)
