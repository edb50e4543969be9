"""Answer keys of the first contents."""

from __future__ import annotations

import re
from collections.abc import Iterable

from onestack.answers.registry import registry
from onestack.answers.values import Answers, at_least, split
from onestack.model.key import Key, Kind
from onestack.model.secret import Secret
from onestack.network import demo

_FLAVORS = (("", "first", "m1.nano", "192"), ("ALT_", "second", "m1.micro", "256"))
TEMPEST = "CONFIG_PROVISION_TEMPEST"
UEC = "CONFIG_PROVISION_UEC_IMAGE_"
URL = "CONFIG_PROVISION_IMAGE_URL"
PARTS = ("KERNEL", "RAMDISK", "DISK")


def _wrong_user(text: str) -> str | None:
    taken = {"admin", "demo", *registry().accounts}
    if re.fullmatch(r"[A-Za-z][\w.-]{0,63}", text) and text.casefold() not in taken:
        return None
    return "use letters, digits and . _ -, and no name of a service or of the administrator"


def _wrong_properties(text: str) -> str | None:
    wrong = [p for p in split(text) if not re.fullmatch(r"[\w:.-]+=.*", p)]
    return f"{wrong[0]!r} is not NAME=VALUE" if wrong else None


SECRETS = (
    Secret("demo_keystone", "CONFIG_KEYSTONE_DEMO_PW"),
    Secret("tempest_keystone", f"{TEMPEST}_USER_PW"),
)

KEYS: tuple[Key, ...] = (
    Key(
        "CONFIG_PROVISION_DEMO",
        "n",
        "Make the project and user demo, a public network of CONFIG_PROVISION_DEMO_FLOATRANGE, a "
        f"private one ({demo.FIXED_RANGE}), a router between them, and an image.",
        Kind.FLAG,
        note="packstack's default is y",
    ),
    Key(
        "CONFIG_ONESTACK_IMAGE",
        "n",
        "Upload the demo's image without the rest of it.",
        Kind.FLAG,
    ),
    Key(
        "CONFIG_KEYSTONE_DEMO_PW",
        "PW_PLACEHOLDER",
        "Password of the user demo; ROOT/etc/demo-openrc has it.",
        Kind.SECRET,
    ),
    Key(
        "CONFIG_PROVISION_DEMO_FLOATRANGE",
        "172.24.4.0/24",
        "Subnet of the demo's public network, from which floating IPs come.",
        check=demo.wrong_range,
    ),
    Key(
        "CONFIG_PROVISION_DEMO_ALLOCATION_POOLS",
        "[]",
        'Parts of that subnet to take floating IPs from, as ["start=172.24.4.10,end=172.24.4.99"]. '
        "[]: all of it.",
        check=demo.wrong_pools,
    ),
    Key(
        "CONFIG_PROVISION_OVS_BRIDGE",
        "y",
        "Give the machine the public network's gateway address on the external bridge: floating "
        "IPs answer from it, and guests reach the outside through it. n where a NIC is in the "
        "bridge, and the gateway is a router outside.",
        Kind.FLAG,
    ),
    Key("CONFIG_PROVISION_IMAGE_NAME", "cirros", "The demo image's name."),
    Key(
        URL,
        "",
        "URL or file of the demo image; empty: a small guest made from Debian packages.",
    ),
    Key(
        "CONFIG_PROVISION_IMAGE_FORMAT",
        "qcow2",
        "The demo image's disk format.",
        Kind.CHOICE,
        ("qcow2", "raw", "vmdk", "vdi", "iso", "vhd"),
    ),
    Key(
        "CONFIG_PROVISION_IMAGE_PROPERTIES",
        "",
        "Properties of the demo image, as NAME=VALUE,...",
        Kind.LIST,
        check=_wrong_properties,
    ),
    Key(
        "CONFIG_PROVISION_IMAGE_SSH_USER",
        "cirros",
        "Who logs in to the demo image; Tempest is told.",
    ),
    Key(
        f"{UEC}NAME",
        "cirros-uec",
        "Name of an image in three parts, made where all three are given below.",
    ),
    Key(f"{UEC}KERNEL_URL", "", "URL or file of its kernel; empty: no such image."),
    Key(f"{UEC}RAMDISK_URL", "", "URL or file of its first RAM disk."),
    Key(f"{UEC}DISK_URL", "", "URL or file of its disk."),
    Key(
        TEMPEST,
        "n",
        "Install Tempest, make what its tests need (an image, flavors, a public network), and "
        "write ROOT/etc/tempest.conf; `onestack verify --tempest` runs them.",
        Kind.FLAG,
    ),
    Key(
        f"{TEMPEST}_USER",
        "",
        "A user for Tempest in the project tempest. Empty: none, for Tempest makes its own.",
        check=_wrong_user,
    ),
    Key(f"{TEMPEST}_USER_PW", "PW_PLACEHOLDER", "Password of that user.", Kind.SECRET),
    Key(
        f"{TEMPEST}_FLOATRANGE",
        "172.24.4.0/24",
        "Subnet of the public network where there is no demo.",
        check=demo.wrong_range,
    ),
    *(
        key
        for short, which, name, memory in _FLAVORS
        for key in (
            Key(f"{TEMPEST}_FLAVOR_{short}NAME", name, f"Name of Tempest's {which} flavor."),
            Key(
                f"{TEMPEST}_FLAVOR_{short}DISK",
                "1",
                f"Disk of the {which} flavor, in GiB.",
                Kind.NUMBER,
                check=at_least(0),
            ),
            Key(
                f"{TEMPEST}_FLAVOR_{short}RAM",
                memory,
                f"Memory of the {which} flavor, in MiB; onestack's own guest needs 160.",
                Kind.NUMBER,
                check=at_least(64),
            ),
            Key(
                f"{TEMPEST}_FLAVOR_{short}VCPUS",
                "1",
                f"Virtual CPUs of the {which} flavor.",
                Kind.NUMBER,
                check=at_least(1),
            ),
        )
    ),
    Key(
        "CONFIG_NOVA_MANAGE_FLAVORS",
        "y",
        "Make the flavors m1.nano to m1.large in a cloud that has none.",
        Kind.FLAG,
    ),
)


def validate(answers: Answers) -> Iterable[str]:
    yield from demo.validate(answers)
    parts = {part: answers[f"{UEC}{part}_URL"] for part in PARTS}
    if any(parts.values()) and not all(parts.values()):
        missing = next(part for part, url in parts.items() if not url)
        yield f"{UEC}{missing}_URL is empty: an image in three parts needs all three"
    for what in ("CONFIG_PROVISION_DEMO", TEMPEST):
        if answers[what] and not answers["CONFIG_NEUTRON_INSTALL"]:
            yield f"{what}=y needs CONFIG_NEUTRON_INSTALL=y: it makes networks"
    # Keystone and nova know no difference between small and large letters.
    admin = "CONFIG_KEYSTONE_ADMIN_USERNAME"
    for account in accounts(answers):
        if account.casefold() == str(answers[admin]).casefold():
            yield f"{admin}={answers[admin]} is the name of {project(answers)}'s user too"
    if answers[TEMPEST]:
        yield from _validate_tempest(answers)


def _validate_tempest(answers: Answers) -> Iterable[str]:
    first, second = (str(answers[f"{TEMPEST}_FLAVOR_{short}NAME"]) for short in ("", "ALT_"))
    if first.casefold() == second.casefold():
        yield f"{TEMPEST}_FLAVOR_NAME and {TEMPEST}_FLAVOR_ALT_NAME must be two names"
    for service in ("GLANCE", "NOVA"):
        if not answers[f"CONFIG_{service}_INSTALL"]:
            yield f"{TEMPEST}=y needs CONFIG_{service}_INSTALL=y"


def wants_image(answers: Answers) -> bool:
    return demo.wanted(answers) or bool(answers["CONFIG_ONESTACK_IMAGE"])


def sources(answers: Answers) -> dict[str, list[str]]:
    """What the wanted images are made from, as the answers have it, by the task's name."""
    found = {}
    if wants_image(answers):
        found["image"] = [str(answers[URL])]
    if answers[f"{UEC}KERNEL_URL"]:
        found["parts"] = [str(answers[f"{UEC}{part}_URL"]) for part in PARTS]
    return found


def accounts(answers: Answers) -> tuple[str, ...]:
    """Users that are made: the demo's, or Tempest's, as packstack had it."""
    if answers["CONFIG_PROVISION_DEMO"]:
        return ("demo",)
    named = str(answers[f"{TEMPEST}_USER"])
    return (named,) if named and answers[TEMPEST] else ()


def project(answers: Answers) -> str:
    return "demo" if answers["CONFIG_PROVISION_DEMO"] else "tempest"


def secret(account: str) -> str:
    """Name of the secret, and so of the answer, that is the password."""
    return "demo" if account == "demo" else "tempest"
