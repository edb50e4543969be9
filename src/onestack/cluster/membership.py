"""The hosts that have joined a cloud, and the tokens to join with: one file of the controller's.

The door (an unprivileged process) and the controller's verbs (root) both change it: under a
lock, and each time as a whole, so that whoever is killed leaves the file as it was or as it is
to be. All times are the controller's own: a clock of somebody else's decides nothing.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from onestack.cluster.names import host_name, normal
from onestack.cluster.tokens import JoinToken, TokenRefused
from onestack.kernel.files import write
from onestack.model.codec import Malformed, from_plain, to_plain
from onestack.model.errors import BadAnswers, OnestackError

FORMAT = 1
REMEMBERED = 7 * 86400
"""Seconds for which a token that was used, or has ended, is still known as such."""
CERTIFICATES = 2
"""A host may use its newest certificates: the one before goes on until the new one is there."""


class NotAMember(OnestackError):
    """The host is none of the cloud's, or not any more."""


class Removed(NotAMember):
    """It was one, and there is nothing of it any more that it could ask for, or give up."""


@dataclass(frozen=True)
class Issued:
    """A certificate (PEM), its serial number in lower-case hexadecimal, and when it ends."""

    certificate: str
    serial: str
    ends: float
    purpose: str = ""
    """What it is shown for, if not to the door."""
    key: str = ""
    """SHA-256 of its public key, if that is not the host's own."""


@dataclass(frozen=True)
class Member:
    """A host that has joined. ``identity`` is another one each time that a machine joins."""

    name: str
    number: int
    identity: str
    roles: tuple[str, ...]
    address: str
    """Where the others of the cloud reach it: its end of tunnels."""
    key: str
    """SHA-256 of the public key that it made for itself."""
    certificates: tuple[Issued, ...]
    """Those that it may use, the newest last."""
    joined: float
    admitted: bool = False
    """Whether the controller has made what the host needs there."""
    shown: tuple[Issued, ...] = ()
    """What it may show to other hosts, the newest of each purpose last."""

    @property
    def certificate(self) -> str:
        return self.certificates[-1].certificate

    def newest(self, purpose: str) -> Issued | None:
        """What it shows to other hosts for that, if it has been given something."""
        return next((one for one in reversed(self.shown) if one.purpose == purpose), None)


@dataclass(frozen=True)
class Invitation:
    """What is kept of a token."""

    id: str
    hash: str
    role: str
    name: str
    """The only name that whoever uses it may have; empty: any that is free."""
    created: float
    ends: float
    used: float = 0.0
    used_by: str = ""
    """The name of the host that used it."""
    key: str = ""
    """The public key (SHA-256) that it was used with: the same one may ask again."""


@dataclass(frozen=True)
class Revoked:
    """A certificate that is refused although it has not ended yet; ``name`` is its host's."""

    serial: str
    ends: float
    name: str = ""


@dataclass(frozen=True)
class Document:
    """All of it. ``changes`` counts them."""

    format: int = FORMAT
    changes: int = 0
    last_number: int = 0
    members: tuple[Member, ...] = ()
    invitations: tuple[Invitation, ...] = ()
    revoked: tuple[Revoked, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What a machine asks for when it joins."""

    name: str
    address: str
    key: str


Sign = Callable[[Member], Issued]
"""Gives a member that is about to be written down its certificate."""


@dataclass
class Membership:
    """``folder`` is the door's own; ``taken`` are names of hosts that did not join by it."""

    folder: Path
    taken: tuple[str, ...] = ()
    now: Callable[[], float] = time.time
    _read: tuple[tuple[int, ...], Document] | None = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        return self.folder / "membership.json"

    # -- looking -------------------------------------------------------------

    def document(self) -> Document:
        """As it is at this moment; empty before the first change. Raises `OnestackError`.

        What has been read is kept for as long as the file is the same one.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return Document()
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None
        with os.fdopen(descriptor, encoding="utf-8") as file:
            info = os.fstat(descriptor)
            mark = (info.st_ino, info.st_mtime_ns, info.st_size)
            if self._read is None or self._read[0] != mark:
                self._read = mark, self._parsed(file.read())
        return self._read[1]

    def _parsed(self, text: str) -> Document:
        try:
            raw = json.loads(text)
            if int(raw["format"]) > FORMAT:
                raise self._unreadable(f"it was written by a newer onestack ({raw['format']})")
            return from_plain(Document, raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            kind = "" if isinstance(error, Malformed) else f"{type(error).__name__}: "
            raise self._unreadable(f"it is damaged: {kind}{error}") from None

    def _unreadable(self, why: str) -> OnestackError:
        return OnestackError(
            f"the list of the cloud's hosts, {self.path}, cannot be read",
            why,
            "put it back from a copy; without it, hosts that have joined must join again",
        )

    def member(self, name: str) -> Member:
        """Raises `NotAMember`."""
        wanted = normal(name)
        document = self.document()
        for one in document.members:
            if one.name == wanted:
                return one
        names = ", ".join(m.name for m in document.members)
        raise NotAMember(
            f"no host called {wanted!r} has joined this cloud",
            f"there are: {names}" if names else "none has",
            "onestack host list",
        )

    def holder(self, identity: str, serial: str) -> Member:
        """Whose certificate that is, if it is good now. Raises `Removed`."""
        for one in self.document().members:
            if one.identity == identity and any(c.serial == serial for c in one.certificates):
                return one
        raise Removed(
            "this host is none of the cloud's any more",
            "it was removed, or has joined again since with another key",
            "on the controller: onestack token create; then here: onestack leave, onestack join",
        )

    def was_removed(self, name: str) -> bool:
        """Whether a host of that name went, and has a certificate that has not ended yet."""
        return normal(name) in {one.name for one in self.revoked()}

    def revoked(self) -> tuple[Revoked, ...]:
        """Those that have not ended by themselves."""
        return tuple(r for r in self.document().revoked if r.ends > self.now())

    # -- tokens --------------------------------------------------------------

    def invite(self, authority: str, role: str, name: str, seconds: float) -> JoinToken:
        """A new token, kept by its hash. Raises `BadAnswers` for a name that is not free."""
        name = host_name(name) if name else ""
        token = JoinToken.made(authority)
        with self._changing() as change:
            if name:
                self._need_free(change.document, name)
            now = self.now()
            kept = Invitation(token.id, token.hash, role, name, now, now + seconds)
            change.to(invitations=(*self._remembered(change.document), kept))
        return token

    def withdraw(self, token_id: str) -> Invitation:
        """The token is good no more. Raises `TokenRefused` for one that is not known."""
        with self._changing() as change:
            for one in change.document.invitations:
                if one.id == token_id:
                    rest = (i for i in self._remembered(change.document) if i.id != token_id)
                    change.to(invitations=tuple(rest))
                    return one
        raise TokenRefused(
            f"there is no token {token_id!r}",
            "it was revoked already, or was used or ended more than a week ago",
            "onestack token list",
        )

    def _remembered(self, document: Document) -> tuple[Invitation, ...]:
        since = self.now() - REMEMBERED
        return tuple(i for i in document.invitations if max(i.ends, i.used) > since)

    def invitation(self, token: JoinToken, key: str = "") -> Invitation:
        """What is kept of ``token``, if it is good, or was used with this ``key``.

        Raises `TokenRefused`.
        """
        return self._invitation(self.document(), token, key)

    def _invitation(self, document: Document, token: JoinToken, key: str) -> Invitation:
        another = "have another one made on the controller: onestack token create"
        kept = next((i for i in document.invitations if i.id == token.id), None)
        if kept is None or not token.fits(kept.hash):
            raise TokenRefused(
                f"the token {token.id} is not known to this cloud",
                "it was revoked, or ended more than a week ago",
                another,
            )
        if kept.used:
            if key and kept.key == key:
                return kept
            raise TokenRefused(
                f"the token {token.id} was used already",
                f"{kept.used_by} joined with it, {_when(kept.used)}; a token is good once",
                another,
            )
        if kept.ends <= self.now():
            raise TokenRefused(
                f"the token {token.id} has ended",
                f"it was good until {_when(kept.ends)}, by the controller's clock",
                another,
            )
        return kept

    # -- hosts ---------------------------------------------------------------

    def join(self, token: JoinToken, wish: Wish, sign: Sign) -> Member:
        """The machine as a host of the cloud, and its token used up, at once.

        The same key asking again, because the answer was lost, is given the same answer. Raises
        `TokenRefused`, and `BadAnswers` for a name that it may not have.
        """
        name = host_name(wish.name)
        with self._changing() as change:
            document = change.document
            kept = self._invitation(document, token, wish.key)
            if kept.used:
                for one in document.members:
                    if one.key == wish.key:
                        return one
                raise TokenRefused(
                    f"the token {token.id} was used already",
                    f"{kept.used_by}, which joined with it, was removed since",
                    "have another one made on the controller: onestack token create",
                )
            if kept.name and kept.name != name:
                raise BadAnswers(
                    f"the token {token.id} is for a host called {kept.name!r}, not {name!r}",
                    "it was made with --host",
                    f"onestack join --host {kept.name} …, if this is that machine",
                )
            self._need_free(document, name)
            self._need_one_place(document, wish)
            unsigned = Member(
                name=name,
                number=document.last_number + 1,
                identity=str(uuid.uuid4()),
                roles=(kept.role,),
                address=wish.address,
                key=wish.key,
                certificates=(),
                joined=self.now(),
            )
            made = dataclasses.replace(unsigned, certificates=(sign(unsigned),))
            used = dataclasses.replace(kept, used=self.now(), used_by=name, key=wish.key)
            change.to(
                last_number=made.number,
                members=(*document.members, made),
                invitations=tuple(
                    used if i.id == kept.id else i for i in self._remembered(document)
                ),
            )
            return made

    def _need_free(self, document: Document, name: str) -> None:
        if name in {normal(one) for one in self.taken}:
            raise BadAnswers(
                f"the name {name!r} is the controller's own",
                cure="give the host another one: onestack join --host NAME …",
            )
        for one in document.members:
            if one.name == name:
                raise BadAnswers(
                    f"the cloud has a host called {name!r} already",
                    f"it joined {_when(one.joined)}, from {one.address}",
                    f"if it is gone, on the controller: onestack host remove {name}; else give "
                    "this one another name: onestack join --host NAME …",
                )

    def _need_one_place(self, document: Document, wish: Wish) -> None:
        for one in document.members:
            if one.address == wish.address:
                raise BadAnswers(
                    f"the host {one.name!r} of the cloud has the address {wish.address}",
                    "tunnels lead to one host by each address",
                    f"if it is this machine, on the controller: onestack host remove {one.name}; "
                    "else give this one an address of its own: onestack join --address ADDRESS …",
                )
            if one.key == wish.key:
                raise BadAnswers(
                    f"the key is that of the host {one.name!r}",
                    "each machine makes a key of its own; this one seems to be a copy",
                    "onestack leave here, then onestack join again",
                )

    def renew(self, member: Member, sign: Sign) -> Member:
        """The same host with one more certificate. Raises `NotAMember`."""
        with self._changing() as change:
            one = _still(change.document, member)
            kept = (*one.certificates, sign(one))[-CERTIFICATES:]
            now = dataclasses.replace(one, certificates=kept)
            self._replace(change, now, [c for c in one.certificates if c not in kept])
            return now

    def certified(self, member: Member, sign: Sign) -> Issued:
        """One more certificate to show to other hosts. Raises `NotAMember`."""
        with self._changing() as change:
            one = _still(change.document, member)
            made = sign(one)
            same = [c for c in one.shown if c.purpose == made.purpose]
            dropped = [*same, made][:-CERTIFICATES]
            kept = (*(c for c in one.shown if c not in dropped), made)
            self._replace(change, dataclasses.replace(one, shown=kept), dropped)
            return made

    def _replace(self, change: _Change, now: Member, dropped: Iterable[Issued]) -> None:
        document = change.document
        change.to(
            members=_with(document.members, now),
            revoked=self._more_revoked(document, now.name, dropped),
        )

    def admitted(self, identities: Iterable[str]) -> None:
        """What these hosts need of the controller is there now."""
        wanted = set(identities)
        if not any(m.identity in wanted and not m.admitted for m in self.document().members):
            return
        with self._changing() as change:
            members = (
                dataclasses.replace(m, admitted=True) if m.identity in wanted else m
                for m in change.document.members
            )
            change.to(members=tuple(members))

    def remove(self, name: str) -> Member:
        """The host is none any more, from this moment on. Raises `NotAMember`."""
        with self._changing() as change:
            gone = self.member(name)
            document = change.document
            change.to(
                members=tuple(m for m in document.members if m.identity != gone.identity),
                revoked=self._more_revoked(document, gone.name, (*gone.certificates, *gone.shown)),
            )
            return gone

    def _more_revoked(
        self, document: Document, name: str, more: Iterable[Issued]
    ) -> tuple[Revoked, ...]:
        now = self.now()
        before = (r for r in document.revoked if r.ends > now)
        return (*before, *(Revoked(c.serial, c.ends, name) for c in more if c.ends > now))

    # -- changing ------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[_Change]:
        """Alone with the file. What is wanted of it is written at the end, if nothing failed."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            owner = self.folder.stat()
            lock = os.open(self.folder / "lock", flags, 0o600)
        except OSError as error:
            raise OnestackError(
                "the list of the cloud's hosts cannot be changed",
                f"{error.filename}: {error.strerror}",
                "onestack up makes its place",
            ) from None
        try:
            os.fchown(lock, owner.st_uid, owner.st_gid)
            fcntl.flock(lock, fcntl.LOCK_EX)
            change = _Change(self.document())
            yield change
            if change.wanted is not None:
                text = json.dumps(to_plain(change.wanted), indent=1) + "\n"
                write(self.path, text, 0o600, owner.st_uid, owner.st_gid)
        finally:
            os.close(lock)


@dataclass
class _Change:
    """``document`` is as it was found, ``wanted`` as it is to be."""

    document: Document
    wanted: Document | None = None

    def to(
        self,
        *,
        last_number: int | None = None,
        members: tuple[Member, ...] | None = None,
        invitations: tuple[Invitation, ...] | None = None,
        revoked: tuple[Revoked, ...] | None = None,
    ) -> None:
        was = self.document
        self.wanted = Document(
            changes=was.changes + 1,
            last_number=was.last_number if last_number is None else last_number,
            members=was.members if members is None else members,
            invitations=was.invitations if invitations is None else invitations,
            revoked=was.revoked if revoked is None else revoked,
        )


def _still(document: Document, member: Member) -> Member:
    """As it is now. Raises `NotAMember`."""
    for one in document.members:
        if one.identity == member.identity:
            return one
    raise NotAMember(f"the host {member.name!r} was removed meanwhile")


def _with(members: tuple[Member, ...], changed: Member) -> tuple[Member, ...]:
    return tuple(changed if m.identity == changed.identity else m for m in members)


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(moment))
