"""Show the answers in force, check some, or write them to a file with all comments."""

from __future__ import annotations

import argparse
import secrets as randomness
from collections.abc import Iterator, Mapping
from pathlib import Path

from onestack.answers import packstack_file, stock
from onestack.answers.hosts import CONTROLLER
from onestack.answers.registry import registry
from onestack.answers.values import PLACEHOLDER, Answers
from onestack.cli import output
from onestack.cli.options import (
    KEPT,
    ResolvedAnswers,
    answer_options,
    cloud_of,
    cloud_options,
    json_option,
    resolve_answers,
)
from onestack.host.facts import route_address
from onestack.model.cloud import Cloud
from onestack.model.key import Class


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    answer_options(parser)
    json_option(parser)
    parser.add_argument("--all", action="store_true", help="show packstack's other keys too")
    parser.add_argument("--check", action="store_true", help="only say what is wrong")
    parser.add_argument(
        "--markdown", action="store_true", help="print docs/answers.md: every key, its class"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="write an answer file with every key (values and comments that FILE has are kept)",
    )
    parser.add_argument(
        "--passwords",
        action="store_true",
        help="with --write: a random password for each key that would get one with the cloud",
    )


def run(args: argparse.Namespace) -> int:
    if args.markdown:
        from onestack.answers import document

        output.say(document.text(registry()))
        return 0
    if args.write and not args.answer_file and packstack_file.is_there(args.write):
        args.answer_file = args.write
    cloud = cloud_of(args)
    wanted = resolve_answers(cloud, args)
    if args.write:
        texts = values(cloud, wanted, args.defaults, args.passwords)
        write(args.write, wanted, texts, args.defaults)
        output.say(f"{args.write}: {len(wanted.registry.keys)} keys, readable by its owner only")
    elif args.check:
        for notice in wanted.notices:
            output.say(notice)
        output.say("the answers can be used")
    else:
        show(wanted, args.all, args.json)
    return 0


def values(
    cloud: Cloud, wanted: ResolvedAnswers, release: str | None, passwords: bool
) -> dict[str, str]:
    """What a whole answer file says of each key."""
    given, found = wanted.answers.given, dict[str, str]()
    machine = stock.Machine.this(given.get(CONTROLLER) or route_address())
    for key in (key for group in wanted.registry.groups for key in group.keys):
        text = given.get(key.name)
        if text is None:
            text = stock.default(key, release, machine) if release else key.default
        found[key.name] = text
    # A cloud that is there has its passwords.
    if passwords and not packstack_file.is_there(cloud.etc / KEPT):
        found.update(new_passwords(wanted, found))
    return found


def new_passwords(wanted: ResolvedAnswers, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A password each, as packstack made them: the one of all, or sixteen random digits.

    What wants to be of another kind stays as it is: the cloud makes its own.
    """
    default = str(wanted.answers["CONFIG_DEFAULT_PASSWORD"])
    for secret in wanted.registry.secrets.values():
        if texts.get(secret.key) == PLACEHOLDER:
            made = (default if secret.password else "") or randomness.token_hex(8)
            check = wanted.registry.keys[secret.key].check
            if secret.password or not (check and check(made)):
                yield secret.key, made


def write(
    path: Path, wanted: ResolvedAnswers, texts: Mapping[str, str], release: str | None
) -> None:
    """A whole answer file; one that exists keeps its own lines, and gets what it lacks."""
    given = wanted.answers.given
    listed = {key.name: key for group in wanted.registry.groups for key in group.keys}

    def gone(name: str) -> bool:
        return release is not None and name not in given and stock.gone(listed[name], release)

    def block(name: str) -> str:
        return packstack_file.block(listed[name], texts[name], gone(name))

    if not packstack_file.is_there(path):
        packstack_file.save(path, packstack_file.full_text(wanted.registry, block))
        return
    file = packstack_file.read(path)
    there = {wanted.registry.targets.get(entry.name, entry.name) for entry in file.entries}
    # Lines that stand under an older name, or say no more than the default, stay as they are.
    changed = {
        name: text
        for name, text in texts.items()
        if name in given or not (name in there or gone(name))
    }
    packstack_file.save(path, file.updated(changed, block))


def show(wanted: ResolvedAnswers, everything: bool, as_json: bool) -> None:
    answers = wanted.answers
    names = [
        key.name
        for group in wanted.registry.groups
        for key in group.keys
        if everything or key.outcome is Class.IMPLEMENTED or answers.is_given(key.name)
    ]
    if as_json:
        output.as_json(
            {
                name: {"value": answers.shown(name), "given": answers.is_given(name)}
                for name in names
            }
        )
        return
    output.table(
        ("KEY", "VALUE", ""),
        [(name, answers.shown(name), origin(answers, name)) for name in names],
    )
    for notice in wanted.notices:
        output.note(f"note: {notice}")


def origin(answers: Answers, name: str) -> str:
    if answers.is_implied(name):
        return "implied"
    return "given" if answers.is_given(name) else "default"
