"""What is answered at the door: WSGI behind its front, which has ended TLS.

Each request is looked up in the list of hosts as it is at that moment: a host that was removed is
refused on a connection that it has open, too.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from onestack.cluster import asking, protocol
from onestack.cluster.asking import Spool, Unawaited
from onestack.cluster.following import Reports, revision
from onestack.cluster.membership import Issued, Member, Membership, NotAMember, Removed, Wish
from onestack.cluster.protocol import (
    Answer,
    Asked,
    Certify,
    Following,
    Hello,
    Join,
    Reach,
    Refusal,
    Renew,
    Standing,
    Wanted,
)
from onestack.cluster.settings import DoorSettings
from onestack.cluster.tokens import JoinToken, TokenRefused
from onestack.components.door.inside import issuing
from onestack.model.errors import BadAnswers, OnestackError

VERIFIED, CERTIFICATE = "HTTP_X_ONESTACK_VERIFY", "HTTP_X_ONESTACK_PEER"
"""The front's own headers: OpenSSL's word on the client's certificate, and that (DER, base64).
It takes no request whose headers could be mistaken for them."""
OF_TIME = ("9", "10")
"""OpenSSL's numbers for a certificate that is not good yet, or not any more."""
SECONDS = 5.0
"""What the way back to a machine may take."""
LOG = logging.getLogger("onestack.door")

Admit = Callable[[], None]
"""Makes on the controller what hosts need there, and ends what those had that are none any more.
Raises `OnestackError`."""
Environ = dict[str, Any]


class Door:
    """The application."""

    def __init__(self, settings: DoorSettings, admit: Admit) -> None:
        self.settings = settings
        self._admit = admit
        self._at_work = threading.Lock()
        """Held while the controller's `up` runs for somebody."""
        self._to_end = threading.Lock()
        """Held by who waits to have it run for hosts that left."""
        self.hosts = Membership(Path(settings.folder), taken=(settings.controller,))
        self.reports = Reports.below(Path(settings.folder))
        self.reports.keep_only({m.identity for m in self.hosts.document().members})
        self.spool = Spool(Path(settings.asked))
        self._swept = -math.inf
        self._sweep()
        self._ways: dict[tuple[str, str], Callable[[Environ], object]] = {
            ("GET", protocol.HELLO): self.hello,
            ("POST", protocol.REACH): self.reach,
            ("POST", protocol.JOIN): self.join,
            ("GET", protocol.SELF): self.itself,
            ("POST", protocol.ADMIT): self.admit,
            ("POST", protocol.RENEW): self.renew,
            ("POST", protocol.CERTIFY): self.certify,
            ("POST", protocol.LEAVE): self.leave,
            ("POST", protocol.FOLLOW): self.follow,
            ("POST", protocol.ASKED): self.asked,
            ("POST", protocol.ANSWER): self.answer,
        }

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = self._answer(environ)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    def _answer(self, environ: Environ) -> tuple[str, str, bytes]:
        method, path = str(environ["REQUEST_METHOD"]), str(environ["PATH_INFO"])
        if (method, path) == ("GET", protocol.CA):
            return "200 OK", "application/x-pem-file", Path(self.settings.ca).read_bytes()
        try:
            way = self._ways.get((method, path))
            if way is None:
                raise Refusal(f"the door knows no {method} {path[:80]!r}", exit_code=2)
            return "200 OK", "application/json", protocol.said(way(environ))
        except OnestackError as error:
            LOG.info("%s %s from %s: %s", method, path, _from(environ), error.what)
            kind = "403 Forbidden" if isinstance(error, TokenRefused | NotAMember) else "400 No"
            gone = isinstance(error, Removed)
            return kind, "application/json", protocol.said(protocol.refusal(error, gone))

    # -- for everybody ---------------------------------------------------------

    def hello(self, environ: Environ) -> Hello:
        return Hello(self.settings.cloud, self.settings.release, time.time())

    # -- with a token ------------------------------------------------------------

    def reach(self, environ: Environ) -> dict[str, str]:
        asked = _body(environ, Reach)
        self.hosts.invitation(JoinToken.read(asked.token), asked.key)
        address = self._elsewhere(asked.address)
        if not 1024 <= asked.port < 65536 or not re.fullmatch(r"[0-9a-f]{32}", asked.word):
            raise Refusal("the way back cannot be tried", "the request is not fit", exit_code=2)
        try:
            with socket.create_connection((address, asked.port), SECONDS) as connection:
                connection.settimeout(SECONDS)
                heard = connection.makefile("rb").read(len(asked.word))
        except OSError as error:
            return {"problem": error.strerror or str(error) or type(error).__name__}
        right = heard == asked.word.encode()
        return {"problem": "" if right else "another machine answers there"}

    def join(self, environ: Environ) -> Standing:
        asked = _body(environ, Join)
        token = JoinToken.read(asked.token)
        key, digest = issuing.requested(asked.request)
        self.hosts.invitation(token, digest)  # before a stranger learns anything more
        if asked.release != self.settings.release:
            raise Refusal(
                f"the cloud {self.settings.cloud!r} is of OpenStack {self.settings.release}, and "
                f"this machine's onestack of {asked.release[:20]!r}",
                "all hosts of a cloud have one release",
                "take the onestack that the controller has",
                3,
            )

        def sign(member: Member) -> Issued:
            return issuing.issued(Path(self.settings.ca), Path(self.settings.ca_key), key, member)

        wish = Wish(asked.name, self._elsewhere(asked.address), digest)
        member = self.hosts.join(token, wish, sign)
        LOG.info("%s (%s) joined with the token %s", member.name, member.address, token.id)
        return self.settings.standing(member)

    # -- for hosts ---------------------------------------------------------------

    def itself(self, environ: Environ) -> Standing:
        return self.settings.standing(self._member(environ))

    def admit(self, environ: Environ) -> Standing:
        """Have the controller make what the host needs there, if it has not yet.

        While it is at work for another nobody waits here, where all threads would be taken by
        those that do: who is not admitted by the answer asks again.
        """
        if not self._member(environ).admitted and self._at_work.acquire(blocking=False):
            try:
                if not self._member(environ).admitted:
                    LOG.info("the controller makes what %s needs", self._member(environ).name)
                    self._admit()
            finally:
                self._at_work.release()
        return self.settings.standing(self._member(environ))

    def renew(self, environ: Environ) -> Standing:
        member = self._member(environ)
        key, digest = issuing.requested(_body(environ, Renew).request)
        if digest != member.key:
            raise Refusal("the certificate is for another key than the host's", exit_code=2)

        if issuing.lasts(member.certificates[-1].ends):
            # Each that is given up stays in the list of those that are good no more.
            return self.settings.standing(member)

        def sign(of: Member) -> Issued:
            return issuing.issued(Path(self.settings.ca), Path(self.settings.ca_key), key, of)

        LOG.info("%s has its certificate renewed", member.name)
        return self.settings.standing(self.hosts.renew(member, sign))

    def certify(self, environ: Environ) -> dict[str, str]:
        """For what the host shows to others."""
        member, asked = self._member(environ), _body(environ, Certify)
        if asked.purpose not in self.settings.purposes:
            raise Refusal(f"hosts have no certificate for {asked.purpose[:20]!r}", exit_code=2)
        key, digest = issuing.requested(asked.request)
        if digest == member.key:
            raise Refusal("that key is what the host shows to the door", exit_code=2)
        known = member.newest(asked.purpose)
        if known and known.key == digest and issuing.lasts(known.ends):
            return {"certificate": known.certificate}
        ca = Path(self.settings.peers), Path(self.settings.peers_key)

        def sign(of: Member) -> Issued:
            return issuing.issued_for(asked.purpose, *ca, key, of)

        LOG.info("%s has a certificate made to show to other hosts", member.name)
        return {"certificate": self.hosts.certified(member, sign).certificate}

    def follow(self, environ: Environ) -> Wanted:
        """What the host should be brought up with; what it says of itself is written down."""
        member, said = self._member(environ), _body(environ, Following)
        try:
            self.reports.put(member.identity, said)
        except OSError as error:  # a full disk keeps no host from following
            LOG.error("what %s says is not kept: %s", member.name, error)
        shown = filter(None, map(member.newest, self.settings.purposes))
        return Wanted(
            revision(self.settings.standing(member)),
            Path(self.settings.edition).read_text(encoding="ascii").strip(),
            renew=not all(issuing.lasts(one.ends) for one in (member.certificates[-1], *shown)),
        )

    def asked(self, environ: Environ) -> Asked:
        """What the controller's commands ask of the host, if anything."""
        member = self._member(environ)
        self._sweep()
        pause = asking.pause(len(self.hosts.document().members))
        return Asked(self.spool.take(member.identity), pause)

    def _sweep(self) -> None:
        """What was left by who asked and was killed; once in a while."""
        if (at := asking.now()) >= self._swept + asking.SWEEP:
            self._swept = at
            self.spool.sweep()

    def answer(self, environ: Environ) -> dict[str, str]:
        """What became of that. Of a host that was asked nothing not a byte is read."""
        member = self._member(environ)
        if not self.spool.expects(member.identity):
            raise Unawaited(f"nothing was asked of {member.name}")
        said = _body(environ, Answer, protocol.LONGEST_ANSWER)
        try:
            self.spool.answer(member.identity, said)
        except OSError as error:
            LOG.error("what %s answers is not kept: %s", member.name, error)
            raise Refusal("the answer could not be kept", error.strerror or str(error)) from None
        return {}

    def leave(self, environ: Environ) -> dict[str, str]:
        gone = self.hosts.remove(self._member(environ).name)
        LOG.info("%s has left", gone.name)
        # Answered first: what is done then ends what the host has open, this connection too.
        threading.Thread(target=self._end_what_it_had, daemon=True).start()
        return {"left": gone.name}

    def _end_what_it_had(self) -> None:
        """By the controller's `up`; one that is about to begin sees to all that left before."""
        if not self._to_end.acquire(blocking=False):
            return
        with self._at_work:
            self._to_end.release()
            try:
                self._admit()
            except OnestackError as error:
                LOG.error(
                    "accounts of hosts that left are there until the next `onestack up`: %s: %s",
                    error.what,
                    error.why,
                )

    def _elsewhere(self, text: str) -> str:
        """An address at which another machine may be. Raises `BadAnswers`."""
        address = _address(text)
        if address == self.settings.address:
            raise BadAnswers(
                f"{address} is the controller's own address",
                "tunnels lead to one host by each address",
                "give the one that this machine has: --address ADDRESS",
            )
        return address

    def _member(self, environ: Environ) -> Member:
        """The host that asks. Raises `NotAMember`."""
        verified = environ.get(VERIFIED, "")
        shown = environ.get(CERTIFICATE, "")
        if not shown:
            raise NotAMember("only a host of the cloud may ask for that")
        if verified in OF_TIME:
            raise issuing.ended()
        if verified != "0":
            raise NotAMember("the certificate is none of this cloud's hosts")
        try:
            der = base64.b64decode(shown, validate=True)
        except binascii.Error:
            raise NotAMember("the certificate cannot be read") from None
        return self.hosts.holder(*issuing.shown(Path(self.settings.ca), der))


def _body(
    environ: Environ, wanted: type[protocol.T], longest: int = protocol.LONGEST
) -> protocol.T:
    """What was sent, as a ``wanted``. Raises `Refusal`, which does not repeat it."""
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if not length.isdecimal() or int(length) > longest:
        raise Refusal("the request is too long", exit_code=2)
    try:
        return protocol.heard(wanted, environ["wsgi.input"].read(int(length)))
    except (ValueError, RecursionError):
        raise Refusal(
            "the request cannot be understood",
            f"it is no {wanted.__name__} of version {protocol.VERSION}: the machine may have "
            "another onestack than the controller",
            "take the onestack that the controller has",
            2,
        ) from None


def _address(text: str) -> str:
    """An address of a machine, as it is written where they are compared. Raises `BadAnswers`."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise BadAnswers(f"{text[:80]!r} is no IP address") from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.is_loopback or found.is_unspecified or found.is_multicast or found.is_link_local:
        raise BadAnswers(
            f"{found} is no address at which the controller could reach a host",
            cure="give the one that it has on the network between them: --address ADDRESS",
        )
    return str(found)


def _from(environ: Environ) -> str:
    return str(environ.get("HTTP_X_FORWARDED_FOR") or "?")
