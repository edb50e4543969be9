"""Try whether the cloud works, as its users see it. Exit 0: it does; 1: something does not."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from onestack.cli import lock, output
from onestack.cli.options import cloud_of, cloud_options, json_option, need_cloud, resolve_answers
from onestack.cli.session import context
from onestack.components.tempest import selection
from onestack.host import netns
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, OnestackError
from onestack.supervise.client import Client

if TYPE_CHECKING:
    from onestack.components.tempest.inside.results import Results
    from onestack.diagnose.verify import Check


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    json_option(parser)
    parser.add_argument(
        "--tempest",
        metavar="TESTS",
        help="run Tempest's tests: smoke, full, or a regular expression of their names "
        "(without it: some questions to each service, in seconds)",
    )
    parser.add_argument(
        "--skip", metavar="REGEX", default="", help="with --tempest: tests to leave out"
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
        if args.skip:
            raise BadAnswers("--skip is of no use without --tempest", cure="add --tempest smoke")
        return None
    if wrong := selection.wrong(args.tempest) or selection.wrong_skip(args.skip):
        raise BadAnswers(f"these tests cannot be found: {wrong}")
    return selection.Selection(args.tempest, args.skip)


def tempest(ctx: Context, wanted: selection.Selection, as_json: bool) -> int:
    from onestack.cli import screen
    from onestack.components.tempest import runner
    from onestack.diagnose import verify

    runner.need_installed(ctx)
    inside = netns.inside(ctx.cloud.netns)
    with lock.changing(ctx.cloud, "verify"), inside, screen.choose() as show:
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
        else f"All {len(checks)} checks passed."
    )


def show_results(found: Results) -> None:
    from onestack.components.tempest.inside import results

    outcomes = (results.PASSED, results.FAILED, results.SKIPPED)
    rows = [(outcome, str(len(found.of(outcome)))) for outcome in outcomes]
    output.table(("TESTS", "COUNT"), [*rows, ("left out", str(len(found.left_out)))])
    if failed := found.of(results.FAILED):
        output.say()
        output.table(
            ("FAILED", "BECAUSE"),
            [(test.name.partition("[")[0], test.first_line[:300]) for test in failed],
        )
    elif not found.well:
        output.say()
        output.say(results.ALL_SKIPPED[0].upper() + results.ALL_SKIPPED[1:] + ".")
    output.say()
    output.say(f"{found.seconds:.0f} s; all of it: {found.folder}")
    output.say(
        f"  {results.RESULTS} (with tracebacks), {results.JUNIT}, {results.STREAM}, tempest.log"
    )
