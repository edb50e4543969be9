"""Options that several verbs share, and what they come to."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onestack.answers import packstack_file, stock, table
from onestack.answers.packstack_file import AnswerFile, AnswerLine
from onestack.answers.registry import Registry, registry
from onestack.answers.validate import Rule, Rules, read
from onestack.answers.values import Answers
from onestack.components.hosts import HERE
from onestack.deploy.joining import Places
from onestack.model.cloud import DEFAULT_NAME, Cloud
from onestack.model.component import Component
from onestack.model.errors import BadAnswers, OnestackError

KEPT = "answers.txt"
"""The answers a cloud was made with, in ``ROOT/etc``."""


def cloud_options(parser: argparse.ArgumentParser, netns: bool = False) -> None:
    """``--name`` and ``--root``; with ``netns`` also ``--netns``."""
    group = parser.add_argument_group("which cloud")
    group.add_argument("--name", default=DEFAULT_NAME, help="its name (default: %(default)s)")
    group.add_argument("--root", type=Path, help="its directory (default: /var/lib/onestack…)")
    if netns:
        group.add_argument(
            "--netns",
            action="store_true",
            help="give the cloud a network namespace of its own",
        )


def answer_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("answers")
    group.add_argument("--answer-file", type=Path, metavar="FILE", help="packstack's answer file")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one answer; counts more than a file's (may be repeated)",
    )
    group.add_argument(
        "--defaults",
        choices=table.RELEASES,
        help="what nobody answers is as packstack had it in that release (dashboard, object "
        "storage, metering and demo on), instead of as lean as usual",
    )


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")


def host_option(parser: argparse.ArgumentParser) -> None:
    """For verbs that a controller has run on its hosts: `onestack.cli.on_hosts`."""
    parser.add_argument(
        "--host",
        metavar="NAME|all",
        help="on the controller: what that host of the cloud says, or all of them",
    )


def yes_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


def cloud_of(args: argparse.Namespace) -> Cloud:
    return Cloud.named(args.name, args.root, getattr(args, "netns", False))


def need_cloud(cloud: Cloud) -> None:
    """Raises `OnestackError` where there is no cloud."""
    if not cloud.etc.is_dir():
        raise OnestackError(
            f"there is no cloud {cloud.name!r}",
            f"{cloud.root} holds none",
            "make it with `onestack up`, or name another with --name or --root",
        )


@dataclass(frozen=True)
class ResolvedAnswers:
    """The answers of one run and what the operator should be told about them."""

    answers: Answers
    notices: tuple[str, ...]
    registry: Registry


def resolve_answers(cloud: Cloud, args: argparse.Namespace) -> ResolvedAnswers:
    """Answers from what the cloud was made with, the file and the flags, merged.

    Raises `BadAnswers` with every problem.
    """
    files: list[AnswerFile] = []
    layers: list[Sequence[AnswerLine]] = []
    kept = cloud.etc / KEPT
    told = told_answers(cloud)
    if packstack_file.is_there(kept):
        layers.append(packstack_file.read(kept).entries)
    if told is not None:
        layers = [[line for line in layer if line.name in HERE] for layer in layers]
        layers.append(told)
    own: list[Sequence[AnswerLine]] = []
    if getattr(args, "answer_file", None):
        file = packstack_file.read(args.answer_file)
        files.append(file)
        own.append(file.entries)
    own.append(tuple(_pair(text) for text in getattr(args, "set", None) or ()))
    known, release = registry(), getattr(args, "defaults", None)
    if told is not None:
        need_own(known, told, itertools.chain(*own), release)
    layers += own
    if release:
        layers.insert(0, stock.missing(known, release, itertools.chain(*layers)))
    answers, notices = read(known, layers, files, rules(told or ()))
    return ResolvedAnswers(answers, tuple(notices), known)


def told_answers(cloud: Cloud) -> tuple[AnswerLine, ...] | None:
    """Those of the controller, on a host that has joined; its own count for the machine alone."""
    if (kept := Places.of(cloud).kept()) is None:
        return None
    given = kept.standing.projection.answers
    return tuple(AnswerLine(name, text, "the controller") for name, text in given.items())


def need_own(
    known: Registry,
    told: Iterable[AnswerLine],
    lines: Iterable[AnswerLine],
    defaults: str | None = None,
) -> None:
    """Raises `BadAnswers` where a host that has joined is to have answers of the cloud's."""
    given = {line.name: line.text for line in told}
    wrong = [f"--defaults {defaults}"] if defaults else []
    for line in lines:
        name = known.targets.get(line.name, line.name)
        if name in HERE or name not in known.keys:
            continue
        if line.text != given.get(name, known.keys[name].default):
            wrong.append(f"{line.where}: {line.name}")
    if wrong:
        raise BadAnswers(
            f"{', '.join(wrong)}: that is the cloud's to say, and not this host's",
            "all its hosts have the answers that its controller was given",
            "on the controller: onestack up --set KEY=VALUE; this host follows by itself",
        )


def rules(told: Sequence[AnswerLine] = ()) -> Rules:
    """What each component knows about answers.

    Those that the controller has ``told`` it has checked, with files and secrets that are there
    and not here: what is said of them alone is not said again.
    """
    import onestack.components as components

    known: tuple[Component, ...] = getattr(components, "ALL", ())
    given = {line.name: line.text for line in told}

    def further(rule: Rule) -> Rule:
        def found(answers: Answers) -> Iterator[str]:
            before = set(rule(registry().answers(given)))
            yield from (sentence for sentence in rule(answers) if sentence not in before)

        return found if told else rule

    def unread(answers: Answers) -> Iterator[str]:
        read = {key.name for room in known if room.enabled(answers) for key in room.keys}
        yield from (key.name for room in known for key in room.keys if key.name not in read)

    contradictions = [further(c.validate) for c in known]
    return Rules(contradictions, [further(c.remarks) for c in known], [unread])


def _pair(text: str) -> AnswerLine:
    name, found, value = text.partition("=")
    if not found:
        raise BadAnswers(
            f"--set {text} has no '='",
            cure="write --set KEY=VALUE, such as --set CONFIG_DEBUG_MODE=y",
        )
    return AnswerLine(name.strip().upper(), value.strip(), "--set")


def keep(cloud: Cloud, wanted: ResolvedAnswers) -> str:
    """The text of ``ROOT/etc/answers.txt``."""
    return packstack_file.given_text(
        wanted.registry,
        wanted.answers.given,
        (
            f"The answers that the cloud {cloud.name!r} was made with; the next `onestack up`",
            "begins from them. Made by onestack: use --set or --answer-file to change one.",
        ),
    )
