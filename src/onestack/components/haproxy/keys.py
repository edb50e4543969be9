"""Answer keys of the TLS front, and what certificates given by the operator must be like."""

from __future__ import annotations

import re
from collections.abc import Iterable

from onestack.answers.values import Answers
from onestack.components.haproxy import inspect
from onestack.model.declarations import Certificate
from onestack.model.key import Key, Kind

SUBJECT = "CONFIG_SSL_CERT_SUBJECT_"
OWN = "CONFIG_ONESTACK_SSL_"
_PARTS = (
    ("C", "Country (two letters)"),
    ("ST", "State"),
    ("L", "City"),
    ("O", "Organisation"),
    ("OU", "Unit"),
    ("CN", "Common name"),
    ("MAIL", "E-mail address"),
)


def _wrong_country(text: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z]{2}|--", text) else "a country is two letters, such as DE"


KEYS: tuple[Key, ...] = (
    Key(
        "CONFIG_SSL_CACERT_SELFSIGN",
        "y",
        "Have the cloud make a certificate authority of its own. n: one of the operator's, "
        "CONFIG_SSL_CACERT_FILE and CONFIG_SSL_CACERT_KEY_FILE, signs the cloud's certificate.",
        Kind.FLAG,
    ),
    Key(
        "CONFIG_SSL_CACERT_FILE",
        "/etc/pki/tls/certs/selfcert.crt",
        "PEM file of that authority's certificate; read only with CONFIG_SSL_CACERT_SELFSIGN=n.",
        Kind.PATH,
    ),
    Key(
        "CONFIG_SSL_CACERT_KEY_FILE",
        "/etc/pki/tls/private/selfkey.key",
        "PEM file of its key, without a passphrase.",
        Kind.PATH,
    ),
    *(
        Key(
            f"{SUBJECT}{part}",
            "",
            f"{what} in the subject of the certificates that are made. Empty or --: none"
            + (", but the address and the cloud's name." if part == "CN" else "."),
            check=_wrong_country if part == "C" else None,
        )
        for part, what in _PARTS
    ),
    Key(
        f"{OWN}CERT",
        "",
        "PEM file of a certificate for all public ports, instead of one that the cloud makes. It "
        "must be for the cloud's address (CONFIG_CONTROLLER_HOST).",
        Kind.PATH,
    ),
    Key(f"{OWN}KEY", "", "PEM file of its key, without a passphrase.", Kind.PATH),
    Key(
        f"{OWN}CACERT",
        "",
        "PEM file of the authorities above that certificate. Empty: the system's.",
        Kind.PATH,
    ),
)


def subject(answers: Answers) -> dict[str, str]:
    """Parts of the subject that were given: ``{"O": "…"}``."""
    found = {part: str(answers[f"{SUBJECT}{part}"]).strip() for part, _ in _PARTS}
    return {part: text for part, text in found.items() if text and text != "--"}


def own(answers: Answers) -> Certificate | None:
    """The operator's certificate for all ports, if there is one."""
    files = [str(answers[f"{OWN}{what}"]) for what in ("CERT", "KEY", "CACERT")]
    return Certificate(*files) if files[0] else None


def authority(answers: Answers) -> Certificate | None:
    """The operator's authority, if it signs."""
    if answers["CONFIG_SSL_CACERT_SELFSIGN"]:
        return None
    return Certificate(
        str(answers["CONFIG_SSL_CACERT_FILE"]), str(answers["CONFIG_SSL_CACERT_KEY_FILE"])
    )


def validate(answers: Answers) -> Iterable[str]:
    if signs := authority(answers):
        for wrong in inspect.authority_problems(signs):
            yield f"CONFIG_SSL_CACERT_SELFSIGN=n: {wrong}"
    yield from pair(answers, f"{OWN}CERT", f"{OWN}KEY", f"{OWN}CACERT")
    yield from pair(answers, "CONFIG_VNC_SSL_CERT", "CONFIG_VNC_SSL_KEY")


def pair(answers: Answers, certificate: str, key: str, ca: str = "") -> Iterable[str]:
    """What is wrong with a certificate and a key that two answers name."""
    files = [str(answers[name]) if name else "" for name in (certificate, key, ca)]
    if files[0] and files[1]:
        for wrong in inspect.problems(Certificate(*files)):
            yield f"{certificate}: {wrong}"
    elif files[0] or files[1]:
        missing, there = (key, certificate) if files[0] else (certificate, key)
        yield f"{there} is of no use without {missing}"
