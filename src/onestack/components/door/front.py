"""The door's front: HAProxy, which ends TLS and says whose certificate was shown.

A client need not show one, and what OpenSSL finds wrong with it is passed on, so that the answer
can say it in words: `inside.app` lets nobody in without one that is good.
"""

from __future__ import annotations

from pathlib import Path

from onestack.cluster.protocol import LONGEST
from onestack.model.context import in_url

ALIVE = "/-/front"
"""Answered by the front itself, whatever is behind it."""


def text(address: str, port: int, server: Path, ca: Path, answers: Path) -> str:
    """haproxy.cfg. ``answers`` is the socket of what is behind it."""
    place = f"{in_url(address)}:{port}"
    # What is wrong with a client's certificate is for the answer to say.
    tls = f"ssl crt {server} ca-file {ca} verify optional ca-ignore-err all crt-ignore-err all"
    return f"""global
    log stderr format raw local0 notice
    maxconn 1000
    nbthread 1
    ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets

defaults
    mode http
    log global
    option dontlognull
    timeout connect 5s
    timeout client 60s
    # the controller may have to make something first
    timeout server 16m
    timeout http-request 10s
    option http-server-close

listen door
    bind {place} {tls} alpn http/1.1
    # whoever comes, one machine does not keep the others out
    stick-table type ip size 10k expire 10m store conn_cur
    tcp-request connection track-sc0 src
    tcp-request connection reject if {{ sc0_conn_cur gt 32 }}
    monitor-uri {ALIVE}
    http-request deny deny_status 413 if {{ req.hdr_val(content-length) gt {LONGEST} }}
    http-request deny deny_status 400 if {{ req.hdr(transfer-encoding) -m found }}
    # behind it, "_" in a header's name is "-"
    http-request deny deny_status 400 if {{ req.hdr_names -m sub _ }}
    http-request set-header X-Onestack-Verify %[ssl_c_verify]
    http-request set-header X-Onestack-Peer %[ssl_c_der,base64]
    http-request set-header X-Forwarded-For %[src]
    server answers {answers}
"""
