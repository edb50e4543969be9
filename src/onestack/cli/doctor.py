"""Find out what is wrong with the cloud, and what would mend it. Exit 0: nothing is."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator

from onestack.cli import on_hosts, output
from onestack.cli.options import (
    cloud_of,
    cloud_options,
    host_option,
    json_option,
    need_cloud,
    resolve_answers,
)
from onestack.cli.pool import gib
from onestack.cli.select import roster
from onestack.cli.session import context, explainer, gathered
from onestack.cluster.verbs import number
from onestack.components import ALL
from onestack.diagnose import known_errors
from onestack.diagnose.doctor import Diagnosis, examine
from onestack.diagnose.logscan import Trouble
from onestack.model.errors import BadAnswers
from onestack.model.findings import Severity
from onestack.supervise.client import Client

SHOWN = 8
"""Kinds of errors of unknown cause that are shown at most; --json has them all."""


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    json_option(parser)
    host_option(parser)
    parser.add_argument(
        "--facts",
        action="store_true",
        help="print what is known of this machine, as JSON, and look at nothing else "
        "(for a report; the tests keep such machines)",
    )
    parser.add_argument(
        "--hours", type=float, default=24.0, help="look so far back in the logs (default: 24)"
    )
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print docs/known-errors.md: what is known about lines of the logs",
    )


def run(args: argparse.Namespace) -> int:
    return on_hosts.run("doctor", args, here, words)


def words(args: argparse.Namespace) -> Iterator[str]:
    """As another host is asked the same. Raises `BadAnswers`."""
    if args.facts or args.markdown:
        raise BadAnswers(
            "--facts and --markdown do not go with --host",
            "they are about this machine, or about none",
            "type it on that host, without --host",
        )
    yield f"--hours={number(args.hours)}"


def here(args: argparse.Namespace) -> int:
    if args.markdown:
        output.say(known_errors.text(ALL).rstrip())
        return 0
    cloud = cloud_of(args)
    if args.facts:
        # Also where no cloud is yet.
        output.say(gathered(cloud, resolve_answers(cloud, args).answers).to_json())
        return 0
    need_cloud(cloud)
    ctx = context(cloud, resolve_answers(cloud, args).answers, keep=False)
    since = datetime.datetime.now().astimezone() - datetime.timedelta(hours=args.hours)
    found = examine(ctx, Client(cloud), roster(cloud).processes, explainer(ctx), since)
    if args.json:
        output.as_json(found.to_json())
    else:
        show(found)
    return 0 if found.well else 1


def show(found: Diagnosis) -> None:
    show_machine(found)
    show_processes(found)
    show_known(found)
    show_pool(found)
    show_drift(found)
    show_others(found)


def show_machine(found: Diagnosis) -> None:
    serious = [f for f in found.findings if f.severity is not Severity.INFO]
    heading("Machine", "fit" if not serious else "")
    for finding in serious:
        item(finding.what, finding.why, finding.cure)


def show_processes(found: Diagnosis) -> None:
    if not found.running:
        heading("Processes", "the cloud is down; `onestack up` starts it")
    else:
        total = found.ready + len(found.patients)
        heading("Processes", f"{found.ready} of {total} ready" if total else "not known")
    for patient in found.patients:
        item(f"{patient.status.name}: {patient.status.sentence}", "\n".join(patient.lines))
        if patient.likely:
            item("  likely", patient.likely)
    if found.remarks:
        heading("Services", "")
    for remark in found.remarks:
        item(remark.what, remark.why, remark.cure)


def show_known(found: Diagnosis) -> None:
    known = [t for t in found.troubles if t.likely]
    heading("Errors in the logs with a known cause", "" if known else "none")
    for trouble in known:
        item(seen(trouble), trouble.likely or "")


def show_drift(found: Diagnosis) -> None:
    if found.drift:
        heading("Not as the answers want it; `onestack up` would", "")
    for what in found.drift[:SHOWN]:
        item(what)
    if len(found.drift) > SHOWN:
        output.say(f"  … and {len(found.drift) - SHOWN} changes more: onestack up --dry-run")


def show_others(found: Diagnosis) -> None:
    others = [t for t in found.troubles if not t.likely]
    if others:
        heading("Also in the logs, cause not known (harmless if nothing else is wrong)", "")
    for trouble in others[:SHOWN]:
        item(seen(trouble))
    if len(others) > SHOWN:
        output.say(f"  … and {len(others) - SHOWN} kinds more: --json shows them")


def seen(trouble: Trouble) -> str:
    times = f" ({trouble.times} times)" if trouble.times > 1 else ""
    last = f", last {trouble.at}" if trouble.at else ""
    return f"{trouble.process}{times}{last}: {trouble.text[:300]}"


def show_pool(found: Diagnosis) -> None:
    if found.pool_problem:
        heading("Volume pool", "")
        item(found.pool_problem)
    elif found.pool:
        pool = found.pool
        heading(
            "Volume pool",
            f"{gib(pool.free)} of {gib(pool.size)} free; {pool.volumes} volumes and "
            f"{pool.snapshots} snapshots of {gib(pool.provisioned)}, {gib(pool.stored)} on disk",
        )
        place = pool.place if pool.place.startswith("/") else f"{pool.kind} {pool.place}"
        output.say(f"  {place}{f' on {pool.device}' if pool.device else ''}")


def heading(title: str, state: str) -> None:
    output.say(f"{title}: {state}" if state else f"{title}:")


def item(what: str, why: str = "", cure: str = "") -> None:
    output.say(f"  - {what}")
    for line in why.splitlines():
        output.say(f"      {line}")
    if cure:
        output.say(f"      cure: {cure}")
