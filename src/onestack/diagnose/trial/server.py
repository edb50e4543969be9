"""A server with a key, and the way into it."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.image import Images
from onestack.cloudapi.session import admin_session
from onestack.diagnose.trial.made import NAME, Item, LeftOut, Made
from onestack.diagnose.trial.network import address, near
from onestack.host import netns
from onestack.host.command import CommandFailed, CommandResult, run
from onestack.host.files import ensure_directory, write_file
from onestack.images import guest
from onestack.model.cloud import CACHE
from onestack.model.declarations import Flavor
from onestack.model.errors import OnestackError
from onestack.network.bridges import Bridges

ACTIVE, REACHED = 300.0, 600.0
"""Seconds: without KVM a guest takes minutes on a machine at work."""
GUEST, GUESTS_USER, GUESTS_MEMORY = "qcow2", "cirros", 192
OTHERS_MEMORY = 512
GIB = 1024**3
SSH = (
    *("ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
    # The server is minutes old, and nobody has seen its key.
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR"),
)
TYPED = 30.0
CONSOLE = 15
"""Lines of the console that are shown of a server that is not reached."""


def boot(made: Made) -> str:
    image, own = _image(made)
    _flavor(made, image, own)
    key = {"keypair": {"name": NAME, "public_key": _key(made)}}
    made.ask("compute", "/os-keypairs", key)
    body = {
        "name": NAME,
        "imageRef": image["id"],
        "flavorRef": NAME,
        "key_name": NAME,
        "networks": [{"port": made.port["id"]}],
    }
    made.server = made.ask("compute", "/servers", {"server": body})["server"]["id"]

    def state() -> tuple[str, str]:
        found = made.ask("compute", f"/servers/{made.server}")["server"]
        return found["status"], (found.get("fault") or {}).get("message", "")

    made.wait("compute", "the server", state, "ACTIVE", ACTIVE)
    return f"ACTIVE, of the image {image['name']}"


def _image(made: Made) -> tuple[Item, bool]:
    """The first contents' image, else the test guest, uploaded; and whether it is this guest."""
    answers = made.ctx.answers
    name, given = str(answers["CONFIG_PROVISION_IMAGE_NAME"]), answers["CONFIG_PROVISION_IMAGE_URL"]
    assert made.session, "a token comes first"
    images = Images(made.session, f"{made.ctx.public_url('image')}/v2/images")
    ready = images.all(name=name, status="active", visibility="public")
    if ready:
        made.user = str(answers["CONFIG_PROVISION_IMAGE_SSH_USER"])
        return ready[0], not given
    # Mirrors are reached from the machine's own network.
    with netns.outside():
        path = guest.cached_test_guest(CACHE / "images")
    images.upload(path, name=NAME, disk_format=GUEST, container_format="bare")
    made.user = GUESTS_USER
    return images.all(name=NAME, owner=made.project)[0], True


def _flavor(made: Made, image: Item, own: bool) -> None:
    """One as small as the image allows, for this project alone."""
    room = -(-int(image.get("virtual_size") or image.get("size") or 0) // GIB)
    memory = GUESTS_MEMORY if own else OTHERS_MEMORY
    wanted = Flavor(
        NAME, 1, max(memory, image.get("min_ram") or 0), max(1, room, image.get("min_disk") or 0)
    )
    compute = compute_of(made.ctx)
    compute.make_flavor(wanted, identity=NAME, public=False)
    admin_session(made.ctx).post(
        f"{compute.url}/flavors/{NAME}/action", json={"addTenantAccess": {"tenant": made.project}}
    )


def _key(made: Made) -> str:
    """A new key pair: its private half in a file of ours, the public one as ssh writes it."""
    pair = ec.generate_private_key(ec.SECP256R1())
    for change in ensure_directory(made.folder, mode=0o700):
        change.do()
    private = pair.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    write_file(_file(made), private.decode(), mode=0o600)
    public = pair.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode()


def _file(made: Made) -> Path:
    return made.folder / "key"


def ssh(made: Made) -> str:
    """Its name, asked from within."""
    if not shutil.which("ssh"):
        raise LeftOut("there is no ssh on this machine: apt-get install openssh-client")
    words, said = _way(made)
    until = time.monotonic() + REACHED
    while not (done := _typed(words, "hostname")).ok:
        if time.monotonic() > until:
            raise OnestackError(
                f"ssh does not reach it {said} within {REACHED:.0f} s",
                "\n".join([done.err.strip() or f"ssh ended with {done.code}", *_console(made)]),
                "see `onestack doctor`; `onestack logs neutron`",
            )
        time.sleep(1)
    made.login = words
    return f"{said}; it calls itself {done.out.strip()}"


def _way(made: Made) -> tuple[list[str], str]:
    """By the floating IP, if this machine has an address in its network; else from inside."""
    login = [*SSH, "-i", str(_file(made))]
    if made.address and near(made):
        return [*login, f"{made.user}@{made.address}"], f"at {made.address}"
    prefix = "ovnmeta" if made.ctx.once(Bridges).agent == "ovn" else "qdhcp"
    inside = ["ip", "netns", "exec", f"{prefix}-{made.network}"]
    if made.ctx.cloud.netns:
        # Its namespaces have their names in the supervisor's mounts alone.
        pid = (made.ctx.cloud.run / "supervisor" / "lock").read_text().strip()
        inside = ["nsenter", "--target", pid, "--net", "--mount", "--wd=/", *inside]
    why = "this machine has no address in the external network, so " if made.address else ""
    own = address(made)
    return [*inside, *login, f"{made.user}@{own}"], f"{why}from its network, at {own}"


def _typed(words: list[str], command: str) -> CommandResult:
    """However that ends: one that hangs is ended, and has not come through."""
    try:
        return run([*words, command], timeout=TYPED, check=False)
    except CommandFailed as error:
        return dataclasses.replace(error.result, code=1)


def _console(made: Made) -> list[str]:
    """What the guest has said last."""
    body = {"os-getConsoleOutput": {"length": CONSOLE}}
    try:
        output = made.ask("compute", f"/servers/{made.server}/action", body)["output"]
    except OnestackError as error:
        return [f"its console cannot be read: {error.what}"]
    return ["its console:", *(output or "(nothing)").splitlines()[-CONSOLE:]]


def disks(made: Made) -> dict[str, int]:
    """Name to sectors of those that the guest has."""
    # Of one disk alone grep would not say which it is.
    done = _typed(made.login, "grep -H . /sys/block/*/size")
    lines = (line.split(":") for line in done.out.splitlines() if line.count(":") == 1)
    return {path.split("/")[3]: int(sectors) for path, sectors in lines}
