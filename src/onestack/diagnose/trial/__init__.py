"""The cloud, used as its users do: from a token to a server that is reached, and all removed.

A project and a user of their own have all that is made. By their name the next trial finds and
removes what one that was killed has left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keystoneauth1.exceptions import ClientException

from onestack.diagnose.trial import account, network, others, server, volume
from onestack.diagnose.trial.made import LeftOut, Made
from onestack.model.context import Context
from onestack.model.errors import OnestackError

REMOVED = "all of it removed"


@dataclass(frozen=True)
class Stage:
    """``work`` returns what is said of it; raises `LeftOut` or `OnestackError`."""

    what: str
    work: Callable[[Made], str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tried:
    """``ok`` is ``None`` for what was not tried, and ``why`` says why."""

    what: str
    ok: bool | None
    said: str = ""
    seconds: float = 0.0
    why: str = ""
    cure: str = ""


def stages(ctx: Context) -> Iterator[Stage]:
    token, net, router, booted = "a token", "a network", "a router to the outside", "a server"
    disk = "a volume"
    yield Stage(token, account.token)
    if ctx.offers("network"):
        yield Stage(net, network.network, (token,))
        yield Stage(router, network.router, (net,))
    if ctx.offers("compute"):
        yield Stage(booted, server.boot, (net,))
        yield Stage("a floating IP", network.floating, (router, booted))
        yield Stage("ssh to the server", server.ssh, (booted,))
    if ctx.offers("block-storage"):
        yield Stage(disk, volume.make, (token,))
        if ctx.offers("compute"):
            yield Stage("the volume in the server", volume.attach, (disk, booted))
    if ctx.offers("object-store"):
        yield Stage("an object", others.an_object, (token,))
    if ctx.offers("orchestration"):
        yield Stage("a stack", others.stack, (token,))


def trial(ctx: Context, heard: Callable[[Tried], None]) -> list[Tried]:
    """Each stage is told as it ends. In the network of the calling thread, the cloud's.

    What was made is removed also where `KeyboardInterrupt` comes in between, which is then
    raised; one that comes during that leaves the rest to the next trial.
    """
    tried: list[Tried] = []

    def tell(one: Tried) -> None:
        tried.append(one)
        heard(one)

    made = Made(ctx)
    if account.left(made):
        before = _tried(Stage("what an earlier one left", account.remove), made)
        tell(before)
        if not before.ok:
            return tried
    try:
        for stage in stages(ctx):
            failed = [one for one in tried if one.what in stage.needs and not one.ok]
            if failed:
                tell(Tried(stage.what, None, why=f"without {failed[0].what}"))
            else:
                tell(_tried(stage, made))
    finally:
        tell(_tried(Stage(REMOVED, account.remove), made))
    return tried


def _tried(stage: Stage, made: Made) -> Tried:
    began = time.monotonic()

    def tell(ok: bool | None, said: str = "", why: str = "", cure: str = "") -> Tried:
        return Tried(stage.what, ok, said, round(time.monotonic() - began, 1), why, cure)

    try:
        return tell(True, stage.work(made))
    except LeftOut as reason:
        return tell(None, why=str(reason))
    except OnestackError as error:
        return tell(False, error.what, error.why, error.cure)
    except ClientException as error:
        return tell(False, str(error) or type(error).__name__, cure="see `onestack doctor`")
