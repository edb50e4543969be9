"""What the pool's driver refuses, with the words that users are told (services' environment).

Upstream's messages are texts with a number; ours have numbers that are not upstream's, and may
have figures in them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cinder import exception


class Reason(NamedTuple):
    """As upstream's `cinder.message.message_field.Detail` has them."""

    number: str
    text: str


UNACCEPTABLE = Reason(
    "901",
    "The image is no disk of the format that it is said to have, or refers to another file.",
)
NOT_COPIED = Reason("902", "The image could not be had, or not be copied to the volume.")
NO_ROOM = Reason(
    "903",
    "{wanted} GiB are wanted, and the pool has {free} GiB free: volumes and snapshots count with "
    "their full size. Delete some, or let the pool grow (onestack pool grow).",
)
NO_PLACE = Reason(
    "904",
    "No back-end takes {wanted} GiB: the one with the most room has {free} GiB free, where volumes "
    "and snapshots count with their full size, and a volume type may ask for what none has. Delete "
    "some, let the pool grow (onestack pool grow), or choose another type.",
)
NO_BACKEND = Reason(
    "905",
    "No back-end takes the volume, for none is there: onestack status tells whether cinder-volume "
    "runs.",
)
NO_KEY = Reason(
    "906",
    "The key manager did not give the volume's key: onestack status tells whether Barbican runs, "
    "and only members of the volume's project get it.",
)
PROVIDER = Reason(
    "907",
    "Volumes are encrypted with the provider luks, a cipher such as aes-xts-plain64 and a size of "
    "the key: the volume's type (openstack volume type show --encryption-type) asks for another "
    "way. The type luks is made for it.",
)
HEADER = Reason(
    "908",
    "The image has {image} GiB, and of the volume's {size} GiB encryption takes 2 MiB for itself: "
    "ask for {enough} GiB.",
)
OTHER_ENCRYPTION = Reason(
    "909",
    "An encrypted volume is made of encrypted ones alone, and a plain one of plain ones: ask for "
    "the type of what it is made of, or make an empty one and copy in a server.",
)
NOT_TURNED = Reason(
    "910",
    "A volume keeps its encryption, for there is no room in it for a header: make one of the other "
    "type that is 1 GiB larger, attach both to a server and copy there.",
)
STAYS = Reason(
    "911",
    "An encrypted volume stays in the pool it is in: make one in the other place, attach both to a "
    "server and copy there.",
)
NO_FILE = Reason(
    "912",
    "No file of that name can be had: it must be source-name, the name of a plain file, not empty, "
    "in the folder import of the pool (openstack block storage volume manageable list).",
)
NOT_BACKED_UP = Reason(
    "913",
    "What was to be backed up could not be read, or no snapshot of it be made: onestack logs "
    "cinder-volume tells why.",
)
NOT_DONE = Reason(
    "914",
    "The volume service ended meanwhile, and it is not done: ask for it again.",
)
NO_ROOM_THERE = Reason(
    "915",
    "{wanted} GiB more are wanted where the volume is, and there {free} GiB are free: volumes and "
    "snapshots count with their full size. Delete some, or let the pool grow (onestack pool grow).",
)
PLAIN_ONLY = Reason(
    "916",
    "Volumes in the volume group are not encrypted: encrypted ones are for a cloud that has the "
    "file pool (CONFIG_CINDER_BACKEND=filepool).",
)

NOT_SERVED = Reason(
    "917",
    "The volume could not be given to the host {host}, or not be taken from it: onestack status "
    "tells whether cinder-nbd-{host} runs, onestack logs cinder-volume what it said.",
)
ALL = (
    *(UNACCEPTABLE, NOT_COPIED, NO_ROOM, NO_PLACE, NO_BACKEND),
    *(NO_KEY, PROVIDER, HEADER, OTHER_ENCRYPTION, NOT_TURNED, STAYS, NO_FILE),
    *(NOT_BACKED_UP, NOT_DONE, NO_ROOM_THERE, PLAIN_ONLY, NOT_SERVED),
)

RETYPE = ("901", "change the type of a volume")
MIGRATE = ("902", "move a volume")
ACTIONS = (RETYPE, MIGRATE)
"""What upstream has no word for."""


class Refused(exception.VolumeBackendAPIException):  # type: ignore[misc]
    """For a ``reason`` of `ALL`, with the ``figures`` of its text."""

    def __init__(self, reason: Reason, **figures: float | str) -> None:
        self.reason = reason
        self.figures = figures
        self.told = False
        """Whether whoever has the volume was told, and needs no other message."""
        super().__init__(data=reason.text.format(**figures))


def failure(text: str) -> Exception:
    problem: Exception = exception.VolumeBackendAPIException(data=text)
    return problem


def figures_in(event: str) -> tuple[str, dict[str, Any]]:
    """What `with_figures` has made of a message's event and its figures."""
    plain, *pairs = event.split(" ")
    return plain, dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def with_figures(event: str, figures: dict[str, float | str]) -> str:
    """The only field of a message that has room for more than a number."""
    return " ".join((event, *(f"{name}={value}" for name, value in figures.items())))
