"""Which NIC and address an answer means, on made-up devices."""

from __future__ import annotations

import json

import pytest

from onestack.host.command import Result
from onestack.model.errors import OnestackError
from onestack.network import addresses

SHOWN = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
    {"ifname": "eth0", "addr_info": [{"local": "192.0.2.5", "prefixlen": 24, "scope": "global"}]},
    {
        "ifname": "eth1",
        "addr_info": [{"local": "198.51.100.7", "prefixlen": 24, "scope": "global"}],
    },
]


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str], **more: object) -> Result:
        device = words[words.index("dev") + 1] if "dev" in words else ""
        found = [entry for entry in SHOWN if not device or entry["ifname"] == device]
        return Result(tuple(words), 0, json.dumps(found), "", 0.0)

    monkeypatch.setattr(addresses, "run", run)


def test_devices_have_their_addresses() -> None:
    assert addresses.devices() == {
        "lo": [],
        "eth0": ["192.0.2.5/24"],
        "eth1": ["198.51.100.7/24"],
    }


def test_a_nic_or_the_subnet_of_its_address() -> None:
    assert addresses.first_address("eth1") == "198.51.100.7"
    assert addresses.first_address("198.51.100.0/24") == "198.51.100.7"
    assert addresses.in_subnet("192.0.0.0/16", addresses.devices()) == ("eth0", "192.0.2.5")
    with pytest.raises(OnestackError, match="no network device has an address in 10"):
        addresses.first_address("10.0.0.0/8")
    with pytest.raises(OnestackError, match="lo cannot be"):
        addresses.first_address("lo")


def test_what_the_machine_may_listen_on() -> None:
    assert addresses.machine_has("127.0.0.1")
    assert not addresses.machine_has("192.0.2.5")
