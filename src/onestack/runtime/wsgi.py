"""Serve WSGI applications with cheroot's threads, on sockets that listen already.

Runs in the services' environment. What differs from cheroot as it comes:

- An idle connection holds no thread: a new one waits in the selector, as
  kept-alive ones do, until there is something to read.
- A request body that the application left unread is thrown away in small
  pieces after the answer, and the connection closed; cheroot reads all of it
  into memory first (an image of gigabytes, refused with 401), or mistakes a
  chunked one's rest for the next request.
- A connection that was accepted before the end and has asked nothing yet gets a moment
  to ask, and is answered; cheroot closes it.
- While the database is away a 500 is sent as 503: see `unavailable`.
- SIGTERM ends it within `STOP` seconds, whatever upstream does with signals:
  the handler is set here, in the main thread, which runs nothing of upstream.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from socket import AF_UNIX, IPPROTO_TCP, TCP_NODELAY, socket
from types import FrameType
from typing import Any

from cheroot import server, wsgi

from onestack.runtime import policies, service, unavailable

STOP = 4.5
"""Seconds for requests that run when the end is wanted."""
IDLE = 60
"""Seconds a connection may be idle, or a request's next bytes may take."""
ASKING = 0.5
"""Seconds that accepted connections get for their first request when the end is wanted."""
KEPT_ALIVE = 200
DISCARD_SECONDS = 60.0
PIECE = 256 * 1024
WORKERS_VARIABLE = "ONESTACK_SERVICE_WORKERS"
"""Holds how many workers an API is to have the worth of; its threads are meant for `WORKERS`."""
WORKERS = 2
SMALL_REST = 64 * 1024
"""So much of an unread body is read to keep the connection."""

LOG = logging.getLogger("onestack.wsgi")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve(
    application: Application, sock: socket, threads: int = 8, beside: Sequence[Any] = ()
) -> None:
    """Serve ``application`` on ``sock`` until SIGTERM; call it in the main thread."""
    serve_many([(application, sock, threads)], beside)


def serve_many(
    applications: Sequence[tuple[Application, socket, int]], beside: Sequence[Any] = ()
) -> None:
    """Serve several applications in one process, each on its socket with its threads.

    The services ``beside`` them (start, stop) are started before, and end after them, one
    after the other.
    """
    policies.load()
    for one in beside:
        one.start()
    wanted = threading.Event()
    earlier = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        wanted.set()

    servers = [
        _Server(unavailable.answering(app), sock, scaled(threads))
        for app, sock, threads in applications
    ]
    for http in servers:
        http.prepare()
    # after the applications were loaded: some of them set handlers of their own
    signal.signal(signal.SIGTERM, end)
    running = [threading.Thread(target=http.serve, daemon=True) for http in servers]
    for thread in running:
        thread.start()
    wanted.wait()
    # Requests that still run may ask the services, and each of these those after it.
    _stop(servers, earlier)
    for one in beside:
        service.end(one)


def scaled(threads: int) -> int:
    """``threads``, for as many workers as the environment asks for."""
    workers = int(os.environ.get(WORKERS_VARIABLE, WORKERS))
    return max(2, threads * workers // WORKERS)


def _stop(servers: list[_Server], earlier: Any) -> None:
    deadline = time.monotonic() + STOP
    stopping = [threading.Thread(target=one.stop, daemon=True) for one in servers]
    if callable(earlier) and earlier is not signal.default_int_handler:
        # what upstream wanted done at the end, such as leaving a hash ring
        goodbye = threading.Thread(target=earlier, args=(signal.SIGTERM, None), daemon=True)
        stopping.append(goodbye)
    for thread in stopping:
        thread.start()
    while any(one.asleep for one in servers) and time.monotonic() < deadline:
        for one in servers:
            one.wake()
        time.sleep(0.01)
    for thread in stopping:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in stopping):
        LOG.warning("Requests that were still running after %s s were cut off", STOP)


class _Request(server.HTTPRequest):  # type: ignore[misc]
    """Bodies that are not read are thrown away, not kept."""

    def send_headers(self) -> None:
        rest = getattr(self.rfile, "remaining", 0)
        if rest > SMALL_REST or self.chunked_read:
            self.close_connection = True
        super().send_headers()

    def respond(self) -> None:
        super().respond()
        if not self.close_connection:
            return
        # The client may read the answer only when it could send all of its request.
        end = time.monotonic() + DISCARD_SECONDS
        try:
            while time.monotonic() < end and self.rfile.read(PIECE):
                pass
        except (OSError, ValueError):
            pass


class _Connection(server.HTTPConnection):  # type: ignore[misc]
    RequestHandlerClass = _Request
    new = True


class _Server(wsgi.Server):  # type: ignore[misc]
    ConnectionClass = _Connection
    keep_alive_conn_limit = KEPT_ALIVE
    # also how long an idle server sleeps; `wake` ends that sleep
    expiration_interval = 10.0
    max_request_header_size = 256 * 1024

    def __init__(self, application: Application, sock: socket, threads: int) -> None:
        self._given = sock
        self._name = sock.getsockname()
        bound = self._name if sock.family == AF_UNIX else self._name[:2]
        super().__init__(
            bound,
            application,
            numthreads=threads,
            server_name="localhost" if sock.family == AF_UNIX else bound[0],
            max=threads,
            request_queue_size=512,
            timeout=IDLE,
            shutdown_timeout=int(STOP) - 1,
        )

    def bind(self, family: int, type: int, proto: int = 0) -> socket:
        """It is bound."""
        # an answer's head and body are two writes: without this the second may wait 40 ms
        self._given.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self.socket = self._given
        return self._given

    def bind_unix_socket(self, bind_addr: str) -> socket:
        self.socket = self._given
        return self._given

    def process_conn(self, conn: Any) -> None:
        """A new connection waits for its first bytes without a thread."""
        if conn.new and self.ready:
            conn.new = False
            self.put_conn(conn)
        else:
            super().process_conn(conn)

    def prepare(self) -> None:
        super().prepare()
        manager = self._connections
        close = manager.close

        def after_last_requests() -> None:
            # Nothing is accepted any more, and the threads still work.
            self._take_last_requests(dict(manager._selector.connections))
            close()

        manager.close = after_last_requests

    def _take_last_requests(self, connections: dict[int, Any]) -> None:
        waiting = {fd: conn for fd, conn in connections.items() if conn is not self}
        poll = select.poll()
        for fd in waiting:
            poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + ASKING
        while waiting:
            new = any(conn.requests_seen == 0 for conn in waiting.values())
            timeout = max(0.0, deadline - time.monotonic()) if new else 0.0
            asking = poll.poll(timeout * 1000)
            if not asking:
                return
            for fd, _ in asking:
                poll.unregister(fd)
                self._connections._selector.unregister(fd)
                super().process_conn(waiting.pop(fd))

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        LOG.log(level, msg, exc_info=traceback)

    @property
    def asleep(self) -> bool:
        """Told to stop, and still waiting for connections."""
        return self.socket is not None

    def wake(self) -> None:
        """End its sleep by a connection that asks nothing."""
        try:
            with socket(self._given.family) as knock:
                knock.settimeout(1)
                knock.connect(self._name)
        except OSError:
            pass
