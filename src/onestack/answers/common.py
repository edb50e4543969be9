"""Keys that belong to no single component.

The passwords of service users and databases are here too: they are used
through `onestack.answers.secrets`, by name, whichever component asks.
"""

from __future__ import annotations

from onestack.answers.key import Key, Kind
from onestack.answers.values import at_least

_SERVICES = {
    "KEYSTONE": "identity",
    "GLANCE": "images",
    "NOVA": "compute",
    "NEUTRON": "networks",
    "CINDER": "volumes",
    "HEAT": "orchestration",
    "GNOCCHI": "metrics",
    "CEILOMETER": "metering",
    "AODH": "alarms",
}

PASSWORDS = {
    **{f"CONFIG_{name}_DB_PW": f"{name.lower()}_db" for name in _SERVICES},
    **{f"CONFIG_{name}_KS_PW": f"{name.lower()}_keystone" for name in _SERVICES},
    "CONFIG_KEYSTONE_ADMIN_PW": "admin_keystone",
    "CONFIG_AMQP_AUTH_PASSWORD": "rabbitmq",
    "CONFIG_SWIFT_KS_PW": "swift_keystone",
    "CONFIG_NEUTRON_METADATA_PW": "neutron_metadata",
    "CONFIG_MARIADB_PW": "mariadb",
    "CONFIG_KEYSTONE_DEMO_PW": "demo_keystone",
    "CONFIG_PROVISION_TEMPEST_USER_PW": "tempest_keystone",
}
"""Answer key to the name of the secret that it sets (keystone has no service user, metering no
database)."""
del PASSWORDS["CONFIG_KEYSTONE_KS_PW"], PASSWORDS["CONFIG_CEILOMETER_DB_PW"]


def _password(name: str) -> Key:
    helps = {
        "CONFIG_KEYSTONE_ADMIN_PW": "Password of the first administrator.",
        "CONFIG_AMQP_AUTH_PASSWORD": "Password of the message bus.",
        "CONFIG_SWIFT_KS_PW": "Password of the service user of objects.",
        "CONFIG_NEUTRON_METADATA_PW": "Secret with which the metadata proxy signs its requests.",
        "CONFIG_MARIADB_PW": "Password of the database server's administrator.",
        "CONFIG_KEYSTONE_DEMO_PW": "Password of the user demo.",
        "CONFIG_PROVISION_TEMPEST_USER_PW": "Password of Tempest's user.",
    }
    service = _SERVICES.get(name.split("_")[1], "")
    what = "database" if name.endswith("_DB_PW") else "service user"
    help_ = helps.get(name) or f"Password of the {what} of {service}."
    return Key(name, "PW_PLACEHOLDER", help_, Kind.SECRET)


KEYS: tuple[Key, ...] = (
    Key(
        "CONFIG_CONTROLLER_HOST",
        "",
        "Address of this machine at which the cloud answers. Empty: the address that the "
        "machine's default route uses.",
        Kind.ADDRESS,
    ),
    Key(
        "CONFIG_DEFAULT_PASSWORD",
        "",
        "One password for every PW_PLACEHOLDER that was not set by hand. Empty: each gets a "
        "random one of its own.",
        Kind.SECRET,
    ),
    Key(
        "CONFIG_SERVICE_WORKERS",
        "",
        "How much each API service can do at once. packstack started so many processes of each; "
        "here each is one process, with four threads for every worker asked for. Empty: 2.",
        Kind.NUMBER,
        check=at_least(1),
    ),
    Key("CONFIG_DEBUG_MODE", "n", "Log every service at debug level.", Kind.FLAG),
    Key("CONFIG_KEYSTONE_REGION", "RegionOne", "Name of the region."),
    Key("CONFIG_KEYSTONE_ADMIN_USERNAME", "admin", "Name of the first administrator."),
    *(_password(name) for name in PASSWORDS),
)
