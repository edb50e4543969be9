"""Answers about load balancers, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.answers.values import Answers, split
from onestack.model.key import Key, Kind
from onestack.network.management import wrong_subnet

INSTALL = "CONFIG_LBAAS_INSTALL"
PROVIDERS = "CONFIG_ONESTACK_OCTAVIA_PROVIDERS"
TOPOLOGY = "CONFIG_ONESTACK_OCTAVIA_TOPOLOGY"
SUBNET = "CONFIG_ONESTACK_OCTAVIA_SUBNET"
OVN = "ovn"
AMPHORA = "amphora"
TOPOLOGIES = ("SINGLE", "ACTIVE_STANDBY")


def _wrong_providers(text: str) -> str | None:
    names = split(text)
    if set(names) <= {OVN, AMPHORA} and len(set(names)) == len(names):
        return None
    return f"write {OVN}, {AMPHORA}, or both with a comma between"


KEYS = (
    Key(
        INSTALL,
        "n",
        "Turn the load balancer service (Octavia) on.",
        Kind.FLAG,
        aliases=("CONFIG_NEUTRON_LBAAS", "CONFIG_OCTAVIA_INSTALL"),
    ),
    Key(
        PROVIDERS,
        "",
        "What makes load balancers, separated by commas, the default one first: ovn (flows in the "
        "switch, where OVN carries the networks: TCP and UDP) and amphora (a guest with HAProxy "
        "for each: HTTP, L7 rules too). Empty: ovn where that can be, else amphora.",
        Kind.LIST,
        check=_wrong_providers,
    ),
    Key(
        TOPOLOGY,
        TOPOLOGIES[0],
        "Amphorae of a load balancer whose flavor does not say it: one (SINGLE), or two of "
        "which one stands by (ACTIVE_STANDBY).",
        Kind.CHOICE,
        TOPOLOGIES,
    ),
    Key(
        SUBNET,
        "198.18.8.0/22",
        "Network between amphorae and the service; this machine has an address in it. No other "
        "network of the cloud or of the machine may overlap it. Before it can change, the service "
        "is to be switched off with up --purge.",
        check=wrong_subnet,
        network_of=INSTALL,
    ),
)


def chosen(answers: Answers, agent: str) -> tuple[str, ...]:
    """The providers' names, the default one first, where ``agent`` carries the networks."""
    own: tuple[str, ...] = answers[PROVIDERS]
    return own or ((OVN,) if agent == "ovn" else (AMPHORA,))


def problems(answers: Answers, agent: str) -> Iterator[str]:
    """What cannot be where ``agent`` carries the networks."""
    names = chosen(answers, agent)
    if OVN in names and agent != "ovn":
        yield (
            f"{PROVIDERS} has ovn, but {agent} carries the networks: leave it empty, or choose "
            "amphora"
        )
    if AMPHORA in names:
        for key, what in (("CONFIG_NOVA_INSTALL", "compute"), ("CONFIG_GLANCE_INSTALL", "image")):
            if not answers[key]:
                yield (
                    f"{INSTALL} is y and its balancers are guests (amphora), but there is no "
                    f"{what} service ({key})"
                )
