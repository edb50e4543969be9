"""``docs/answers.md``: every key with its class, default and meaning, from the declarations."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from onestack.answers import stock, table
from onestack.answers.registry import Registry
from onestack.model.key import Class, Key, Kind

HEAD = """# Answers

<!-- Made by `./onestack answers --markdown`; a test holds that it is current. -->

What can be asked for, key by key. Keys are packstack's, from Havana to its last
release, and a few of onestack's own. They are given in an answer file
(`--answer-file`, as packstack's: one section `[general]`, `KEY=value` lines), with
`--set KEY=VALUE`, or by packstack's options. What is not given has its default;
`onestack answers` shows what is in force. A file that names several machines is taken: this
one, which must be the controller, does the work of all, and the others are told. Names of hosts
are resolved.

Each key ends in exactly one class:

| class | means | keys |
|---|---|---|
"""
TWO_KINDS = """
## The two kinds of defaults

`onestack up` makes a lean cloud. `./packstack` has packstack's own defaults, those of
its last release or, with `--release mitaka`, of the one that the guide was written for:
a file that `--gen-answer-file` makes has them (`examples/notes.answers` is one of Mitaka's, with
the guide's edits). Those in bold also count where a file for
`--answer-file` lacks the key; the others follow from the rest of such a file.
`onestack up --defaults latest` (or `mitaka`) has them too.

| key | `onestack up` | `packstack` | `packstack --release mitaka` |
|---|---|---|---|
"""
MEANINGS = {
    Class.IMPLEMENTED: "does what it says",
    Class.MAPPED: "its counterpart here is said",
    Class.IGNORED: "accepted without effect; what it would have done is said",
    Class.REFUSED: "a value other than the default is refused, with the reason",
}
VALUES = {
    Kind.FLAG: "y or n",
    Kind.NUMBER: "a number",
    Kind.RATIO: "a number",
    Kind.SIZE: "a size",
    Kind.ADDRESS: "an IP address",
    Kind.INTERFACE: "an address with prefix length",
    Kind.LIST: "a list",
    Kind.PATH: "a file",
    Kind.SECRET: "a secret",
}


def text(known: Registry) -> str:
    rows = table.rows()
    ours = [key for group in known.groups for key in group.keys]
    counts = collections.Counter(known.keys[name].outcome for name in rows)
    own = [key.name for key in ours if key.name not in rows]
    begin = "CONFIG_ONESTACK_"
    others = ", ".join(f"`{name}`" for name in own if not name.startswith(begin))
    parts = [HEAD + "".join(_counts(counts))]
    parts.append(
        f"\n{len(rows)} keys of packstack's, and {len(own)} of onestack's own, which begin with "
        f"`{begin}` (all but\n{others}). packstack's words `PW_PLACEHOLDER` (a random\n"
        "password, made once), `%{::processorcount}`, `%{::hostname}`, `%{::fqdn}` and\n"
        "`%{::default_hypervisor}` are understood.\n"
    )
    parts += _defaults(known)
    for group in known.groups:
        parts.append(f"\n## {group.title}\n\n")
        parts.extend(_entry(key) for key in group.keys)
    older = [name for name in sorted(rows) if name not in {key.name for key in ours}]
    parts.append("\n## Older names\n\n| name | |\n|---|---|\n")
    for name in older:
        target = known.targets.get(name)
        key = known.keys[name]
        says = f"is `{target}` today" if target else f"{key.outcome.value}: {_cell(key.note)}"
        if target == "CONFIG_CONTROLLER_HOST":
            says = f"{key.outcome.value}: {_cell(key.note)}"
        parts.append(f"| `{name}` | {says} |\n")
    return "".join(parts).rstrip()


def _defaults(known: Registry) -> Iterator[str]:
    """The keys whose default is another one with packstack's command line."""
    listed = [key for group in known.groups for key in group.keys]
    yield TWO_KINDS
    machine = stock.Machine("(this machine's)", "(its name)")
    put = {line.name for r in table.RELEASES for line in stock.missing(known, r, ())}
    for key in listed:
        latest, mitaka = (stock.default(key, r, machine) for r in ("latest", "mitaka"))
        if {latest, mitaka} != {key.default}:
            name = f"**`{key.name}`**" if key.name in put else f"`{key.name}`"
            yield f"| {name} | {_value(key.default)} | {_value(latest)} | {_value(mitaka)} |\n"
    yield "\nWhere packstack's would serve nobody here, onestack's stays:\n\n"
    yield "| key | because |\n|---|---|\n"
    for name, reason in {**stock.KEPT, **stock.KEPT_IN_LATEST}.items():
        where = " (latest only)" if name in stock.KEPT_IN_LATEST else ""
        yield f"| `{name}`{where} | {_cell(reason)} |\n"


def _value(text: str) -> str:
    return f"`{text}`" if text else "nothing"


def _counts(counts: collections.Counter[Class]) -> Iterator[str]:
    for outcome, meaning in MEANINGS.items():
        yield f"| {outcome.value} | {meaning} | {counts[outcome]} |\n"


def _entry(key: Key) -> str:
    values = " or ".join(f"`{c}`" if c else "nothing" for c in key.choices)
    values = values or VALUES.get(key.kind, "")
    default = f"`{key.default}`" if key.default else "nothing"
    facts = ", ".join(
        part
        for part in (
            key.outcome.value if key.outcome is not Class.IMPLEMENTED else "",
            values,
            f"default {default}",
        )
        if part
    )
    note = f" {_sentence(key.note)}" if key.note else ""
    return f"- **`{key.name}`** ({facts}): {_sentence(key.help)}{note}\n"


def _sentence(text: str) -> str:
    text = _cell(text.strip())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
