"""``docs/conformance.md``: what of Tempest passes, and why the rest is not tried.

Two parts of the page are made here, each between two marks: the lists of this program, and what
runs came to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from onestack.components.tempest import selection, skips
from onestack.components.tempest.inside.results import FAILED, PASSED, SKIPPED, Results
from onestack.components.tempest.skips import NEW

LISTS, RUNS = "lists", "runs"
OUTCOMES = (PASSED, FAILED, SKIPPED)


def put(page: str, part: str, content: str) -> str:
    """The page with the ``content`` between the marks of the ``part``. Raises `ValueError`."""
    begin, end = f"<!-- {part}: made by bench/conformance -->\n", f"<!-- end of {part} -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no part {part!r}: {begin.strip()} … {end}")
    return f"{head}{begin}\n{content}\n{end}{tail}"


def lists() -> str:
    """Both lists, as tables."""
    left_out = _table(
        ("tests", "why they are left out"),
        [(_code(what), why) for what, why in selection.left_out().items()],
    )
    listed = _table(
        ("what a test, or its reason, says", "why it is skipped"),
        [(_code(what), why) for what, why in skips.listed().items()],
    )
    return f"{left_out}\n\n{listed}\n"


def runs(taken: Mapping[str, Results]) -> str:
    """What each run came to, by suites, and how many it skipped for which reason."""
    parts = []
    for name, found in taken.items():
        with_ = found.taken_with
        title = (
            f"**{name}**, {found.at[:10]}: `{with_.get('tests', '')}` in {found.seconds / 60:.0f} "
            f"minutes; {with_.get('release', '')}, {with_.get('tempest', '')}"
        )
        parts += [title, _suites(found)]
    parts.append(_reasons(taken))
    failed = [(name, test) for name, found in taken.items() for test in found.of(FAILED)]
    if failed:
        rows = [(name, _code(t.short), t.first_line[:200]) for name, t in failed]
        parts.append(_table(("run", "failed", "because"), rows))
    return "\n\n".join(parts) + "\n"


def suite(test: str) -> str:
    """``tempest.api.compute``, or a plugin's name: of a class that could not be prepared, too."""
    place = re.sub(r"^\w+ \(|\)$", "", test)
    parts = place.split(".")
    return ".".join(parts[:3]) if parts[:2] == ["tempest", "api"] else _kind(parts)


def _kind(parts: list[str]) -> str:
    if parts[0] == "tempest":
        return ".".join(parts[:2])
    known = [part for part in parts if part in ("api", "functional", "rbac", "scenario")]
    return f"{parts[0]} ({known[0]})" if known else parts[0]


def _suites(found: Results) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    for test in found.tests:
        counts[suite(test.name), test.outcome] += 1
    for name in found.left_out:
        counts[suite(name), "left out"] += 1
    columns = (*OUTCOMES, "left out")
    names = sorted({name for name, _ in counts})
    rows = [(name, *(str(counts[name, column]) for column in columns)) for name in names]
    totals = [str(sum(counts[name, column] for name in names)) for column in columns]
    return _table(("suite", *columns), [*rows, ("all", *totals)])


def _reasons(taken: Mapping[str, Results]) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    for name, found in taken.items():
        for group in skips.grouped(found.of(SKIPPED)):
            counts[name, group.sentence] += group.count
    sentences = sorted(
        {sentence for _, sentence in counts},
        key=lambda s: (not s.startswith(NEW), -sum(counts[name, s] for name in taken), s),
    )
    rows = [(_cell(s), *(str(counts[name, s]) for name in taken)) for s in sentences]
    return _table(("skipped because", *taken), rows)


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"`{_cell(text)}`"
