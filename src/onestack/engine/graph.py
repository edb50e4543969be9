"""Which steps may run now. Wrong graphs are mistakes of ours: `GraphError`, at once."""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterable

from onestack.engine.step import Step


class GraphError(Exception):
    """A step twice, a need that no step has, or a circle."""


class Graph:
    """Steps and their needs; ``done`` are names of steps that ran before."""

    def __init__(self, steps: Iterable[Step], done: Collection[str] = ()) -> None:
        self.steps: dict[str, Step] = {}
        for step in steps:
            if step.name in self.steps or step.name in done:
                raise GraphError(f"there are two steps {step.name!r}")
            self.steps[step.name] = step
        for step in self.steps.values():
            for need in step.needs:
                if need not in self.steps and need not in done:
                    raise GraphError(f"step {step.name!r} needs {need!r}, which there is not")
        self._sorter = graphlib.TopologicalSorter(
            {s.name: [n for n in s.needs if n in self.steps] for s in self.steps.values()}
        )
        try:
            self._sorter.prepare()
        except graphlib.CycleError as error:
            raise GraphError(f"steps need each other: {' <- '.join(error.args[1])}") from error

    def ready(self) -> list[Step]:
        """Steps whose needs have just all been met; each is given once."""
        return [self.steps[name] for name in self._sorter.get_ready()]

    def met(self, name: str) -> None:
        """``name`` has ended well."""
        self._sorter.done(name)

    def above(self, name: str) -> set[str]:
        """All steps that ``name`` depends on, near and far."""
        found: set[str] = set()
        todo = list(self.steps[name].needs)
        while todo:
            need = todo.pop()
            if need not in found:
                found.add(need)
                todo += self.steps[need].needs if need in self.steps else ()
        return found
