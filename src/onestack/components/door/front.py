"""The door's front: HAProxy, which ends TLS and knows hosts by their certificates.

One port, two ways in, told apart by the name that a client asks for. At the one a certificate
need not be shown, and what OpenSSL finds wrong with it is passed on, so that the answer can say
it in words: `inside.app` lets nobody in without one that is good. The other leads hosts to the
services that they need, and there nobody is heard without one; who was removed is in a list that
this process reads when it starts: it is started anew for another list, and what was open ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onestack.cluster.protocol import ANSWER, LONGEST, LONGEST_ANSWER, PASSAGE
from onestack.model.context import in_url

ALIVE = "/-/front"
"""Answered by the front itself, whatever is behind it."""
ASKING = 32
"""Connections that one machine may have to what answers at the door."""
HEAD = """\
global
    log stderr format raw local0 notice
    maxconn 4000
    nbthread 1
    ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
    ssl-default-server-options ssl-min-ver TLSv1.3 no-tls-tickets

defaults
    mode tcp
    log global
    option dontlognull
    # a host that is gone without a word
    option clitcpka
    option srvtcpka
    timeout connect 5s
    # the bus says every minute that it is there, and who asks an API may think for minutes
    timeout client 1h
    timeout server 1h
"""


@dataclass(frozen=True)
class Front:
    address: str
    port: int
    server: Path
    """The door's certificate, with its key."""
    ca: Path
    revoked: Path
    answers: Path
    """The socket of what answers who asks the door itself."""
    run: Path
    """Where sockets between its own parts may lie."""
    services: Mapping[str, str]
    """Capability to ``ADDRESS:PORT``: where hosts are led."""

    @property
    def text(self) -> str:
        """haproxy.cfg."""
        place = f"{in_url(self.address)}:{self.port}"
        shown = f"ssl crt {self.server} ca-file {self.ca}"
        anybody = f"{shown} verify optional ca-ignore-err all crt-ignore-err all"
        hosts = f"{shown} crl-file {self.revoked} verify required"
        ways = "".join(
            f"    use_backend to-{name} if {{ ssl_fc_sni {name}{PASSAGE} }}\n"
            for name in self.services
        )
        backends = "".join(
            f"\nbackend to-{name}\n    server {name} {target}\n"
            for name, target in self.services.items()
        )
        return f"""{HEAD}
frontend door
    bind {place}
    # whoever comes, one machine does not keep the others out
    stick-table type ipv6 size 10k expire 10m store conn_cur
    tcp-request connection track-sc0 src
    tcp-request connection reject if {{ sc0_conn_cur gt 1000 }}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    tcp-request content reject
    use_backend passages if {{ req.ssl_sni -m end {PASSAGE} }}
    default_backend answers

backend answers
    server answers unix@{self.run}/answers.sock send-proxy-v2

backend passages
    server passages unix@{self.run}/passages.sock send-proxy-v2

listen asked
    mode http
    bind unix@{self.run}/answers.sock mode 600 accept-proxy {anybody} alpn http/1.1
    stick-table type ipv6 size 10k expire 10m store conn_cur
    # not "connection": who it is comes with the first bytes, from before
    tcp-request session track-sc0 src
    tcp-request session reject if {{ sc0_conn_cur gt {ASKING} }}
    timeout client 60s
    # the controller may have to make something first
    timeout server 16m
    timeout http-request 10s
    # a host asks every few seconds, and longest after 30
    timeout http-keep-alive 40s
    option http-server-close
    monitor-uri {ALIVE}
    acl long req.hdr_val(content-length) gt {LONGEST}
    acl too-long req.hdr_val(content-length) gt {LONGEST_ANSWER}
    # what a host answers its controller
    acl answer path {ANSWER}
    acl shown ssl_c_used
    acl good ssl_c_verify 0
    http-request deny deny_status 413 if too-long || long !answer || long !shown || long !good
    http-request deny deny_status 400 if {{ req.hdr(transfer-encoding) -m found }}
    # behind it, "_" in a header's name is "-"
    http-request deny deny_status 400 if {{ req.hdr_names -m sub _ }}
    http-request set-header X-Onestack-Verify %[ssl_c_verify]
    http-request set-header X-Onestack-Peer %[ssl_c_der,base64]
    http-request set-header X-Forwarded-For %[src]
    server answers {self.answers}

frontend hosts
    bind unix@{self.run}/passages.sock mode 600 accept-proxy {hosts}
{ways}{backends}"""
