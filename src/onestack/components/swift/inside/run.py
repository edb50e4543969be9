"""Swift's processes, each in a child of its zygote (services' environment).

``proxy`` is the API; ``storage`` is the account, the container and the object
server, three applications in one loop of green threads; ``upkeep`` starts
upstream's background workers when they are due (see `consistency`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from socket import socket
from typing import Any

from onestack.components.swift.inside import logs, swiftdir
from onestack.model.process import Process
from onestack.runtime.notify import tell_ready

DISCARD_SECONDS = 60.0
STOP = 4.5
"""Seconds for requests that run when the end is wanted."""


def proxy(spec: Process, sockets: dict[str, socket]) -> None:
    swiftdir.use(spec.arguments["directory"])
    _serve({"proxy-server": spec.arguments["config"]}, {"proxy-server": sockets["api"]})


def storage(spec: Process, sockets: dict[str, socket]) -> None:
    swiftdir.use(spec.arguments["directory"])
    _serve(spec.arguments["config"], sockets)


def upkeep(spec: Process, sockets: dict[str, socket]) -> None:
    logs.libraries()
    swiftdir.use(spec.arguments["directory"])
    from onestack.components.swift.inside import consistency as work

    work.Upkeep(spec.arguments["config"], spec.arguments["seconds"]).run(tell_ready)


@dataclass
class _Site:
    """One application on its socket."""

    server: Any
    requests: Any = field(repr=False)


def _serve(configs: dict[str, str], sockets: dict[str, socket]) -> None:
    """Serve what each file describes, until SIGTERM. Does not return.

    What upstream's ``run_wsgi`` does for one application and its workers.
    """
    logs.libraries()
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    from swift.common import utils
    from swift.common.concurrency import Event, eventlet, spawn

    # Patched was already in the zygote; a loop must be the process's own.
    eventlet.hubs.use_hub(utils.get_hub())
    eventlet.debug.hub_exceptions(False)
    ended = Event()

    def crashed(thread: Any) -> None:
        try:
            thread.wait()
        except BaseException as error:  # noqa: BLE001
            ended.send_exception(error)

    sites = [_site(name, configs[name], sockets[name]) for name in configs]
    for site in sites:
        site.server.link(crashed)
    spawn(_wait_for_sigterm, ended)
    tell_ready()
    ended.wait()
    _stop(sites)


def _site(name: str, config: str, sock: socket) -> _Site:
    from swift.common import constraints, utils, wsgi
    from swift.common.concurrency import greenio, spawn

    app, conf, _, _ = wsgi.init_request_processor(config, name)
    logs.requests()
    reserve = utils.config_fallocate_value(conf.get("fallocate_reserve", "1%"))
    utils.FALLOCATE_RESERVE, utils.FALLOCATE_IS_PERCENT = reserve
    pool = wsgi.RestrictedGreenPool(size=int(conf.get("max_clients", "1024")))
    server = spawn(
        wsgi.wsgi.server,
        greenio.GreenSocket(sock),
        app,
        wsgi.NullLogger(),
        custom_pool=pool,
        protocol=_protocol(),
        socket_timeout=float(conf.get("client_timeout") or 60),
        # S3's clients look for ETag, not Etag.
        capitalize_response_headers=False,
        url_length_limit=constraints.MAX_REQUEST_LINE,
    )
    return _Site(server, pool)


def _protocol() -> type[Any]:
    from swift.common.concurrency import Timeout
    from swift.common.http_protocol import SwiftHttpProtocol

    class Protocol(SwiftHttpProtocol):  # type: ignore[misc]
        """A body that was refused unread is thrown away before the connection is closed.

        The client, which still sends, would lose the answer with the connection.
        """

        def handle_one_response(self) -> None:
            super().handle_one_response()
            rest = self.environ["eventlet.input"]
            if self.close_connection and not rest.should_send_hundred_continue:
                with contextlib.suppress(OSError, ValueError), Timeout(DISCARD_SECONDS, False):
                    rest.discard()

    return Protocol


def _wait_for_sigterm(ended: Any) -> None:
    """A handler alone would be heard only when the loop next wakes up."""
    from swift.common.concurrency import trampoline

    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    while True:
        trampoline(reader, read=True)
        if signal.SIGTERM in os.read(reader, 64):
            ended.send()
            return


def _stop(sites: list[_Site]) -> None:
    from swift.common.concurrency import Timeout

    for site in sites:
        site.server.kill()
    with Timeout(STOP, False):
        for site in sites:
            site.requests.waitall()
    # Threads for the disk would keep a normal exit waiting.
    os._exit(0)
