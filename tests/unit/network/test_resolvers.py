"""Name servers for guests, from what the host has; a device's address."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.model.errors import OnestackError
from onestack.network.addresses import first_address
from onestack.network.resolvers import resolvers, usable


def test_only_what_a_guest_can_reach() -> None:
    text = """# comment
search example.org
nameserver 127.0.0.53
nameserver 192.0.2.53
nameserver fe80::1%eth0
nameserver ::1
nameserver 2001:db8::53
nameserver
nameserver nonsense
"""
    assert list(usable(text)) == ["192.0.2.53", "2001:db8::53"]


def test_the_second_file_stands_behind_a_stub(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    assert resolvers((stub, real)) == ()
    real.write_text("nameserver 192.0.2.1\n")
    assert resolvers((stub, real)) == ("192.0.2.1",)


def test_a_device_without_an_address() -> None:
    for device in ("lo", "no-such-device"):
        with pytest.raises(OnestackError, match="end of tunnels") as caught:
            first_address(device)
        assert "CONFIG_NEUTRON_OVS_TUNNEL_IF" in caught.value.cure
