"""Keys that belong to no single component."""

from __future__ import annotations

from onestack.answers.values import at_least
from onestack.model.key import Key, Kind


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
