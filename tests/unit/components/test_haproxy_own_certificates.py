"""Certificates and authorities of the operator's: looked at before, used after."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from onestack.components.haproxy import Haproxy, inspect
from onestack.components.haproxy.tls import ensure_tls
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Certificate, Frontend
from onestack.model.host import Host
from tests.unit.components.rooms import MACHINE, content, context

HAPROXY = Haproxy()
NOW = datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass
class Made:
    """A certificate with its key, as files."""

    certificate: Path
    key: Path
    subject: x509.Name
    private: Any


def make(
    folder: Path,
    name: str,
    issuer: Made | None = None,
    *,
    ca: bool = False,
    days: int = 30,
    address: str = "192.0.2.5",
    key: Any = None,
    passphrase: bytes = b"",
) -> Made:
    private = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.private if issuer else private
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=60))
        .not_valid_after(NOW + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
        )
        .sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    found = Made(folder / f"{name}.pem", folder / f"{name}.key", subject, private)
    found.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    locked = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    found.key.write_bytes(private.private_bytes(*form, locked))
    return found


def pair(one: Made, other: Made | None = None, ca: Made | None = None) -> Certificate:
    return Certificate(
        str(one.certificate), str((other or one).key), str(ca.certificate) if ca else ""
    )


@pytest.fixture
def ca(tmp_path: Path) -> Made:
    return make(tmp_path, "ca", ca=True)


def test_what_fits_is_taken(tmp_path: Path, ca: Made) -> None:
    server = make(tmp_path, "server", ca)
    assert inspect.problems(pair(server, ca=ca), "192.0.2.5") == []
    # By itself its authority is not asked for.
    assert inspect.problems(pair(server)) == []
    assert inspect.authority_problems(pair(ca)) == []


def test_what_does_not_is_told(tmp_path: Path, ca: Made) -> None:
    server, other = make(tmp_path, "server", ca), make(tmp_path, "other", ca)
    old = make(tmp_path, "old", ca, days=-1)
    foreign = make(tmp_path, "foreign")
    locked = make(tmp_path, "locked", ca, passphrase=b"geheim")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nothing")
    for given, address, part in (
        (pair(server, other), "", "does not belong to"),
        (pair(old), "", "certificate has expired"),
        (pair(old, ca=ca), "", "certificate has expired"),
        (pair(foreign, ca=ca), "", "self-signed"),
        (pair(server, ca=ca), "192.0.2.99", "IP address mismatch"),
        (pair(locked), "", "has a passphrase"),
        (Certificate("/nonexistent", str(server.key)), "", "/nonexistent is not there"),
        (Certificate(str(nonsense), str(server.key)), "", "cannot be read as PEM"),
    ):
        (said,) = inspect.problems(given, address)
        assert part in said, said
    for given, part in (
        (pair(server), "may not sign others"),
        (pair(make(tmp_path, "past", ca=True, days=-1)), "has expired"),
        (pair(ca, other), "does not belong to"),
    ):
        (said,) = inspect.authority_problems(given)
        assert part in said, said


def test_answers_are_looked_at_together(tmp_path: Path, ca: Made) -> None:
    server = make(tmp_path, "server", ca, days=-1)
    given = {
        "CONFIG_ONESTACK_SSL_CERT": str(server.certificate),
        "CONFIG_ONESTACK_SSL_KEY": str(server.key),
        "CONFIG_VNC_SSL_CERT": str(server.certificate),
        "CONFIG_SSL_CACERT_SELFSIGN": "n",
        "CONFIG_SSL_CACERT_FILE": str(ca.certificate),
        "CONFIG_SSL_CACERT_KEY_FILE": str(server.key),
    }
    said = list(HAPROXY.validate(context(tmp_path, **given).answers))
    assert len(said) == 3
    assert "CONFIG_SSL_CACERT_SELFSIGN=n: the key" in said[0]
    assert "CONFIG_ONESTACK_SSL_CERT: " in said[1] and "expired" in said[1]
    assert said[2] == "CONFIG_VNC_SSL_CERT is of no use without CONFIG_VNC_SSL_KEY"


def apply(ctx: Context) -> list[str]:
    said = []
    for change in ensure_tls(ctx, "root"):
        said.append(change.what)
        change.do()
    return said


class Console(Component):
    name = "console"

    def __init__(self, own: Certificate | None = None) -> None:
        self.own = own

    def frontends(self, ctx: Context) -> list[Frontend]:
        return [Frontend("console", 6080, "127.0.0.1:6080", certificate=self.own)]


def front(folder: Path, own: Certificate | None = None, /, **given: str) -> Context:
    (folder / "etc" / "tls").mkdir(parents=True, exist_ok=True)
    return context(folder, Console(own), HAPROXY, **given)


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_the_operators_authority_signs(tmp_path: Path, kind: str) -> None:
    key = {
        "ec": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    theirs = make(tmp_path, "theirs", ca=True, key=key)
    given = {
        "CONFIG_SSL_CACERT_SELFSIGN": "n",
        "CONFIG_SSL_CACERT_FILE": str(theirs.certificate),
        "CONFIG_SSL_CACERT_KEY_FILE": str(theirs.key),
        "CONFIG_SSL_CERT_SUBJECT_O": "Example",
        "CONFIG_SSL_CERT_SUBJECT_C": "--",
        "CONFIG_SSL_CERT_SUBJECT_CN": "cloud.example.com",
    }
    ctx = front(tmp_path, **given)
    assert len(apply(ctx)) == 2
    assert apply(ctx) == []
    folder = ctx.cloud.etc / "tls"
    assert (folder / "ca.pem").read_text() == theirs.certificate.read_text()
    assert not (folder / "ca.key").exists()
    served = Certificate(
        str(folder / "server.pem"), str(folder / "server.pem"), str(folder / "ca.pem")
    )
    assert inspect.problems(served, "192.0.2.5") == []
    found = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    assert found.subject.rfc4514_string() == "CN=cloud.example.com,O=Example"
    # Back to an authority of its own: the old one's key does not fit, all is made anew.
    assert apply(front(tmp_path))[0] == "make the cloud's certificate authority"
    assert apply(front(tmp_path)) == []


def test_the_operators_certificate_is_served(tmp_path: Path, ca: Made) -> None:
    server, console = make(tmp_path, "one", ca), make(tmp_path, "two", ca)
    given = {
        "CONFIG_ONESTACK_SSL_CERT": str(server.certificate),
        "CONFIG_ONESTACK_SSL_KEY": str(server.key),
        "CONFIG_ONESTACK_SSL_CACERT": str(ca.certificate),
    }
    ctx = front(tmp_path, pair(console), **given)
    apply(ctx)
    assert apply(ctx) == []
    folder = ctx.cloud.etc / "tls"
    assert (folder / "server.pem").read_text() == (
        server.certificate.read_text() + ca.certificate.read_text() + server.key.read_text()
    )
    assert oct((folder / "front-console.pem").stat().st_mode & 0o777) == "0o640"
    # What clients trust has both: the cloud's own authority and the operator's.
    assert (folder / "ca.pem").read_text().count("BEGIN CERTIFICATE") == 2
    served = Certificate(
        str(folder / "server.pem"), str(folder / "server.pem"), str(folder / "ca.pem")
    )
    assert inspect.problems(served, "192.0.2.5") == []
    assert f"ssl crt {folder}/front-console.pem" in content(ctx, HAPROXY, "haproxy.cfg")
    (process,) = HAPROXY.processes(ctx)
    assert str(folder / "front-console.pem") in process.files


def test_a_certificate_for_another_address_is_an_obstacle(tmp_path: Path, ca: Made) -> None:
    server = make(tmp_path, "one", ca, address="192.0.2.99")
    given = {
        "CONFIG_ONESTACK_SSL_CERT": str(server.certificate),
        "CONFIG_ONESTACK_SSL_KEY": str(server.key),
        "CONFIG_ONESTACK_SSL_CACERT": str(ca.certificate),
    }
    here = dataclasses.replace(MACHINE, public_address="127.0.0.1")
    made = front(tmp_path, **given)
    ctx = dataclasses.replace(made, host=Host.alone(made.cloud, here))
    assert list(HAPROXY.validate(ctx.answers)) == []
    (finding,) = HAPROXY.preflight_checks(ctx)
    assert "https://127.0.0.1" in finding.what and "mismatch" in finding.why


def test_an_address_that_the_machine_has_not_is_an_obstacle(tmp_path: Path) -> None:
    made = front(tmp_path, CONFIG_CONTROLLER_HOST="192.0.2.5")
    assert list(HAPROXY.preflight_checks(made)) == []
    elsewhere = Host.alone(made.cloud, dataclasses.replace(MACHINE, public_here=False))
    (finding,) = HAPROXY.preflight_checks(dataclasses.replace(made, host=elsewhere))
    assert finding.what == "192.0.2.5 is no address of this machine"
    assert finding.cure.startswith("onestack up --set CONFIG_CONTROLLER_HOST=192.0.2.5, if ")
    nowhere = dataclasses.replace(elsewhere.facts, route_address="")
    made = dataclasses.replace(made, host=Host.alone(made.cloud, nowhere))
    (finding,) = HAPROXY.preflight_checks(made)
    assert finding.cure.startswith("leave CONFIG_CONTROLLER_HOST out")
