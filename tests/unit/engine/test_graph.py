"""Which steps may run, and wrong graphs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onestack.engine.graph import Graph, GraphError
from onestack.engine.step import Step
from onestack.model.change import Change


def nothing() -> Iterator[Change]:
    return iter(())


def step(name: str, *needs: str) -> Step:
    return Step(name, name, nothing, needs)


def names(steps: list[Step]) -> set[str]:
    return {s.name for s in steps}


def test_steps_come_as_their_needs_are_met() -> None:
    graph = Graph([step("c", "a", "b"), step("a"), step("b"), step("d", "c")])
    assert names(graph.ready()) == {"a", "b"}
    graph.met("a")
    assert graph.ready() == []
    graph.met("b")
    assert names(graph.ready()) == {"c"}
    graph.met("c")
    assert names(graph.ready()) == {"d"}


def test_needs_of_an_earlier_graph_count_as_met() -> None:
    graph = Graph([step("b", "a")], done=["a"])
    assert names(graph.ready()) == {"b"}


def test_an_unknown_need_is_a_mistake() -> None:
    with pytest.raises(GraphError, match="step 'a' needs 'b', which there is not"):
        Graph([step("a", "b")])


def test_a_circle_is_a_mistake() -> None:
    with pytest.raises(GraphError, match="steps need each other: "):
        Graph([step("a", "b"), step("b", "c"), step("c", "a")])


def test_a_step_twice_is_a_mistake() -> None:
    with pytest.raises(GraphError, match="two steps 'a'"):
        Graph([step("a"), step("a")])
    with pytest.raises(GraphError, match="two steps 'a'"):
        Graph([step("a")], done=["a"])


def test_above_is_near_and_far() -> None:
    graph = Graph([step("a"), step("b", "a"), step("c", "b"), step("d")])
    assert graph.above("c") == {"a", "b"}
    assert graph.above("d") == set()
