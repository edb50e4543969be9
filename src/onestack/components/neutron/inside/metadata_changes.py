"""What upstream's metadata agents are made to do otherwise (services' environment).

Both layouts' agents take their answers to guests from one class of upstream's; each change
here is made when the agent starts.

- `pass_bytes_on`: upstream makes text of what nova answers. User data that is none (gzip, a
  key, random bytes) ended in an exception and 502, and what looked like gzip was unpacked.
- `believe_no_mtu_that_is_none` (OVN): a network's metadata port may say that its MTU is
  ``None``, which clouds have that were made before `ovn_changes.tell_mtu_of_metadata_ports`.
  Upstream's agent then gives the network's guests no metadata at all.
"""

from __future__ import annotations

import functools
from http.client import responses
from typing import Any

from neutron.common import metadata

NOT_PASSED_ON = frozenset(
    {
        # of this connection, or of an encoding that was undone when the answer was read
        "connection",
        "content-encoding",
        "content-length",
        "keep-alive",
        "transfer-encoding",
    }
)
_MTU = "neutron:mtu"


def pass_bytes_on() -> None:
    """Let guests have what nova answers, byte for byte."""
    metadata.MetadataProxyHandlerBaseSocketServer._http_response = staticmethod(whole)


def whole(answer: Any, request: Any) -> bytes:
    """``answer`` of `requests` as it goes to the guest that asked by webob's ``request``."""
    status = f"{answer.status_code} {answer.reason or responses.get(answer.status_code, '')}"
    headers = [(k, v) for k, v in answer.headers.items() if k.lower() not in NOT_PASSED_ON]
    headers.append(("Content-Length", str(len(answer.content))))
    lines = [f"{request.http_version} {status}", *(f"{name}: {value}" for name, value in headers)]
    body: bytes = answer.content
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def believe_no_mtu_that_is_none() -> None:
    """Take a metadata port whose MTU is ``None`` for one that says none."""
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.impl_idl_ovn import OvsdbSbOvnIdl

    of_datapath = OvsdbSbOvnIdl.get_metadata_port

    @functools.wraps(of_datapath)
    def get_metadata_port(self: Any, *asked: Any, **more: Any) -> Any:
        port = of_datapath(self, *asked, **more)
        told = port.external_ids.get(_MTU, "0") if port else "0"
        return port if told.isdigit() else _WithoutMtu(port)

    OvsdbSbOvnIdl.get_metadata_port = get_metadata_port


class _WithoutMtu:
    """A port as it is, but for that."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.external_ids = {k: v for k, v in port.external_ids.items() if k != _MTU}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)
