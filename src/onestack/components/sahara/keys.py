"""Sahara's answers."""

from __future__ import annotations

from onestack.components import openstack
from onestack.model.key import Key, Kind

INSTALL = "CONFIG_SAHARA_INSTALL"
IMAGE = "CONFIG_ONESTACK_SAHARA_IMAGE"
FAKE = "CONFIG_ONESTACK_SAHARA_FAKE"
INSTALLS = ("CONFIG_HEAT_INSTALL",)
"""What is on with it, as packstack had it."""

_DATABASE = openstack.database_password("sahara")
_ACCOUNT = openstack.service_password("sahara")

KEYS = (
    Key(
        INSTALL,
        "n",
        "Turn the data processing service (Sahara) on: clusters of Spark and HDFS, each made of "
        "guests. Upstream retired it in 2024; it gets no fixes any more. It needs the compute, "
        "network and image services, and turns the orchestration service on (CONFIG_HEAT_INSTALL); "
        "data in the object store needs CONFIG_SWIFT_INSTALL.",
        Kind.FLAG,
        implies=INSTALLS,
    ),
    _DATABASE.key,
    _ACCOUNT.key,
    Key(
        IMAGE,
        "n",
        "Build the image of a Spark cluster's machines, and offer it to everybody, with a flavor "
        "and templates of a cluster; n: bring images of your own.",
        Kind.FLAG,
    ),
    Key(
        FAKE,
        "n",
        "Offer upstream's plugin `fake` too, which makes clusters without any software of their "
        "own: for tests.",
        Kind.FLAG,
    ),
)
SECRETS = (_DATABASE.secret, _ACCOUNT.secret)
