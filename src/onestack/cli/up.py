"""Make the cloud, or bring it to what the answers say. Any number of times."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from onestack.cli import handover, lock, output
from onestack.cli.options import (
    KEPT,
    ResolvedAnswers,
    answer_options,
    cloud_of,
    cloud_options,
    json_option,
    keep,
    resolve_answers,
    yes_option,
)
from onestack.cli.session import check, context, gathered, joined, secrets
from onestack.cli.summary import facts, lines
from onestack.cluster.protocol import Standing
from onestack.components.door import follower
from onestack.deploy import joining, patches
from onestack.deploy.processes import about
from onestack.diagnose.preflight import component_checks
from onestack.kernel import proc
from onestack.model.change import Change
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, NotRunning, OnestackError, PreflightRefused
from onestack.model.findings import Finding, Severity, raise_refusals
from onestack.network.nic import operations
from onestack.release.release import release
from onestack.supervise.client import Client

if TYPE_CHECKING:
    from onestack.engine.step import Step


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser, netns=True)
    answer_options(parser)
    json_option(parser)
    yes_option(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="wait for another onestack that works on the cloud, and do not refuse",
    )
    parser.add_argument(
        "--if-told",
        action="store_true",
        help="on a host that has joined: do nothing where all is there that its controller says",
    )
    parser.add_argument(
        "--purge",
        action="store_true",
        help="remove also the data of components that the answers switch off",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be changed, and change nothing"
    )


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    lock.need_fit(cloud, "up")
    need_to_outlive_it(cloud)
    with contextlib.ExitStack() as stack:
        # A cloud that is not there yet gets its lock after the checks: they leave no trace.
        alone, waited = args.dry_run, False
        if not alone and lock.exists(cloud):
            waited = stack.enter_context(lock.changing(cloud, "up", wait=args.wait))
            alone = True
        put_back = alone and not args.dry_run and operations.recover(cloud, output.note)
        # A host that has joined is what its controller says of it now.
        standing = joining.refreshed(cloud) if alone and not args.dry_run else None
        if args.if_told and not args.dry_run and is_as_told(cloud, standing, waited):
            return 0
        pending = [change.what for change in brought_up_to_date(cloud, args.dry_run)]
        wanted = resolve_answers(cloud, args)
        # What was found out with the host's network half moved does not count.
        handed = handover.Handover() if put_back else handover.take(cloud)
        ctx = context(cloud, wanted.answers, keep=False, known=handed.facts)
        need_able(ctx)
        findings = check(ctx, handed.remote)
        if not alone:
            stack.enter_context(lock.changing(cloud, "up", wait=args.wait))
        for notice in (*wanted.notices, *remarks(findings)):
            output.note(f"note: {notice}")
        if args.dry_run:
            return dry_run(ctx, args, pending)
        if args.purge:
            agreed(ctx, args.yes)
        if not ctx.joined:
            ctx = dataclasses.replace(ctx, secrets=secrets(cloud, wanted.answers))
        return deploy(ctx, wanted, args)


def is_as_told(cloud: Cloud, standing: Standing | None, waited: bool) -> bool:
    """Whether nothing is to be done of what the machine's controller says, if it has one.

    Raises `OnestackError` where there is, and whoever was ``waited`` for has not done it.
    """
    if standing is None:
        output.say("This machine is no host that follows a controller.")
        return True
    if follower.is_applied(cloud, standing):
        output.say("All is there that the controller says.")
        return True
    if waited:
        raise OnestackError(
            "another onestack was at work on this host, which is not yet as it should be",
            "what failed or was stopped just now is not begun anew at once behind it",
            "onestack up",
        )
    return False


def need_to_outlive_it(cloud: Cloud) -> None:
    """Raises `PreflightRefused` where this `up` would be ended half way by its own work.

    One that the cloud's supervisor has run, for its door or its follower, ends with that one.
    """
    if os.environ.get(proc.ROOT_VARIABLE) != str(cloud.root):
        return
    try:
        if about(Client(cloud), release().program):
            return
    except NotRunning:
        pass
    raise PreflightRefused(
        "onestack's code has changed on this machine since its last `up`",
        "its supervisor is to be replaced, and what that one has run, such as this `up`, would "
        "end with it",
        "run `onestack up` yourself",
    )


def need_able(ctx: Context) -> None:
    """Raises `PreflightRefused` on a host that has joined a cloud whose networks end at one."""
    if ctx.joined and not ctx.offers("chassis"):
        raise PreflightRefused(
            "this host cannot be one of the cloud's yet",
            "its networks are carried by Open vSwitch's agents, and only OVN's reach other hosts",
            "a cloud made with CONFIG_NEUTRON_L2_AGENT=ovn takes other hosts",
        )


def brought_up_to_date(cloud: Cloud, dry_run: bool) -> Iterator[Change]:
    """What an older program has kept, as this one wants it; made unless in a dry run."""
    for change in patches.ensure_format(cloud):
        if not dry_run:
            change.do()
            output.note(f"note: {change.what}")
        yield change


def remarks(findings: Iterable[Finding]) -> Iterator[str]:
    """What the checks say that is no reason to refuse."""
    for finding in findings:
        if finding.severity is not Severity.INFO:
            yield "; ".join(filter(None, (finding.what, finding.why, finding.cure)))


def deploy(ctx: Context, wanted: ResolvedAnswers, args: argparse.Namespace) -> int:
    from onestack.cli import screen
    from onestack.deploy import up
    from onestack.engine.step import Step

    kept = Step("answers", "The answers", lambda: ensure_kept(ctx, wanted), ("cloud",))
    first = [kept, *told_steps(ctx)]
    if ctx.joined:
        follower.begin(ctx.cloud)
    with screen.choose(args.json) as show:
        report = up.up(
            ctx,
            Client(ctx.cloud),
            listeners=[show],
            first=first,
            purge=args.purge,
            gather=lambda: gathered(ctx.cloud, ctx.answers),
            check=lambda now: raise_refusals(component_checks(now)),
        )
    if ctx.joined:
        follower.finish(ctx.cloud)
    if args.json:
        output.line_of_json(kind="summary", **facts(ctx, report))
    else:
        for line in lines(ctx, report):
            output.say(line)
    return 0


def told_steps(ctx: Context) -> Iterator[Step]:
    """On a host that has joined: what the certificates of the cloud's front are by."""
    from onestack.engine.step import Step
    from onestack.host.files import ensure_directory, ensure_file

    standing = joined(ctx.cloud)
    if standing is None:
        return

    def ensure() -> Iterator[Change]:
        yield from ensure_directory(ctx.authority.parent)
        yield from ensure_file(ctx.authority, standing.projection.authority)

    yield Step("authority", "The cloud's authority", ensure, ("cloud",))


def agreed(ctx: Context, yes: bool) -> None:
    """Raises `BadAnswers` unless the operator wants to lose what is switched off."""
    from onestack.deploy import switched_off

    lost = ", ".join(what.title for what in switched_off.left(ctx))
    if lost and not output.confirm(f"Remove for good what is left of: {lost}?", yes):
        raise BadAnswers(
            f"what is left of {lost} was not removed",
            "its data would be lost",
            "say so with --yes, or leave --purge out",
        )


def dry_run(ctx: Context, args: argparse.Namespace, pending: Iterable[str] = ()) -> int:
    from onestack.deploy import up
    from onestack.engine.step import Outcome

    report = up.up(ctx, Client(ctx.cloud), dry_run=True, purge=args.purge)
    changes = [*(("format", what) for what in pending), *report.changes]
    unknown = [r for r in report.results if r.outcome is Outcome.UNKNOWN]
    if args.json:
        output.as_json(
            {
                "changes": [{"step": step, "what": what} for step, what in changes],
                "unknown": [r.name for r in unknown],
            }
        )
        return 0
    output.would(changes)
    if unknown:
        output.say("What comes after them is not known before they are made:")
        names = "; ".join(r.title for r in unknown)
        output.say(textwrap.fill(names, 100, break_on_hyphens=False))
    return 0


def ensure_kept(ctx: Context, wanted: ResolvedAnswers) -> Iterator[Change]:
    """``ROOT/etc/answers.txt``: the next run begins from it."""
    from onestack.host.files import ensure_file

    yield from ensure_file(ctx.cloud.etc / KEPT, keep(ctx.cloud, wanted), mode=0o600)
