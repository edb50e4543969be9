"""Typed values: what a text of an answer file comes to."""

from __future__ import annotations

import os
import socket

import pytest

from onestack.answers.values import (
    Answers,
    BadValue,
    parse,
    show_size,
    size,
    too_small,
)
from onestack.model.key import Key, Kind


def key(kind: Kind, default: str = "", *choices: str) -> Key:
    return Key("CONFIG_X", default, "", kind, choices)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.FLAG, "y", True),
        (Kind.FLAG, "N", False),
        (Kind.NUMBER, "-1", -1),
        (Kind.RATIO, "1.5", 1.5),
        (Kind.SIZE, "20G", 20 << 30),
        (Kind.SIZE, "512M", 512 << 20),
        (Kind.SIZE, "1TiB", 1 << 40),
        (Kind.SIZE, "7", 7),
        (Kind.ADDRESS, "192.0.2.1", "192.0.2.1"),
        (Kind.INTERFACE, "10.50.14.1/24", "10.50.14.1/24"),
        (Kind.LIST, "a, b,,c ", ("a", "b", "c")),
        (Kind.LIST, "", ()),
        (Kind.TEXT, " a b ", "a b"),
        (Kind.SECRET, "PW_PLACEHOLDER", ""),
        (Kind.NUMBER, "%{::processorcount}", len(os.sched_getaffinity(0))),
        (Kind.TEXT, "%{::default_hypervisor}", ""),
        (Kind.TEXT, "api-%{hostname}", f"api-{socket.gethostname().partition('.')[0]}"),
    ],
)
def test_value(kind: Kind, text: str, value: object) -> None:
    assert parse(key(kind), text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.FLAG, "maybe"),
        (Kind.NUMBER, "two"),
        (Kind.RATIO, "a lot"),
        (Kind.SIZE, "20 gigs"),
        (Kind.SIZE, "-1G"),
        (Kind.ADDRESS, "10.0.0"),
        (Kind.INTERFACE, "10.0.0.1"),
        (Kind.TEXT, "%{::uptime}"),
    ],
)
def test_bad_value(kind: Kind, text: str) -> None:
    with pytest.raises(BadValue):
        parse(key(kind), text)


def test_choice_has_its_canonical_spelling() -> None:
    assert parse(key(Kind.CHOICE, "ovn", "ovn", "openvswitch"), "OpenVSwitch") == "openvswitch"
    with pytest.raises(BadValue, match="ovn, openvswitch"):
        parse(key(Kind.CHOICE, "ovn", "ovn", "openvswitch"), "linuxbridge")


def test_what_has_a_default_may_not_be_empty() -> None:
    with pytest.raises(BadValue, match="20G"):
        parse(key(Kind.SIZE, "20G"), "")
    assert parse(key(Kind.SIZE, ""), "") is None


def test_own_check() -> None:
    odd = Key("CONFIG_X", "1", "", Kind.NUMBER, check=lambda t: None if int(t) % 2 else "be odd")
    assert parse(odd, "3") == 3
    with pytest.raises(BadValue, match="be odd"):
        parse(odd, "4")


@pytest.mark.parametrize("text", ["20G", "512M", "1T", "7", "3K"])
def test_sizes_round_trip(text: str) -> None:
    assert show_size(size(text)) == text


def test_a_size_without_its_unit() -> None:
    assert too_small("20G", 1 << 29, "a pool") is None
    assert too_small("100M", 1 << 29, "a pool") == "a pool has at least 512M"
    assert "did you mean 20G?" in str(too_small("20", 1 << 29, "a pool"))
    assert "such as 20G" in str(too_small("much", 1 << 29, "a pool"))


def test_answers_know_what_was_given_and_hide_secrets() -> None:
    keys = {
        "CONFIG_A": Key("CONFIG_A", "n", "", Kind.FLAG),
        "CONFIG_PW": Key("CONFIG_PW", "PW_PLACEHOLDER", "", Kind.SECRET),
        "CONFIG_B": Key("CONFIG_B", "b", ""),
    }
    answers = Answers(keys, {"CONFIG_A": "n", "CONFIG_PW": "centos"})
    assert answers["CONFIG_A"] is False
    assert answers.is_given("CONFIG_A") and not answers.is_given("CONFIG_B")
    assert answers["CONFIG_B"] == "b"
    assert "centos" not in repr(answers)
    assert answers.shown("CONFIG_PW") == "********"
    assert not Answers(keys, {"CONFIG_PW": "PW_PLACEHOLDER"}).is_given("CONFIG_PW")


def test_what_another_key_implies_is_shown_as_it_counts() -> None:
    keys = {
        "CONFIG_A": Key("CONFIG_A", "n", "", Kind.FLAG, implies=("CONFIG_B",)),
        "CONFIG_B": Key("CONFIG_B", "n", "", Kind.FLAG),
    }
    for given in ({}, {"CONFIG_B": "n"}):
        answers = Answers(keys, {"CONFIG_A": "y", **given})
        assert answers["CONFIG_B"] is True and answers.shown("CONFIG_B") == "y"
        # What is written down is what was said, and no more.
        assert answers.text("CONFIG_B") == "n"
        assert answers.is_implied("CONFIG_B") and not answers.is_implied("CONFIG_A")
    assert Answers(keys).shown("CONFIG_B") == "n"
