"""From what was written to `Answers`, with every problem found at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from onestack.answers import stock
from onestack.answers.hosts import CONTROLLER, OtherHosts, settle
from onestack.answers.packstack_file import AnswerFile, AnswerLine
from onestack.answers.registry import Registry
from onestack.answers.values import Answers, BadValue, means_default, parse
from onestack.model.errors import BadAnswers
from onestack.model.key import Class, Key, Kind

Rule = Callable[[Answers], Iterable[str]]
"""Looks at valid answers and yields contradictions, each as a sentence."""

_PLUGIN = "CONFIG_NEUTRON_L2_PLUGIN"
_OF_PLUGIN = (
    "CONFIG_NEUTRON_OVS_TENANT_NETWORK_TYPE",
    "CONFIG_NEUTRON_OVS_VLAN_RANGES",
    "CONFIG_NEUTRON_OVS_TUNNEL_RANGES",
)
"""Read only where `_PLUGIN` is openvswitch, and then instead of those of ML2."""
_REMARK = re.compile(r"\s[#;]")


@dataclass(frozen=True)
class Rules:
    """What components know about answers, each function from all of them to sentences."""

    contradictions: Sequence[Rule] = ()
    remarks: Sequence[Rule] = ()
    """What counts for nothing."""
    unread: Sequence[Rule] = ()
    """Names of keys, not sentences: those of components that are off."""


@dataclass
class Problems:
    """``problems`` stop a run; ``notices`` are said once and do not."""

    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    swallowed: list[str] = field(default_factory=list)
    """Secrets with a remark in them: a notice, which is told beside problems too."""
    others: list[OtherHosts] = field(default_factory=list)
    """Told as notices once it is known which services are on."""


def check(
    registry: Registry,
    layers: Iterable[Iterable[AnswerLine]],
    rules: Rules | None = None,
) -> tuple[Answers | None, Problems]:
    """Merge ``layers`` (later ones win) and check all of it.

    Within one layer a key may stand twice only with one value. The answers
    are ``None`` when there are problems.
    """
    rules = rules or Rules()
    report = Problems()
    merged = _merged(registry, layers, report)
    given: dict[str, str] = {}
    bad: dict[str, str] = {}
    for name, entry in merged.items():
        try:
            value = parse(registry.keys[name], entry.text)
        except BadValue as wrong:
            bad[name] = f"{entry.where}: {name}={_shown(registry.keys[name], entry)}: {wrong}"
            report.problems.append(bad[name])
        else:
            given[name] = entry.text
            _note_fate(registry.keys[name], value, entry, report)
    answers = Answers(registry.keys, given)
    # What is wrong with a service that is off is no reason to refuse the others.
    unread = {name for each in rules.unread for name in each(answers)}
    for name in [name for name in bad if name in unread]:
        # Not of a switch itself: then nobody knows what is off.
        if registry.keys[name].kind is not Kind.FLAG:
            report.problems.remove(bad[name])
            report.notices.append(f"{name} counts for nothing, for its service is off: {bad[name]}")
    report.notices += [other.notice(answers) for other in report.others] + report.swallowed
    if report.problems:
        return None, report
    for rule in rules.contradictions:
        report.problems += rule(answers)
    if not report.problems:
        report.notices += [remark for rule in rules.remarks for remark in rule(answers)]
    return (None if report.problems else answers), report


def _note_fate(key: Key, value: Any, entry: AnswerLine, report: Problems) -> None:
    """What becomes of a key that does not do what packstack's did."""
    if key.outcome is Class.IMPLEMENTED or value == parse(key, key.default):
        return
    if key.outcome is Class.REFUSED:
        report.problems.append(
            f"{entry.where}: {key.name}={_shown(key, entry)} is refused: {key.note}"
        )
    elif entry.text not in stock.own(key.name):
        lead = f"{key.name} has no effect" if key.outcome is Class.IGNORED else key.name
        report.notices.append(f"{lead}: {key.note}")


def read(
    registry: Registry,
    layers: Iterable[Iterable[AnswerLine]],
    files: Iterable[AnswerFile] = (),
    rules: Rules | None = None,
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
            "\n".join([*problems, *report.swallowed]),
            "mend the lines above and run the same command again; nothing was changed",
        )
    return answers, report.notices


def _merged(
    registry: Registry, layers: Iterable[Iterable[AnswerLine]], report: Problems
) -> dict[str, AnswerLine]:
    """The entries of all layers. Hosts are settled once, over all: an option may name one of
    a cloud whose controller the file before it names."""
    merged: dict[str, AnswerLine] = {}
    hosts: list[Sequence[AnswerLine]] = []
    for layer in layers:
        found, named = _one_layer(registry, tuple(layer), report)
        merged.update(found)
        hosts.append(named)
    settled = settle(hosts)
    report.problems += settled.problems
    report.others += settled.others
    if settled.controller:
        merged[CONTROLLER] = settled.controller
    return merged


def _one_layer(
    registry: Registry, layer: Sequence[AnswerLine], report: Problems
) -> tuple[dict[str, AnswerLine], Sequence[AnswerLine]]:
    """Entries by today's names, and those that name hosts.

    Unknown names and disagreements become problems.
    """
    found: dict[str, AnswerLine] = {}
    named: list[AnswerLine] = []
    unread = _unread_names(registry, layer)
    for entry in layer:
        name = registry.targets.get(entry.name, entry.name)
        if name not in registry.keys:
            nearest = registry.nearest(entry.name)
            hint = f"; did you mean {nearest}?" if nearest else ""
            report.problems.append(f"{entry.where}: {entry.name} is not a known key{hint}")
            continue
        if means_default(entry.text) or _has_remark(registry.keys[name], entry, report):
            continue
        # An older name that says nothing must not undo what today's name says.
        if name != entry.name and entry.text in ("", _default(registry, entry.name)):
            continue
        if name == CONTROLLER:
            named.append(entry)
        elif entry.name in unread:
            report.notices.append(f"{entry.name} counts for nothing beside {unread[entry.name]}")
        else:
            _take(found, name, entry, report)
    return found, named


def _default(registry: Registry, name: str) -> str:
    return registry.keys[name].default if name in registry.keys else ""


def _take(found: dict[str, AnswerLine], name: str, entry: AnswerLine, report: Problems) -> None:
    if name != entry.name:
        report.notices.append(f"{entry.name} is an older name of {name}")
    before = found.get(name)
    if before and before.text != entry.text:
        who = "" if before.name == entry.name == name else f" (as {before.name})"
        report.problems.append(
            f"{entry.where}: {entry.name} contradicts {before.where}{who}: "
            "the two give different values"
        )
        return
    if before and before.name == entry.name:
        report.notices.append(f"{entry.name} stands twice: {before.where} and {entry.where}")
    found[name] = entry


def _unread_names(registry: Registry, layer: Sequence[AnswerLine]) -> dict[str, str]:
    """Names that packstack passed over, and the one that it read in their place.

    Where today's name is written, even with nothing behind it, it read no older one.
    """
    written = {entry.name: entry.text for entry in layer}
    found = {}
    for old in written:
        name = registry.targets.get(old, old)
        if name in (old, CONTROLLER) or name not in written:
            continue
        if old in _OF_PLUGIN and written.get(_PLUGIN, "").lower() == "openvswitch":
            found[name] = f"{old}, as {_PLUGIN} has it"
        else:
            found[old] = name
    return found


def _has_remark(key: Key, entry: AnswerLine, report: Problems) -> bool:
    """Whether a value goes on with what looks like a remark; a secret may."""
    if not _REMARK.search(entry.text):
        return False
    if key.kind is Kind.SECRET:
        report.swallowed.append(
            f"{entry.where}: all that stands behind {entry.name}= is the secret, also what follows "
            "the blank: a remark cannot stand behind a value"
        )
        return False
    report.problems.append(
        f"{entry.where}: {entry.name}={entry.text}: a remark cannot stand behind a value; give it "
        "a line of its own, or take it away"
    )
    return True


def _shown(key: Key, entry: AnswerLine) -> str:
    return "********" if key.kind.value == "secret" else entry.text
