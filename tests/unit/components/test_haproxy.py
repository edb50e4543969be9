"""The TLS front's room: what it listens on, what it sends where, its certificates."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography import x509

from onestack.components import certificates
from onestack.components.haproxy import Haproxy
from onestack.components.haproxy.tls import ensure_tls
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Certificate, Frontend
from onestack.model.host import Host
from onestack.model.process import HttpProbe
from tests.support import networks
from tests.support.needs import needs_root
from tests.unit.components.certificates import authority
from tests.unit.components.rooms import MACHINE, content, context

HAPROXY = Haproxy()
installed = pytest.mark.skipif(
    not Path("/usr/sbin/haproxy").exists(), reason="needs the package haproxy"
)


class Api(Component):
    name = "api"

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("keystone", 5000, f"{ctx.internal}:5000")
        yield Frontend("novncproxy", 6080, f"{ctx.internal}:6080")


class Dashboard(Component):
    name = "dashboard"

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("horizon", 443, f"{ctx.internal}:8443")


class Mixed(Component):
    """A port with a certificate of its own, a plain one, and one that sends on to HTTPS."""

    name = "mixed"

    def __init__(self, own: Certificate) -> None:
        self.own = own

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("own", 443, f"{ctx.internal}:8443", certificate=self.own)
        yield Frontend("plain", 8080, f"{ctx.internal}:8080", plain=True)
        yield Frontend("to-https", 80, "", plain=True)


def apply(ctx: Context) -> list[str]:
    """Make the certificates that are missing, and say which."""
    said = []
    for change in ensure_tls(ctx, "root"):
        said.append(change.what.split(" for ")[0])
        change.do()
    return said


def read_by_haproxy(ctx: Context) -> str:
    """What it says of its file, which it takes."""
    file = ctx.cloud.etc / "haproxy.cfg"
    file.write_text(content(ctx, HAPROXY, "haproxy.cfg"))
    done = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def loaded(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    (tmp_path / "etc" / "tls").mkdir(parents=True)
    return context(tmp_path, Api(), HAPROXY)


def test_every_front_goes_to_its_service(ctx: Context) -> None:
    text = content(ctx, HAPROXY, "haproxy.cfg")
    assert f"bind 192.0.2.5:5000 ssl crt {ctx.cloud.etc}/tls/server.pem" in text
    assert "server keystone 127.77.0.1:5000" in text
    assert "server novncproxy 127.77.0.1:6080" in text
    assert text.count("http-request set-header X-Forwarded-Proto https") == 2


def test_it_may_bind_low_ports_only_when_it_must(ctx: Context) -> None:
    (process,) = HAPROXY.processes(ctx)
    assert (process.user, process.capabilities) == ("onestack-haproxy", ())
    with_dashboard = dataclasses.replace(ctx, components=(Api(), Dashboard(), HAPROXY))
    (process,) = HAPROXY.processes(with_dashboard)
    assert process.capabilities == ("net_bind_service",)


def test_nothing_to_front_is_no_process(tmp_path: Path) -> None:
    assert list(HAPROXY.processes(context(tmp_path, HAPROXY))) == []


@pytest.fixture
def mixed(tmp_path: Path) -> Context:
    made = authority(tmp_path)
    own = Certificate(str(made.certificate), str(made.key), str(made.ca))
    (tmp_path / "etc" / "tls").mkdir(parents=True)
    return context(tmp_path, Api(), Mixed(own), HAPROXY)


def test_ports_of_other_kinds(mixed: Context) -> None:
    sections = content(mixed, HAPROXY, "haproxy.cfg").split("\nlisten ")
    own, plain, to_https = (
        next(s for s in sections if s.startswith(name)) for name in ("own", "plain", "to-https")
    )
    assert f"ssl crt {mixed.cloud.etc}/tls/front-own.pem" in own
    assert "bind 192.0.2.5:8080\n" in plain and "X-Forwarded-Proto http\n" in plain
    assert "redirect scheme https code 301" in to_https and "server" not in to_https
    (process,) = HAPROXY.processes(mixed)
    tls = mixed.cloud.etc / "tls"
    assert process.files[1:] == (str(tls / "front-own.pem"), str(tls / "server.pem"))


def test_the_operators_certificate_is_copied(mixed: Context, tmp_path: Path) -> None:
    apply(mixed)
    file = mixed.cloud.etc / "tls" / "front-own.pem"
    parts = [(tmp_path / name).read_text() for name in ("certificate.pem", "ca.pem", "key.pem")]
    assert file.read_text() == "".join(parts)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert apply(mixed) == []
    (tmp_path / "certificate.pem").write_text((tmp_path / "expired.pem").read_text())
    assert apply(mixed) == [f"write {file}"]


@installed
def test_haproxy_reads_all_kinds_of_ports(mixed: Context) -> None:
    apply(mixed)
    read_by_haproxy(mixed)


class Elsewhere(Component):
    """Ports for guests: TCP with TLS, and HTTP, at an address that may not be there yet."""

    name = "elsewhere"

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("bus", 5671, f"{ctx.internal}:5672", address=GUESTS, tcp=True)
        yield Frontend("objects", 8080, f"{ctx.internal}:8080", address=GUESTS)


GUESTS = "127.198.18.1"


def test_ports_at_another_address(ctx: Context) -> None:
    ctx = dataclasses.replace(ctx, components=(Elsewhere(), Api(), HAPROXY))
    sections = content(ctx, HAPROXY, "haproxy.cfg").split("\nlisten ")
    bus, objects = (next(s for s in sections if s.startswith(n)) for n in ("bus", "objects"))
    file = ctx.cloud.etc / "tls" / f"address-{GUESTS}.pem"
    assert f"bind {GUESTS}:5671 transparent ssl crt {file}\n" in bus
    assert "mode tcp" in bus and "X-Forwarded" not in bus
    assert f"bind {GUESTS}:8080 transparent ssl crt {file} alpn http/1.1\n" in objects
    assert "X-Forwarded-Proto https" in objects
    (process,) = HAPROXY.processes(ctx)
    assert str(file) in process.files
    # the address of guests may come later
    assert process.probe == HttpProbe("https://192.0.2.5:5000/-/front", seconds=15)
    # the front answers for itself, at that port alone
    assert [s.split()[0] for s in sections if "monitor-uri /-/front\n" in s] == ["keystone"]


@pytest.mark.parametrize("own", [False, True])
def test_their_certificate_is_by_the_clouds_authority(
    ctx: Context, tmp_path: Path, own: bool
) -> None:
    """Also where the operator gave one for the public address."""
    answers: dict[str, str] = {}
    if own:
        made = authority(tmp_path)
        answers = {"CONFIG_ONESTACK_SSL_CERT": str(made.certificate)}
        answers["CONFIG_ONESTACK_SSL_KEY"] = str(made.key)
    ctx = context(tmp_path, Elsewhere(), Api(), HAPROXY, **answers)
    tls = ctx.cloud.etc / "tls"
    apply(ctx)
    found = loaded(tls / f"address-{GUESTS}.pem")
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == [GUESTS]
    found.verify_directly_issued_by(loaded(tls / "ca.pem"))
    assert apply(ctx) == []
    # nobody is there any more
    said = apply(context(tmp_path, Api(), HAPROXY, **answers))
    assert said == [f"remove {tls}/address-{GUESTS}.pem"]


@installed
def test_haproxy_reads_ports_at_another_address(ctx: Context) -> None:
    ctx = dataclasses.replace(ctx, components=(Elsewhere(), Api(), HAPROXY))
    apply(ctx)
    assert "WARNING" not in read_by_haproxy(ctx)


class Guests(Component):
    name = "guests"

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("bus", 5671, "127.0.0.1:1", address="198.18.8.1", tcp=True, plain=True)


@installed
@needs_root
def test_without_rights_haproxy_listens_before_the_address_is_there(tmp_path: Path) -> None:
    text = content(context(tmp_path, Guests(), HAPROXY), HAPROXY, "haproxy.cfg")
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    # in a place that nobody can reach
    with networks.alone(), tempfile.NamedTemporaryFile("w", dir="/var/tmp") as file:
        file.write(text)
        file.flush()
        Path(file.name).chmod(0o644)
        process = subprocess.Popen([*words, "/usr/sbin/haproxy", "-db", "-f", file.name])
        try:

            def listens() -> bool:
                shown = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True)
                return " 198.18.8.1:5671 " in shown.stdout

            assert networks.soon(listens)
        finally:
            process.kill()
            process.wait(5)


@installed
@needs_root
def test_one_guest_does_not_use_up_the_front(tmp_path: Path) -> None:
    """Whoever opens connections and says nothing is refused further ones, and nobody else is."""
    text = content(context(tmp_path, Guests(), HAPROXY), HAPROXY, "haproxy.cfg")

    def connection(source: str) -> socket.socket | None:
        try:
            return socket.create_connection(("198.18.8.1", 5671), 5, (source, 0))
        except ConnectionError:
            return None

    def stands(one: socket.socket | None) -> bool:
        if one is None:
            return False
        one.settimeout(0.3)
        try:
            return one.recv(1) != b""
        except TimeoutError:
            return True
        except ConnectionError:
            return False

    with networks.alone(), contextlib.ExitStack() as stack:
        for words in ("link set lo up", "address add 198.18.8.1/22 dev lo"):
            subprocess.run(["ip", *words.split()], check=True)
        # what is behind the front accepts and says nothing
        behind = stack.enter_context(socket.create_server(("127.0.0.1", 7001), backlog=100))
        file = Path(stack.enter_context(tempfile.TemporaryDirectory()), "haproxy.cfg")
        file.write_text(text.replace("127.0.0.1:1\n", f"127.0.0.1:{behind.getsockname()[1]}\n"))
        process = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", file])
        stack.callback(process.wait, 5)
        stack.callback(process.kill)
        shown = ["ss", "-ltnH"]
        assert networks.soon(lambda: b":5671 " in subprocess.run(shown, capture_output=True).stdout)
        found = [connection("198.18.8.1") for _ in range(40)]
        assert sum(stands(one) for one in found) == 32
        assert stands(connection("127.0.0.1"))


@installed
def test_haproxy_reads_its_file(ctx: Context) -> None:
    apply(ctx)
    assert "WARNING" not in read_by_haproxy(ctx)


def test_certificates_are_made_once(ctx: Context) -> None:
    made = ["make the cloud's certificate authority", "make the certificate"]
    assert apply(ctx) == made
    assert apply(ctx) == []
    folder = ctx.cloud.etc / "tls"
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o644, "server.pem": 0o640}
    server, authority = loaded(folder / "server.pem"), loaded(folder / "ca.pem")
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "somewhere"}
    assert {str(a) for a in names.get_values_for_type(x509.IPAddress)} == {
        *("127.0.0.1", "127.77.0.1", "192.0.2.5"),
    }
    assert server.not_valid_after_utc - server.not_valid_before_utc < datetime.timedelta(days=826)


def test_another_address_is_another_certificate_by_the_same_authority(ctx: Context) -> None:
    apply(ctx)
    authority = (ctx.cloud.etc / "tls" / "ca.pem").read_bytes()
    moved = dataclasses.replace(MACHINE, public_address="192.0.2.77")
    assert apply(dataclasses.replace(ctx, host=Host.alone(ctx.cloud, moved))) == [
        "make the certificate"
    ]
    assert (ctx.cloud.etc / "tls" / "ca.pem").read_bytes() == authority


def test_a_certificate_that_ends_soon_is_made_anew(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LEAF_DAYS", 29)
    apply(ctx)
    monkeypatch.undo()
    assert apply(ctx) == ["make the certificate"]
    assert apply(ctx) == []


def test_a_lost_authority_takes_its_certificates_along(ctx: Context) -> None:
    apply(ctx)
    (ctx.cloud.etc / "tls" / "ca.key").unlink()
    assert len(apply(ctx)) == 2
    assert apply(ctx) == []
