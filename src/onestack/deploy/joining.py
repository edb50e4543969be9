"""A machine becomes a host of a cloud that is elsewhere: steps, of which each looks first.

What they leave in ``ROOT/etc/joined`` is the journal: whatever a run was killed at, the next one
finds there how far it came. The key is made before anything is asked for, and the door answers
the same key with the same host: a lost answer costs no token and makes no second host.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import ipaddress
import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onestack.cluster import protocol
from onestack.cluster.client import SECONDS, DoorClient, NoDoor, Place, authority_of
from onestack.cluster.names import host_name
from onestack.cluster.protocol import Certify, Join, Reach, Refusal, Renew, Standing
from onestack.cluster.tokens import JoinToken
from onestack.components.door import follower, peers
from onestack.components.hosts import STANDING, joined_folder
from onestack.engine.step import Step
from onestack.host.files import ensure_directory, ensure_file, remove_tree, write_file
from onestack.host.telling import tell
from onestack.kernel.sockets import may_listen
from onestack.model.change import Change
from onestack.model.cloud import Cloud
from onestack.model.codec import from_plain, to_plain
from onestack.model.errors import BadAnswers, OnestackError, PreflightRefused
from onestack.model.host import Role

ADMISSION = 960.0
"""Seconds that the controller may take to make what the host needs there."""
AWAY = 120.0
"""Seconds that the door may be away meanwhile."""
AGAIN = 2.0
"""Seconds until it is asked again."""


@dataclass(frozen=True)
class Kept:
    """What a host knows of its standing, and where its cloud's door is."""

    door: str
    standing: Standing


@dataclass(frozen=True)
class Places:
    """Files of a host that has joined, below ``ROOT/etc/joined``: root's alone."""

    folder: Path

    @classmethod
    def of(cls, cloud: Cloud) -> Places:
        return cls(joined_folder(cloud.etc))

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def standing(self) -> Path:
        return self.folder / STANDING

    def kept(self) -> Kept | None:
        """``None`` where the machine has not joined. Raises `OnestackError`."""
        try:
            if not self.folder.is_dir():
                return None
            return from_plain(Kept, json.loads(self.standing.read_text()))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise PreflightRefused(
                "only root may see which cloud this host is of",
                f"{error.filename}: {error.strerror}",
                "run the same command as root",
            ) from None
        except (OSError, ValueError) as error:
            raise OnestackError(
                f"{self.standing} does not say which cloud this host is of",
                str(error),
                "onestack leave here; on the controller: onestack host remove, and token create",
            ) from None

    def client(self, kept: Kept) -> DoorClient:
        """As the host that this is. Raises `OSError`."""
        # A run that was killed has written down the one and not yet the other.
        for change in self.ensure_certificate(kept.standing):
            change.do()
        own = self.certificate, self.key
        return DoorClient(Place.read(kept.door), self.authority.read_text(), own)

    def ensure_certificate(self, standing: Standing) -> Iterator[Change]:
        yield from ensure_file(self.certificate, standing.certificate, mode=0o600)


@dataclass(frozen=True)
class Joining:
    """What was typed."""

    cloud: Cloud
    place: Place
    token: JoinToken
    name: str
    address: str
    """Where the other hosts reach this one."""
    release: str

    def steps(self) -> list[Step]:
        """``door``, ``key``, ``way-back``, ``host``, ``admission``, ``shown``, in this order."""
        return [
            Step("door", "The cloud's door", self._door),
            Step("key", "A key of this host's own", self._key, ("door",)),
            Step("way-back", "The controller's way to this host", self._way_back, ("key",)),
            Step("host", "A host of the cloud", self._host, ("way-back",)),
            Step("admission", "What the controller makes for it", self._admission, ("host",)),
            Step("shown", "What this host shows to others", self._shown, ("admission",)),
        ]

    @property
    def _places(self) -> Places:
        return Places.of(self.cloud)

    @property
    def _client(self) -> DoorClient:
        return DoorClient(self.place, self._places.authority.read_text())

    def _door(self) -> Iterator[Change]:
        need_no_other(self.cloud, self.token)
        places = self._places
        if places.kept() is None:
            hello = DoorClient(self.place, authority_of(self.place, self.token.authority)).hello()
            if hello.cloud != self.cloud.name:
                raise BadAnswers(
                    f"the cloud at {self.place} is called {hello.cloud!r}, not {self.cloud.name!r}",
                    "users, paths and sockets are named after it, on all its hosts alike",
                    f"onestack join --name {hello.cloud} …",
                )
            need_release(hello.cloud, hello.release, self.release)
        yield from ensure_directory(places.folder, mode=0o700)
        if not _has_digest(places.authority, self.token.authority):

            def believe() -> None:
                text = authority_of(self.place, self.token.authority)
                write_file(places.authority, text, mode=0o600)

            yield Change(f"believe the door at {self.place}", believe)

    def _key(self) -> Iterator[Change]:
        if _key_of(self._places.key) is None:
            yield Change("make a key, which stays here", lambda: _make_key(self._places.key))

    def _way_back(self) -> Iterator[Change]:
        if self._places.kept() is None:
            yield Change(
                f"have the controller reach this host at {self.address}", self._try_way_back
            )

    def _try_way_back(self) -> None:
        if not may_listen(self.address):
            raise BadAnswers(
                f"{self.address} is no address of this machine",
                cure="name one of: ip -br address",
            )
        with _answering(self.address) as (port, word):
            asked = Reach(str(self.token), self._digest, self.address, port, word)
            found = self._client.ask("POST", protocol.REACH, dict[str, str], asked)
        if found.get("problem"):
            raise PreflightRefused(
                f"the controller does not reach this host at {self.address}",
                f"it tried port {port}: {found['problem']}",
                "open the way from the controller (packet filters of both, address translation in "
                "between), or name another address of this host: --address ADDRESS",
            )

    def _host(self) -> Iterator[Change]:
        places = self._places
        if places.kept() is None:
            yield Change(f"join the cloud as {self.name}", self._join)
        if (kept := places.kept()) is not None:
            yield from places.ensure_certificate(kept.standing)

    def _join(self) -> None:
        asked = Join(
            token=str(self.token),
            request=_request(self._places.key),
            name=self.name,
            address=self.address,
            release=self.release,
        )
        keep(self._places, self.place, self._client.ask("POST", protocol.JOIN, Standing, asked))

    def _admission(self) -> Iterator[Change]:
        kept = self._places.kept()
        if kept is None:
            raise OnestackError("this machine has not joined", cure="run the same command again")
        if kept.standing.admitted:
            return

        yield Change(
            "have the controller make what this host needs there", lambda: self._admit(kept)
        )

    def _shown(self) -> Iterator[Change]:
        if (kept := self._places.kept()) is not None:
            yield from ensure_shown(self.cloud, self._places.client(kept), kept.standing)

    def _admit(self, kept: Kept) -> None:
        """Asked until it is done: the controller does it for one host at a time.

        What it does for one that has left starts the door's front anew, and ends this connection:
        so one that is lost is asked for again, and the door is away for a moment.
        """
        client, until = self._places.client(kept), time.monotonic() + ADMISSION
        away: float | None = None
        while True:
            began = time.monotonic()
            try:
                now = client.ask("POST", protocol.ADMIT, Standing, {}, ADMISSION)
            except NoDoor as lost:
                ended = time.monotonic()
                # It does not take so long to find out that nobody is there: one was, until now.
                if away is None or ended - began > 2 * SECONDS:
                    away = ended
                if ended - away > AWAY:
                    raise
                tell(f"{lost.what}; asking again")
            else:
                keep(self._places, self.place, now)
                if now.admitted:
                    return
                away = None
                tell("the controller is at work for another host; asking again")
            if time.monotonic() > until:
                raise OnestackError(
                    "the controller has not made ready for this host",
                    f"it was at work for others for {ADMISSION:.0f} s",
                    "see onestack status there; then the same command here again",
                )
            time.sleep(AGAIN)

    @property
    def _digest(self) -> str:
        key = _key_of(self._places.key)
        assert key is not None, "the step before has made it"
        return key


def joining(
    cloud: Cloud, place: Place, token: JoinToken, name: str, address: str, release: str
) -> Joining:
    """What was typed, as far as this machine can judge it. Raises `BadAnswers`."""
    try:
        found = str(ipaddress.ip_address(address))
    except ValueError:
        raise BadAnswers(
            f"{address!r} is no address of this machine", cure="name one of: ip -br address"
        ) from None
    return Joining(cloud, place, token, host_name(name), found, release)


def keep(places: Places, place: Place, standing: Standing) -> None:
    """What the host's daemons show is its newest certificate from then on."""
    text = json.dumps(to_plain(Kept(str(place), standing)), indent=1) + "\n"
    write_file(places.standing, text, mode=0o600)
    for change in places.ensure_certificate(standing):
        change.do()


def refreshed(cloud: Cloud) -> Standing | None:
    """A host's standing as its cloud has it now, kept; ``None`` for one that has not joined.

    A certificate that ends within `certificates.RENEW_DAYS` is renewed. Where the door is not
    reached it is what was kept. Raises `Refusal` where the host is none any more.
    """
    places = Places.of(cloud)
    kept = places.kept()
    if kept is None:
        return None
    try:
        client = places.client(kept)
        now = client.ask("GET", protocol.SELF, Standing)
        if not _lasts(now.certificate):
            asked = Renew(_request(places.key))
            now = client.ask("POST", protocol.RENEW, Standing, asked)
        for change in ensure_shown(cloud, client, now):
            change.do()
    except NoDoor:
        return kept.standing
    if now != kept.standing:
        keep(places, Place.read(kept.door), now)
    return now


def ensure_shown(cloud: Cloud, client: DoorClient, standing: Standing) -> Iterator[Change]:
    """What the host is to show to others, with keys of its own. Raises `NoDoor` and `Refusal`."""
    told = standing.projection
    folder = Places.of(cloud).folder
    files = {folder / "peers-ca.pem": told.peers, folder / "peers-revoked.pem": told.revoked}
    for path, text in files.items():
        yield from ensure_file(path, text, mode=0o600)
    for purpose in told.purposes:
        certificate, key = peers.kept(cloud.etc, purpose)
        if _key_of(key) is None or not _is_shown(certificate, key, folder / "peers-ca.pem"):
            yield Change(
                f"have the controller sign what this host shows to others ({purpose})",
                functools.partial(_certify, cloud, client, purpose, certificate, key),
            )


def _certify(cloud: Cloud, client: DoorClient, purpose: str, certificate: Path, key: Path) -> None:
    # Nothing that the host is told changes with it, and only `up` gives it to who shows it.
    follower.begin(cloud)
    if _key_of(key) is None:
        _make_key(key)
    asked = Certify(purpose, _request(key))
    found = client.ask("POST", protocol.CERTIFY, dict[str, str], asked)
    write_file(certificate, found.get("certificate", ""), mode=0o600)


def _is_shown(certificate: Path, key: Path, authority: Path) -> bool:
    """Whether it is good for a while yet."""
    from onestack.components import certificates

    return bool(
        certificates.good(certificate, authority) and certificates.belong_together(certificate, key)
    )


def need_no_other(cloud: Cloud, token: JoinToken) -> None:
    """Raises `PreflightRefused` where this machine has a cloud of its own, or is another's host."""
    places, record = Places.of(cloud), cloud.record
    if record is not None and record.hosts and Role.CONTROLLER in record.hosts[0].roles:
        raise PreflightRefused(
            f"this machine has a cloud of its own, {cloud.name!r}",
            f"it is in {cloud.root}",
            "join with another machine, or take it away first: onestack destroy",
        )
    kept = places.kept()
    if kept is not None and not _has_digest(places.authority, token.authority):
        raise PreflightRefused(
            "this machine is a host of another cloud already",
            f"it joined at {kept.door}",
            "onestack leave, then onestack join again",
        )


def need_release(cloud: str, theirs: str, ours: str) -> None:
    """Raises `PreflightRefused` unless both are one."""
    if theirs != ours:
        raise PreflightRefused(
            f"the cloud {cloud!r} is of OpenStack {theirs}, and this machine's onestack of {ours}",
            "all hosts of a cloud have one release",
            "take the onestack that the controller has",
        )


def leave(cloud: Cloud, tell: bool = True) -> Iterator[Change]:
    """Tell the cloud, and forget what this host knows of it. Raises `OnestackError`.

    One that has removed the host already is content.
    """
    places = Places.of(cloud)
    try:
        kept = places.kept()
    except OnestackError:
        kept = None
    if tell and kept is not None and places.key.exists() and places.authority.exists():
        yield Change(f"tell {kept.door}", lambda: _tell(places, kept))
    if places.folder.exists():
        yield Change("forget the cloud", lambda: remove_tree(places.folder))


def _tell(places: Places, kept: Kept) -> None:
    try:
        places.client(kept).ask("POST", protocol.LEAVE, dict[str, str], {})
    except OnestackError as problem:
        if isinstance(problem, Refusal) and problem.gone:
            return
        problem.cure = (
            f"{problem.cure or 'see onestack status door on the controller'}; or leave without it: "
            "onestack leave --without-controller, and on the controller: onestack host remove "
            f"{kept.standing.name}"
        )
        raise


@contextmanager
def _answering(address: str) -> Iterator[tuple[int, str]]:
    """Listening at a port of ``address``: whoever comes is told a word, and nothing else."""
    word = secrets.token_hex(16)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as sock:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = sock.accept()
                    with connection:
                        connection.settimeout(5)
                        connection.sendall(word.encode())

        threading.Thread(target=serve, daemon=True).start()
        yield int(sock.getsockname()[1]), word
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _has_digest(authority: Path, digest: str) -> bool:
    try:
        der = ssl.PEM_cert_to_DER_cert(authority.read_text())
    except (OSError, ValueError):
        return False
    return hashlib.sha256(der).hexdigest() == digest


def _key_of(path: Path) -> str | None:
    """SHA-256 of the public key; ``None`` where there is no key that can be used."""
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError):
        return None
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_key().public_bytes(*form)).hexdigest()


def _lasts(certificate: str) -> bool:
    """Whether it is good for a while yet."""
    import datetime

    from cryptography import x509

    from onestack.components.certificates import RENEW_DAYS

    ends = x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
    left = ends - datetime.datetime.now(datetime.UTC)
    return left > datetime.timedelta(days=RENEW_DAYS)


def _make_key(path: Path) -> None:
    from onestack.components import certificates

    write_file(path, certificates.new_key(), mode=0o600)


def _request(path: Path) -> str:
    from onestack.components import certificates

    return certificates.request(path)
