"""Networks that are answered for, and must not overlap."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from onestack.answers.values import Answers
from onestack.network import demo


def overlapping(answers: Answers, key: str) -> Iterator[str]:
    """What else in the answers would be where the network of ``key`` is, each as a sentence."""
    own = ipaddress.IPv4Network(str(answers[key]))
    for what, other in _others(answers, key):
        if other.version == 4 and own.overlaps(other):
            yield f"{key}={own} overlaps {other} ({what})"


def _others(answers: Answers, key: str) -> Iterator[tuple[str, demo.Network]]:
    if demo.wanted(answers):
        yield demo.range_key(answers), demo.float_range(answers)
        yield "the demo's private network", ipaddress.ip_network(demo.FIXED_RANGE)
    for name in answers:
        text, service = str(answers[name]), answers.key(name).network_of
        if text and name == "CONFIG_ONESTACK_EXTERNAL_ADDRESS":
            yield name, ipaddress.ip_interface(text).network
        elif text and name != key and service and answers[service]:
            yield name, ipaddress.ip_network(text)
