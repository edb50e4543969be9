"""Looks at certificates as a client would: by a handshake in memory. Standard library only."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from onestack.model.declarations import Certificate


class _Locked(Exception):
    """The key has a passphrase."""


def problems(given: Certificate, address: str = "") -> list[str]:
    """Why ``given`` cannot serve, each as a sentence; nothing when it can.

    With ``ca`` it must be signed by what is in there, else it is looked at alone.
    With ``address`` it must also be for that address or name.
    """
    if missing := _missing(given):
        return missing
    try:
        server = _loaded(ssl.PROTOCOL_TLS_SERVER, given)
    except ssl.SSLError as error:
        return [_sentence(given, error)]
    except _Locked:
        return [f"the key {given.key} has a passphrase, which nobody would be there to type"]
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = bool(address)
    try:
        client.load_verify_locations(cafile=given.ca or given.certificate)
    except ssl.SSLError:
        return [f"{given.ca or given.certificate} holds no certificate in PEM form"]
    # The certificate itself, or what lies between it and a root that clients have, will do.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        _handshake(server, client, address or None)
    except ssl.SSLCertVerificationError as error:
        return [f"{given.certificate}: {error.verify_message}"]
    except ssl.SSLError as error:
        return [f"{given.certificate}: {error.reason or error}"]
    return []


def authority_problems(given: Certificate) -> list[str]:
    """Why the authority ``given`` cannot sign."""
    if missing := _missing(given):
        return missing
    try:
        context = _loaded(ssl.PROTOCOL_TLS_SERVER, given)
    except ssl.SSLError as error:
        return [_sentence(given, error)]
    except _Locked:
        return [f"the key {given.key} has a passphrase, which nobody would be there to type"]
    context.load_verify_locations(cafile=given.certificate)
    # Only authorities are listed.
    authorities = context.get_ca_certs()
    if not authorities:
        return [f"{given.certificate} is a certificate that may not sign others"]
    ends = str(authorities[0]["notAfter"])
    if ssl.cert_time_to_seconds(ends) < time.time():
        return [f"{given.certificate} has expired ({ends})"]
    return []


def _missing(given: Certificate) -> list[str]:
    return [
        f"{path} is not there, or may not be read"
        for path in filter(None, (given.certificate, given.key, given.ca))
        if not _readable(Path(path))
    ]


def _readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def _loaded(protocol: int, given: Certificate) -> ssl.SSLContext:
    """Raises `ssl.SSLError` when the two do not belong together."""

    def asked() -> str:
        raise _Locked

    context = ssl.SSLContext(protocol)
    context.load_cert_chain(given.certificate, given.key, asked)
    return context


def _sentence(given: Certificate, error: ssl.SSLError) -> str:
    match error.reason:
        case "KEY_VALUES_MISMATCH" | "KEY_TYPE_MISMATCH":
            return f"the key {given.key} does not belong to the certificate {given.certificate}"
        case "EE_KEY_TOO_SMALL" | "CA_KEY_TOO_SMALL" | "CA_MD_TOO_WEAK":
            return f"{given.certificate} is too weak for today's TLS ({error.reason})"
        case _:
            return f"{given.certificate} and {given.key} cannot be read as PEM ({error.reason})"


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> None:
    """Both ends in this process. Raises `ssl.SSLError` with the client's judgement."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(8):
        waiting = [end for end in ends if not _step(end)]
        if not waiting:
            return
    raise ssl.SSLError("the handshake did not end")


def _step(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def chain(path: str) -> Iterator[str]:
    """The certificates in a PEM file, each as PEM."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    for part in Path(path).read_text(encoding="ascii", errors="replace").split(begin)[1:]:
        yield f"{begin}{part.partition(end)[0]}{end}\n"
