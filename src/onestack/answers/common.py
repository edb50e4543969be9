"""Keys that belong to no single component, and which keys set which secrets."""

from __future__ import annotations

from onestack.answers.values import at_least
from onestack.model.key import Key, Kind

_WITH_DATABASE = ("KEYSTONE", "GLANCE", "NOVA", "NEUTRON", "CINDER", "HEAT", "GNOCCHI", "AODH")
_WITH_USER = (*_WITH_DATABASE[1:], "CEILOMETER", "SWIFT")
_MORE_USERS = ("octavia", "placement", "onestack")
"""Whose passwords packstack had no keys for; the last one asks for the supervisor."""

PASSWORDS = {
    **{f"CONFIG_{name}_DB_PW": f"{name.lower()}_db" for name in _WITH_DATABASE},
    **{f"CONFIG_{name}_KS_PW": f"{name.lower()}_keystone" for name in _WITH_USER},
    "CONFIG_KEYSTONE_ADMIN_PW": "admin_keystone",
    "CONFIG_AMQP_AUTH_PASSWORD": "rabbitmq",
    "CONFIG_NEUTRON_METADATA_PW": "neutron_metadata",
    "CONFIG_MARIADB_PW": "mariadb",
    "CONFIG_KEYSTONE_DEMO_PW": "demo_keystone",
    "CONFIG_PROVISION_TEMPEST_USER_PW": "tempest_keystone",
}
"""Answer key to the name of the secret that it sets: components use secrets by name,
whichever of them declares the key."""

SERVICE_USERS = frozenset({*(name.lower() for name in _WITH_USER), *_MORE_USERS})
"""Services' users in keystone: nobody else may have their names."""


def _wrong_host(text: str) -> str | None:
    only = "the cloud answers at an IPv4 address only: write one, such as 192.0.2.10"
    return only if ":" in text else None


KEYS: tuple[Key, ...] = (
    Key(
        "CONFIG_CONTROLLER_HOST",
        "",
        "Address of this machine at which the cloud answers. Empty: the address that the "
        "machine's default route uses.",
        Kind.ADDRESS,
        check=_wrong_host,
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
)
