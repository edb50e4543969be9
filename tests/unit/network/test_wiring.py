"""Which NIC and address an answer means, on made-up devices."""

from __future__ import annotations

import pytest

from onestack.model.errors import NotInstalled
from onestack.network import addresses
from tests.support.machines import machine

PRESENT = {
    "lo": (),
    "eth0": ("192.0.2.5/24",),
    "eth1": ("2001:db8::7/64", "198.51.100.7/24"),
}


def test_a_nic_or_the_subnet_of_its_address() -> None:
    assert addresses.first_address("eth1", PRESENT) == "198.51.100.7"
    assert addresses.first_address("198.51.100.0/24", PRESENT) == "198.51.100.7"
    assert addresses.in_subnet("192.0.0.0/16", PRESENT) == ("eth0", "192.0.2.5")
    with pytest.raises(NotInstalled, match="no network device has an address in 10"):
        addresses.first_address("10.0.0.0/8", PRESENT)
    with pytest.raises(NotInstalled, match="lo cannot be"):
        addresses.first_address("lo", PRESENT)


def test_devices_of_a_kept_machine() -> None:
    present = machine("several-nics").cloud_devices
    assert addresses.first_address("eth1", present) == "10.0.1.5"
    assert addresses.in_subnet("10.0.1.0/24", present) == ("eth1", "10.0.1.5")


def test_a_device_without_an_address() -> None:
    present = machine("several-nics").cloud_devices
    for device, why in (("eth2", "no IPv4"), ("eth3", "no IPv4"), ("eth9", "no such device")):
        with pytest.raises(NotInstalled, match="end of tunnels") as caught:
            addresses.first_address(device, present)
        assert why in caught.value.why
        assert "CONFIG_NEUTRON_OVS_TUNNEL_IF" in caught.value.cure
