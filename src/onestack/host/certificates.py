"""Certificates that the operator brings: do they fit together, and will clients take them?

Standard library only (preflight).
"""

from __future__ import annotations

import ssl
from pathlib import Path

from onestack.errors import OnestackError

_PASSPHRASE = "a passphrase was asked for"


def complaint(certificate: Path, key: Path, chain: Path | None = None) -> str | None:
    """What is wrong with these PEM files as a server's, or ``None``.

    A client is made to connect, in memory, that trusts ``chain`` (without one,
    the certificate itself): that finds a key of another certificate, a chain
    that does not sign it, and dates that do not hold now.
    """
    for path in filter(None, (certificate, key, chain)):
        try:
            path.read_bytes()
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for path in filter(None, (certificate, chain)):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except (ssl.SSLError, OSError):
            return f"{path} holds no certificate in PEM form"
    client.load_verify_locations(chain or certificate)
    try:
        server.load_cert_chain(certificate, key, password=_refuse_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{key} is the key of another certificate than {certificate}"
        return f"{key} holds no private key in PEM form"
    except ValueError:
        return f"{key} has a passphrase, which nobody could type when the cloud starts"
    try:
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        signed = f" by {chain}" if chain else ""
        return f"{certificate} would not be accepted{signed}: {error.verify_message}"
    except ssl.SSLError as error:
        return f"{certificate} cannot be used: {error.reason or error}"
    return None


def together(certificate: Path, key: Path, chain: Path | None = None) -> str:
    """Certificate, chain and key in one text. Raises `OnestackError`."""
    parts = []
    for path in filter(None, (certificate, chain, key)):
        try:
            parts.append(path.read_text().strip() + "\n")
        except OSError as error:
            raise OnestackError(f"{path} cannot be read", error.strerror or "") from error
    return "".join(parts)


def _refuse_passphrase() -> str:
    raise ValueError(_PASSPHRASE)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Raises `ssl.SSLError` for what either side does not take."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                pass
