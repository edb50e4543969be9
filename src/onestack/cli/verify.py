"""Try whether the cloud works, as its users see it. Exit 0: it does; 1: something does not."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from onestack.cli import lock, output
from onestack.cli.options import cloud_of, cloud_options, json_option, need_cloud, resolve_answers
from onestack.cli.session import context
from onestack.cli.stopping import told_to_stop
from onestack.components.tempest import selection
from onestack.host import netns
from onestack.host.orphans import end_orphans
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, OnestackError
from onestack.supervise.client import Client

if TYPE_CHECKING:
    from onestack.components.tempest.inside.results import Results
    from onestack.diagnose.trial import Tried
    from onestack.diagnose.verify import Check

OUTCOMES = {True: "ok", False: "FAILED", None: "left out"}


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    json_option(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--end-to-end",
        action="store_true",
        help="use it as people do, for a minute: a server that is reached by ssh, a volume in "
        "it, an object, a stack; all is removed afterwards (without this and --tempest: some "
        "questions to each service, in seconds, that change nothing)",
    )
    how.add_argument(
        "--tempest",
        metavar="TESTS",
        help="run Tempest's tests: smoke, api, full, or a regular expression of their names",
    )
    how.add_argument(
        "--clean",
        action="store_true",
        help="remove what runs of the two above have left that were killed; the next one does "
        "so by itself",
    )
    parser.add_argument(
        "--skip", metavar="REGEX", default="", help="with --tempest: tests to leave out"
    )
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=int,
        help="with --tempest: how many run at once (default: one a core, 2 at most)",
    )


def run(args: argparse.Namespace) -> int:
    wanted = selected(args)
    cloud = cloud_of(args)
    need_cloud(cloud)
    lock.need_fit(cloud, "verify")
    ctx = context(cloud, resolve_answers(cloud, args).answers, keep=False)
    supervisor = Client(cloud)
    if not supervisor.running():
        raise OnestackError(
            f"the cloud {cloud.name!r} is down", "nothing of it answers", "run onestack up"
        )
    if wanted:
        return tempest(ctx, wanted, args.json)
    if args.clean:
        return clean(ctx, args.json)
    if args.end_to_end:
        return end_to_end(ctx, args.json)
    # Imported late: options are read where only the standard library is.
    from onestack.diagnose import verify

    with netns.inside(cloud.netns):
        checks = list(verify.checks(ctx, supervisor.status()))
    well = all(check.ok for check in checks)
    if args.json:
        output.as_json({"well": well, "checks": [dataclasses.asdict(c) for c in checks]})
    else:
        show_checks(checks)
    return 0 if well else 1


def selected(args: argparse.Namespace) -> selection.Selection | None:
    """Raises `BadAnswers` for what cannot be a selection of tests."""
    if args.tempest is None:
        for option, given in (("--skip", args.skip), ("--concurrency", args.concurrency)):
            if given:
                raise BadAnswers(
                    f"{option} is of no use without --tempest", cure="add --tempest smoke"
                )
        return None
    if wrong := selection.wrong(args.tempest) or selection.wrong_skip(args.skip):
        raise BadAnswers(f"these tests cannot be found: {wrong}")
    if args.concurrency is not None and args.concurrency < 1:
        raise BadAnswers("--concurrency is how many tests run at once: 1 or more")
    return selection.Selection(args.tempest, args.skip, args.concurrency or 0)


@contextlib.contextmanager
def at_work(ctx: Context) -> Iterator[None]:
    """Alone with the cloud, in its network; what stops us lets what was begun be removed."""
    with lock.changing(ctx.cloud, "verify"), netns.inside(ctx.cloud.netns), told_to_stop():
        # What a run that was killed has begun would go on beside this one.
        end_orphans()
        yield


def end_to_end(ctx: Context, as_json: bool) -> int:
    from onestack.diagnose.trial import trial

    def heard(one: Tried) -> None:
        if not as_json:
            show_tried(one)

    with at_work(ctx):
        tried = trial(ctx, heard)
    well = all(one.ok is not False for one in tried)
    if as_json:
        output.as_json({"well": well, "checks": [dataclasses.asdict(one) for one in tried]})
        return 0 if well else 1
    failed = sum(one.ok is False for one in tried)
    done = sum(one.ok is True for one in tried)
    seconds = sum(one.seconds for one in tried)
    output.say()
    if well:
        output.say(f"The cloud does what it is there for: {done} of {done}, in {seconds:.0f} s.")
    else:
        output.say(f"{failed} failed, {done} went well, in {seconds:.0f} s.")
    return 0 if well else 1


def show_tried(one: Tried) -> None:
    said = one.said if one.ok else (one.said or one.why)
    line = f"{OUTCOMES[one.ok]:<8}  {one.seconds:6.1f} s  {one.what}"
    output.say(f"{line}: {said}" if said else line)
    if one.ok is False:
        for label, text in (("why", one.why), ("cure", one.cure)):
            for number, each in enumerate(text.splitlines()):
                output.say(f"{'':<21}{label + ':' if number == 0 else '':<5} {each}")


def clean(ctx: Context, as_json: bool) -> int:
    """Both kinds of runs' leavings."""
    from keystoneauth1.exceptions import ClientException

    from onestack.components.tempest import leftovers
    from onestack.diagnose.trial import account
    from onestack.diagnose.trial.made import Made

    told: list[str] = []
    well = True

    def heard(sentence: str) -> None:
        told.append(sentence)
        if not as_json:
            output.say(sentence)

    def of_a_trial() -> bool:
        made = Made(ctx)
        if account.left(made):
            heard("removing what a trial from end to end has left")
            account.remove(made)
        return True

    with at_work(ctx):
        for work in (of_a_trial, lambda: not leftovers.remove(ctx, heard)):
            try:
                well = work() and well
            except (ClientException, OnestackError) as error:
                # The other kind is another's matter.
                heard(f"not removed: {error}")
                well = False
    if as_json:
        output.as_json({"well": well, "said": told})
    elif not told:
        output.say("Nothing is left of an earlier run.")
    return 0 if well else 1


def tempest(ctx: Context, wanted: selection.Selection, as_json: bool) -> int:
    from onestack.cli import screen
    from onestack.components.tempest import runner
    from onestack.diagnose import verify

    runner.need_installed(ctx)

    with at_work(ctx), screen.choose() as show:
        found = verify.tempest(ctx, wanted, [show])
    if as_json:
        output.as_json(found.to_json())
    else:
        show_results(found)
    return 0 if found.well else 1


def show_checks(checks: list[Check]) -> None:
    output.table(
        ("CHECK", "RESULT", ""),
        [(check.what, "ok" if check.ok else "FAILED", check.said) for check in checks],
    )
    failed = sum(not check.ok for check in checks)
    output.say()
    output.say(
        f"{failed} of {len(checks)} checks failed: `onestack doctor` looks for the cause."
        if failed
        else f"All {len(checks)} checks passed. `onestack verify --end-to-end` makes a server, too."
    )


def show_results(found: Results) -> None:
    from onestack.components.tempest import skips
    from onestack.components.tempest.inside import results

    outcomes = (results.PASSED, results.FAILED, results.SKIPPED)
    rows = [(outcome, str(len(found.of(outcome)))) for outcome in outcomes]
    output.table(("TESTS", "COUNT"), [*rows, ("left out", str(len(found.left_out)))])
    if grouped := skips.grouped(found.of(results.SKIPPED)):
        output.say()
        output.table(
            ("SKIPPED", "BECAUSE"),
            [(str(group.count), group.sentence[:300]) for group in grouped],
        )
    if failed := found.of(results.FAILED):
        output.say()
        output.table(
            ("FAILED", "BECAUSE"),
            [(test.short, test.first_line[:300]) for test in failed],
        )
    elif not found.well:
        output.say()
        output.say(results.ALL_SKIPPED[0].upper() + results.ALL_SKIPPED[1:] + ".")
    if new := sum(group.count for group in grouped if not group.why):
        output.say()
        output.say(f"{new} were skipped for a reason that nobody has listed (marked NEW above).")
    output.say()
    output.say(f"{found.seconds:.0f} s; all of it: {found.folder}")
    output.say(
        f"  {results.RESULTS} (with tracebacks), {results.JUNIT}, {results.STREAM}, tempest.log"
    )
