"""What a host may be called."""

from __future__ import annotations

import pytest

from onestack.cluster.names import host_name, normal
from onestack.model.errors import BadAnswers


@pytest.mark.parametrize(
    ("given", "name"),
    [("web1", "web1"), ("WEB1.", "web1"), (" web1\n", "web1"), ("a.b-c.example", "a.b-c.example")],
)
def test_names_are_told_apart_without_capitals_and_dots(given: str, name: str) -> None:
    assert host_name(given) == name


@pytest.mark.parametrize(
    "given",
    [
        *("", ".", "-a", "a-", "a..b", "a_b", "a b", "käse", "192.0.2.1", "12", "a" * 65),
        *("x" * 64 + ".", "a/../b", "a\nb", "web1..", "\u212aelvin", "*"),
    ],
)
def test_what_is_no_name(given: str) -> None:
    if given == "x" * 64 + ".":
        given = "x" * 63 + ".yy"  # one character too many, each part short enough
    with pytest.raises(BadAnswers):
        host_name(given)


@pytest.mark.parametrize("given", ["cluster", "Door", "ALL", "localhost", "localhost.localdomain"])
def test_words_of_our_own_are_no_names(given: str) -> None:
    with pytest.raises(BadAnswers, match="no host may be called"):
        host_name(given)


def test_names_of_others_are_compared_whatever_they_are() -> None:
    assert normal("Controller_1.") == "controller_1"
