"""``docs/known-errors.md``: what lines of the logs most likely mean, from the declarations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onestack.model.component import Component
from onestack.model.declarations import KnownError

HEAD = """# Known errors

<!-- Made by `./onestack doctor --markdown`; a test holds that it is current. -->

What `onestack doctor`, and a run that fails, say of lines in the cloud's logs, component by
component. A pattern is a regular expression of Python's. `{root}`, `{data}` and `{log}` are the
cloud's places, `{public}` and `{internal}` its addresses; a key in braces is what was answered.
"""


def text(components: Iterable[Component]) -> str:
    return HEAD + "".join(
        f"\n## {component.title or component.name}\n\n" + "".join(map(_entry, known))
        for component in components
        if (known := tuple(of(component)))
    )


def of(component: Component) -> Iterator[KnownError]:
    """Its own, and those of its features."""
    yield from component.known_errors
    for feature in component.features:
        yield from feature.known_errors


def _entry(known: KnownError) -> str:
    everywhere = " (in any log)" if known.everywhere else ""
    cure = f"  \n  {_sentence(known.cure)}" if known.cure else ""
    return f"- `` {known.pattern} ``{everywhere}  \n  {_sentence(known.cause)}{cure}\n"


def _sentence(said: str) -> str:
    # A name that begins a sentence, such as a setting's, keeps its spelling.
    return f"{said[:1].upper()}{said[1:]}."
