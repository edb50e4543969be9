"""Show the answers in force, check some, or write them to a file with all comments."""

from __future__ import annotations

import argparse
from pathlib import Path

from onestack.answers import packstack_file
from onestack.answers.registry import registry
from onestack.cli import output
from onestack.cli.options import (
    ResolvedAnswers,
    answer_options,
    cloud_of,
    cloud_options,
    json_option,
    resolve_answers,
)
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


def run(args: argparse.Namespace) -> int:
    if args.markdown:
        from onestack.answers import document

        output.say(document.text(registry()))
        return 0
    if args.write and not args.answer_file and packstack_file.is_there(args.write):
        args.answer_file = args.write
    wanted = resolve_answers(cloud_of(args), args)
    if args.write:
        write(args.write, wanted)
        output.say(f"{args.write}: {len(wanted.registry.keys)} keys, readable by its owner only")
    elif args.check:
        for notice in wanted.notices:
            output.say(notice)
        output.say("the answers can be used")
    else:
        show(wanted, args.all, args.json)
    return 0


def write(path: Path, wanted: ResolvedAnswers) -> None:
    """A whole answer file; one that exists keeps its own lines, and gets what it lacks."""
    given = wanted.answers.given
    if not packstack_file.is_there(path):
        packstack_file.save(path, packstack_file.full_text(wanted.registry, given))
        return
    listed = [key for group in wanted.registry.groups for key in group.keys]
    file = packstack_file.read(path)
    there = {wanted.registry.targets.get(entry.name, entry.name) for entry in file.entries}
    values = {key.name: given.get(key.name, key.default) for key in listed}
    # Lines that stand under an older name, or say no more than the default, stay as they are.
    changed = {name: text for name, text in values.items() if name in given or name not in there}
    text = file.updated(
        changed, lambda name: packstack_file.block(wanted.registry.keys[name], values[name])
    )
    packstack_file.save(path, text)


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
        [(n, answers.shown(n), "given" if answers.is_given(n) else "default") for n in names],
    )
    for notice in wanted.notices:
        output.note(f"note: {notice}")
