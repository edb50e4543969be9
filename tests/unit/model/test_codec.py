"""Plain values of dataclasses, and what is refused when they are read."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from onestack.model.codec import Malformed, from_plain, to_plain


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Apple:
    kind: ClassVar[str] = "apple"
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Pear:
    kind: ClassVar[str] = "pear"
    weight: float = 0.5


@dataclass(frozen=True)
class Bowl:
    name: str
    fruit: Apple | Pear | None = None
    more: tuple[Apple | Pear, ...] = ()
    words: dict[str, tuple[int, ...]] = field(default_factory=dict)
    anything: Any = None
    count: int | None = None


FULL = Bowl("b", Apple(), (Pear(2.0), Apple()), {"x": (1, 2)}, {"deep": [None]}, 3)


@pytest.mark.parametrize("bowl", [FULL, Bowl("b")])
def test_there_and_back(bowl: Bowl) -> None:
    assert from_plain(Bowl, to_plain(bowl)) == bowl


def test_the_plain_form() -> None:
    assert to_plain(FULL) == {
        "name": "b",
        "fruit": {"kind": "apple", "colour": "red"},
        "more": [{"kind": "pear", "weight": 2.0}, {"kind": "apple", "colour": "red"}],
        "words": {"x": [1, 2]},
        "anything": {"deep": [None]},
        "count": 3,
    }


def test_whole_numbers_are_read_as_others() -> None:
    assert from_plain(Pear, {"weight": 2}) == Pear(2.0)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ([], r"Bowl: \[\] is not dict"),
        ({}, "Bowl: .* missing .* 'name'"),
        ({"name": None}, "Bowl.name: None is not str"),
        ({"name": "b", "size": 1}, "Bowl has no field size"),
        ({"name": "b", "fruit": {"kind": "plum"}}, "Bowl.fruit: there is no kind 'plum'"),
        ({"name": "b", "fruit": {"kind": "pear", "colour": "red"}}, "has no field colour"),
        ({"name": "b", "fruit": {"kind": "apple", "colour": "blue"}}, "no Colour 'blue'"),
        ({"name": "b", "more": [{"kind": "pear", "weight": "x"}]}, r"more\[0\].weight: 'x' is not"),
        ({"name": "b", "words": {"x": [True]}}, r"Bowl.words.x\[0\]: True is not int"),
        ({"name": "b", "fruit": {"kind": "pear", "weight": 10**400}}, "weight: .* too large"),
        ({"name": "b", "count": "3"}, "Bowl.count: '3' is not int"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(raw: Any, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        from_plain(Bowl, raw)
