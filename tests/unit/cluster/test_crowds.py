"""One machine that opens many connections does not keep the others from the door."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from onestack.cluster.protocol import SERVER
from onestack.components.door.front import ASKING
from tests.support.door import LOOPBACK, needs_haproxy, open_door
from tests.support.needs import needs_root

pytestmark = [needs_root, needs_haproxy]


def with_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.parametrize("address", [LOOPBACK, "::1"])
def test_one_machine_is_heard_so_many_times(tmp_path: Path, address: str) -> None:
    if address == "::1" and not with_ipv6():
        pytest.skip("this machine has no IPv6")
    with open_door(tmp_path, address) as door, contextlib.ExitStack() as stack:
        tls = ssl.create_default_context(cadata=door.ca)
        let_in = 0
        for _ in range(2 * ASKING):
            plain = stack.enter_context(socket.create_connection((address, door.place.port), 10))
            with contextlib.suppress(OSError):
                own = stack.enter_context(tls.wrap_socket(plain, server_hostname=SERVER))
                own.sendall(b"GET /-/front HTTP/1.1\r\nHost: door\r\n\r\n")
                let_in += own.recv(12) == b"HTTP/1.1 200"
        assert let_in == ASKING
