"""Networks that are answered for, and must not overlap."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from onestack.answers.values import Answers
from onestack.network import demo

_SUBNETS = re.compile(r"CONFIG_ONESTACK_\w+_SUBNET")
"""Keys by which services have networks with their guests."""


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
        text = str(answers[name])
        if text and name == "CONFIG_ONESTACK_EXTERNAL_ADDRESS":
            yield name, ipaddress.ip_interface(text).network
        elif text and name != key and _SUBNETS.fullmatch(name):
            yield name, ipaddress.ip_network(text)
