"""Trove's answers."""

from __future__ import annotations

from onestack.components import openstack
from onestack.model.key import Key, Kind
from onestack.model.secret import Secret
from onestack.network.management import wrong_subnet

INSTALL = "CONFIG_TROVE_INSTALL"
SUBNET = "CONFIG_ONESTACK_TROVE_SUBNET"

_DATABASE = openstack.database_password("trove")
_ACCOUNT = openstack.service_password("trove")

KEYS = (
    Key(
        INSTALL,
        "n",
        "Turn the database service (Trove) on: MariaDB and PostgreSQL, each in a guest of its own "
        "that the service looks after. It needs the compute, network, image and volume services; "
        "backups need the object store (CONFIG_SWIFT_INSTALL).",
        Kind.FLAG,
    ),
    _DATABASE.key,
    _ACCOUNT.key,
    Key(
        SUBNET,
        "198.18.12.0/22",
        "Network on which the service and the guests of databases reach each other, and nothing "
        "else: one that nobody uses. Before it can change, the service is to be switched off with "
        "up --purge.",
        check=wrong_subnet,
        network_of=INSTALL,
    ),
)

TASKS_KEY = "trove_tasks_key"
INSTANCES_KEY = "trove_instances_key"
MODULES_KEY = "trove_modules_key"
BUS = "trove_bus"
GUESTS_BUS = "trove_guests_bus"

SECRETS = (
    _DATABASE.secret,
    _ACCOUNT.secret,
    # Upstream's defaults of these three are the same everywhere. None has an answer: what is
    # in the database, and in guests that are there, is encrypted with them.
    Secret(TASKS_KEY, password=False),
    Secret(INSTANCES_KEY, password=False),
    Secret(MODULES_KEY, password=False),
    Secret(BUS),
    Secret(GUESTS_BUS),
)
