"""A cloud's door, as the other machine sees it: with the standard library alone.

Before anything is said the door is known: its authority is the one whose digest stands in the
token, or the one that was kept when the host joined. What the door's certificate is called does
not count beside its name of a kind that no host's has; its subject counts for nothing.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onestack.cluster import protocol
from onestack.cluster.protocol import CLOCKS, PORT, SERVER, Hello
from onestack.model.errors import BadAnswers, OnestackError

SECONDS = 15.0
"""What an answer may take, where nothing has to be made for it."""
LARGEST = 4 << 20
"""Bytes of an answer that are read."""
CONNECTED = 3600.0
"""Seconds for which one connection is kept: at its begin certificates are looked at."""
_LOST = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How a connection ends that the other end has closed."""
_OF_TIME = (9, 10)
"""OpenSSL's numbers for a certificate that is not good yet, or not any more."""


class NoDoor(OnestackError):
    """The door is not reached, or what answers there is not it."""


class ClocksApart(OnestackError):
    """This machine's clock and the controller's differ too much."""


@dataclass(frozen=True)
class Place:
    """Where a door is."""

    host: str
    port: int = PORT

    @classmethod
    def read(cls, text: str) -> Place:
        """``https://ADDRESS:9443``, or as much of it as there is. Raises `BadAnswers`."""
        parts = urllib.parse.urlsplit(text if "://" in text else f"https://{text}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username)
        if parts.scheme != "https" or not host or any(rest):
            raise BadAnswers(
                f"{text[:200]!r} does not say where a cloud's door is",
                cure=f"write it as `onestack token create` prints it: https://ADDRESS:{PORT}",
            )
        return cls(host, port or PORT)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


def authority_of(place: Place, digest: str) -> str:
    """The hosts' authority (PEM) that the door shows, if it has that SHA-256. Raises `NoDoor`."""
    raw = _ask(place, _context(None), "GET", protocol.CA, None, SECONDS)
    try:
        text = raw.decode("ascii")
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()
    except ValueError:
        raise _another(place) from None
    if found != digest:
        raise NoDoor(
            f"the cloud at {place} is not the one that the token is for",
            "its hosts' authority is another: the token is another cloud's, or was made before "
            "this cloud was destroyed and made anew, or somebody is in between",
            f"compare the address; then, on that controller: onestack token create ({place})",
        )
    return text


@dataclass(frozen=True)
class DoorClient:
    """``authority`` (PEM) is believed and nothing else; ``own`` are certificate and key files."""

    place: Place
    authority: str
    own: tuple[Path, Path] | None = None

    def ask(
        self,
        method: str,
        path: str,
        wanted: type[protocol.T],
        body: object = None,
        seconds: float = SECONDS,
    ) -> protocol.T:
        """Raises `Refusal` where the door says no, `NoDoor`, and `ClocksApart`."""
        raw = _ask(self.place, self.context(), method, path, _sent(body), seconds)
        return self.heard(wanted, raw)

    def context(self) -> ssl.SSLContext:
        """Raises `OSError` where the own certificate cannot be read."""
        context = _context(self.authority)
        if self.own:
            context.load_cert_chain(*self.own)
        return context

    def heard(self, wanted: type[protocol.T], raw: bytes) -> protocol.T:
        """What an answer says. Raises as `ask` does."""
        try:
            told = protocol.refused(raw)
            if told is None:
                return protocol.heard(wanted, raw)
        except (
            ValueError,
            OverflowError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ):
            raise _another(self.place) from None
        raise told

    def hello(self) -> Hello:
        """Who it is. Raises `ClocksApart` where the two clocks cannot work together."""
        before = time.time()
        found = self.ask("GET", protocol.HELLO, Hello)
        after = time.time()
        # What the way took is nobody's fault.
        apart = max(found.time - after, before - found.time)
        if apart > CLOCKS:
            raise ClocksApart(
                f"this machine's clock and the controller's differ by {apart:.0f} s",
                f"here it is {_time(after)}, there {_time(found.time)}; more than {CLOCKS:.0f} s "
                "and the cloud would take hosts that work for dead ones",
                "set both by the same servers: timedatectl set-ntp true, or CONFIG_NTP_SERVERS",
            )
        return found


class Line:
    """A door that is asked again and again, by one connection for as long as that holds.

    A handshake costs both ends more than all that is said on it. ``client`` is asked for each new
    connection: by then a certificate may be another one.
    """

    def __init__(self, client: Callable[[], DoorClient], seconds: float = 5.0) -> None:
        self._client, self._seconds = client, seconds
        self._open: tuple[DoorClient, _Connection, float] | None = None

    def ask(self, path: str, wanted: type[protocol.T], body: object = None) -> protocol.T:
        """POST it. Raises as `DoorClient.ask` does, and `OSError` as `DoorClient.context`."""
        if self._open and time.monotonic() - self._open[2] > CONNECTED:
            self.close()
        kept = self._open is not None
        try:
            client, connection = self._connected()
            with _told(client.place, self._seconds):
                try:
                    raw = _exchange(connection, "POST", path, _sent(body), keep=True)
                except _LOST:
                    if not kept:
                        raise
                    # The other end was closed since.
                    self.close()
                    client, connection = self._connected()
                    raw = _exchange(connection, "POST", path, _sent(body), keep=True)
            return client.heard(wanted, raw)
        except (OnestackError, OSError):
            self.close()
            raise

    def _connected(self) -> tuple[DoorClient, _Connection]:
        if self._open is None:
            client = self._client()
            connection = _Connection(client.place, client.context(), self._seconds)
            self._open = client, connection, time.monotonic()
        return self._open[:2]

    def close(self) -> None:
        if self._open:
            self._open[1].close()
            self._open = None


def _sent(body: object) -> bytes | None:
    return None if body is None else protocol.said(body)


def _context(authority: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.hostname_checks_common_name = False
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=authority)
    return context


class _Connection(http.client.HTTPSConnection):
    """To wherever the door is; its name is always the same."""

    def __init__(self, place: Place, context: ssl.SSLContext, seconds: float) -> None:
        super().__init__(place.host, place.port, timeout=seconds, context=context)
        self._tls = context

    def connect(self) -> None:
        self.sock = socket.create_connection((self.host, self.port), min(SECONDS, self._seconds))
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=SERVER)
        self.sock.settimeout(self._seconds)

    @property
    def _seconds(self) -> float:
        return float(self.timeout or SECONDS)


def _ask(
    place: Place,
    context: ssl.SSLContext,
    method: str,
    path: str,
    body: bytes | None,
    seconds: float,
) -> bytes:
    connection = _Connection(place, context, seconds)
    with _told(place, seconds):
        try:
            return _exchange(connection, method, path, body)
        finally:
            connection.close()


def _exchange(
    connection: _Connection, method: str, path: str, body: bytes | None, keep: bool = False
) -> bytes:
    headers = {"Host": SERVER, "Connection": "keep-alive" if keep else "close"}
    connection.request(method, path, body, headers)
    return connection.getresponse().read(LARGEST)


@contextmanager
def _told(place: Place, seconds: float) -> Iterator[None]:
    """What keeps a door from answering, as people are told it."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _OF_TIME:
            raise ClocksApart(
                f"the certificate of the door at {place} is not good at this time",
                f"here it is {_time(time.time())}: {error.verify_message}",
                "set both clocks by the same servers; if they are right, on the controller: "
                "onestack up, which renews it",
            ) from None
        raise NoDoor(
            f"what answers at {place} is not this cloud's door",
            f"its certificate is by another authority: {error.verify_message}",
            "compare the address with the one that `onestack token create` printed",
        ) from None
    except ssl.SSLError:
        raise _another(place) from None
    except ConnectionRefusedError:
        raise NoDoor(
            f"nothing listens at {place}",
            "the machine refuses the connection",
            "on the controller: onestack status door; the door is there with "
            "CONFIG_ONESTACK_JOIN=y",
        ) from None
    except socket.gaierror as error:
        raise NoDoor(
            f"{place.host} is no name that this machine can resolve",
            error.strerror or "",
            "write the controller's address",
        ) from None
    except TimeoutError:
        raise NoDoor(
            f"the door at {place} does not answer",
            f"nothing came within {seconds:.0f} s",
            f"see whether a packet filter is in between: TCP port {place.port} of the controller",
        ) from None
    except http.client.RemoteDisconnected:
        raise NoDoor(
            f"the connection to the door at {place} was lost",
            "it ended before there was an answer",
            "on the controller: onestack status door; then the same command again",
        ) from None
    except http.client.HTTPException:
        raise _another(place) from None
    except OSError as error:
        raise NoDoor(
            f"{place} is not reached",
            error.strerror or str(error),
            "see whether this machine has a way there: ip route get " + place.host,
        ) from None


def _another(place: Place) -> NoDoor:
    return NoDoor(
        f"what answers at {place} is no door of onestack's",
        "it speaks something else",
        "compare the address with the one that `onestack token create` printed",
    )


def _time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
