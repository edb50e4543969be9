"""From what was written to `Answers`, with every problem found at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from onestack.answers.packstack_file import AnswerFile, AnswerLine
from onestack.answers.registry import Registry
from onestack.answers.values import Answers, BadValue, means_default, parse
from onestack.model.errors import BadAnswers
from onestack.model.key import Class, Key

HOST = "CONFIG_CONTROLLER_HOST"
"""What all of packstack's names of hosts come to."""

Rule = Callable[[Answers], Iterable[str]]
"""Looks at valid answers and yields contradictions, each as a sentence."""


@dataclass
class Problems:
    """``problems`` stop a run; ``notices`` are said once and do not."""

    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def check(
    registry: Registry,
    layers: Iterable[Iterable[AnswerLine]],
    rules: Iterable[Rule] = (),
) -> tuple[Answers | None, Problems]:
    """Merge ``layers`` (later ones win) and check all of it.

    Within one layer a key may stand twice only with one value. The answers
    are ``None`` when there are problems.
    """
    report = Problems()
    merged: dict[str, AnswerLine] = {}
    for layer in layers:
        merged.update(_one_layer(registry, layer, report))
    given: dict[str, str] = {}
    for name, entry in merged.items():
        key = registry.keys[name]
        given[name] = entry.text
        try:
            value = parse(key, entry.text)
        except BadValue as wrong:
            report.problems.append(f"{entry.where}: {name}={_shown(key, entry)}: {wrong}")
            continue
        if key.outcome is Class.IMPLEMENTED or value == parse(key, key.default):
            continue
        if key.outcome is Class.REFUSED:
            report.problems.append(
                f"{entry.where}: {name}={_shown(key, entry)} is refused: {key.note}"
            )
        elif key.outcome is Class.IGNORED:
            report.notices.append(f"{name} has no effect: {key.note}")
        else:
            report.notices.append(f"{name}: {key.note}")
    if report.problems:
        return None, report
    answers = Answers(registry.keys, given)
    for rule in rules:
        report.problems += rule(answers)
    return (None if report.problems else answers), report


def read(
    registry: Registry,
    layers: Iterable[Iterable[AnswerLine]],
    files: Iterable[AnswerFile] = (),
    rules: Iterable[Rule] = (),
) -> tuple[Answers, list[str]]:
    """As `check`, with the unreadable lines of ``files``; returns answers and notices.

    Raises `BadAnswers` with all problems.
    """
    answers, report = check(registry, layers, rules)
    problems = [fault for file in files for fault in file.faults] + report.problems
    if answers is None or problems:
        raise BadAnswers(
            "the answers cannot be used"
            + (f" ({len(problems)} problems)" if len(problems) > 1 else ""),
            "\n".join(problems),
            "mend the lines above and run the same command again; nothing was changed",
        )
    return answers, report.notices


def _one_layer(
    registry: Registry, layer: Iterable[AnswerLine], report: Problems
) -> dict[str, AnswerLine]:
    """Entries by today's names; unknown names and disagreements become problems."""
    found: dict[str, AnswerLine] = {}
    for entry in layer:
        name = registry.targets.get(entry.name, entry.name)
        if name not in registry.keys:
            nearest = registry.nearest(entry.name)
            hint = f"; did you mean {nearest}?" if nearest else ""
            report.problems.append(f"{entry.where}: {entry.name} is not a known key{hint}")
            continue
        if means_default(entry.text):
            continue
        if name != entry.name:
            # An older name that says nothing must not undo what today's name says.
            old = registry.keys.get(entry.name)
            if entry.text in ("", old.default if old else ""):
                continue
            if "," in entry.text and name == HOST:
                report.problems.append(
                    f"{entry.where}: {entry.name}={entry.text} is refused: onestack makes a cloud "
                    "on one machine, to which no other can be joined yet; name only this one"
                )
                continue
            if name != HOST:
                report.notices.append(f"{entry.name} is an older name of {name}")
        before = found.get(name)
        if before and before.name == entry.name and before.text == entry.text:
            report.notices.append(f"{entry.name} stands twice: {before.where} and {entry.where}")
        if before and before.text != entry.text:
            who = "" if before.name == entry.name == name else f" (as {before.name})"
            report.problems.append(
                f"{entry.where}: {entry.name} contradicts {before.where}{who}: "
                + (
                    "all hosts must be this one machine; another cannot be joined yet"
                    if name == HOST and before.name != entry.name
                    else "the two give different values"
                )
            )
            continue
        found[name] = entry
    return found


def _shown(key: Key, entry: AnswerLine) -> str:
    return "********" if key.kind.value == "secret" else entry.text
