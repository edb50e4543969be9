"""The door, spoken to with real TLS: who is let in, and who is not."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import http.client
import shlex
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from onestack.cli.main import guarded
from onestack.cluster import client as clients
from onestack.cluster import protocol
from onestack.cluster.client import ClocksApart, DoorClient, NoDoor, Place, authority_of
from onestack.cluster.membership import NotAMember
from onestack.cluster.protocol import HOST, SERVER, Hello, Join, Reach, Refusal, Renew, Standing
from onestack.components import certificates, hosts
from onestack.components.door import authority
from onestack.components.door.inside import admitting, issuing
from onestack.model.errors import BadAnswers, OnestackError, PreflightRefused
from tests.support.door import LOOPBACK, OpenDoor, certified, free_port, needs_haproxy
from tests.support.needs import needs_root
from tests.unit.components.rooms import context

pytestmark = [needs_root, needs_haproxy]
Own = tuple[Path, Path]


def key_file(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return key


def request(key: ec.EllipticCurvePrivateKey, *more: x509.ExtensionType, name: str = "x") -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(certificates.named(name))
    for one in more:
        builder = builder.add_extension(one, critical=False)
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def joined(
    door: OpenDoor,
    folder: Path,
    name: str = "web1",
    *more: x509.ExtensionType,
    address: str = "192.0.2.7",
) -> tuple[Standing, Own]:
    """A host, and its certificate and key."""
    own = folder / f"{name}.pem", folder / f"{name}.key"
    text = request(key_file(own[1]), *more, name=name)
    asked = Join(door.token(), text, name, address, door.app.settings.release)
    standing = door.client().ask("POST", protocol.JOIN, Standing, asked)
    own[0].write_text(standing.certificate)
    return standing, own


def test_whose_door_it_is(door: OpenDoor) -> None:
    assert authority_of(door.place, door.digest) == door.ca
    hello = door.client().hello()
    assert (hello.cloud, hello.version) == ("onestack", 1)


def test_a_machine_joins(door: OpenDoor, tmp_path: Path) -> None:
    standing, own = joined(door, tmp_path)
    assert (standing.name, standing.number, standing.roles) == ("web1", 1, ("compute",))
    told = standing.projection
    assert (told.controller, told.address) == ("controller", "192.0.2.1")
    assert told.answers == {"CONFIG_DEBUG_MODE": "y"}
    assert told.secrets == {"neutron_metadata": "m" * 32}
    assert told.authority == "the front's authority\n"
    assert set(told.accounts) == {"identity", "messaging"}
    again = door.client(own).ask("GET", protocol.SELF, Standing)
    assert again == standing


def test_no_two_hosts_have_one_password(door: OpenDoor, tmp_path: Path) -> None:
    one, _ = joined(door, tmp_path, "web1")
    other, _ = joined(door, tmp_path, "web2", address="192.0.2.8")
    passwords = [a.password for s in (one, other) for a in s.projection.accounts.values()]
    assert len(set(passwords)) == 4


@pytest.mark.parametrize(
    "path",
    [
        *(protocol.SELF, protocol.ADMIT, protocol.RENEW, protocol.CERTIFY, protocol.LEAVE),
        protocol.FOLLOW,
    ],
)
def test_without_a_certificate_nothing_is_told(door: OpenDoor, path: str) -> None:
    method = "GET" if path == protocol.SELF else "POST"
    with pytest.raises(Refusal, match="only a host of the cloud"):
        door.client().ask(method, path, Standing)


def test_a_removed_host_is_refused_on_an_open_connection(door: OpenDoor, tmp_path: Path) -> None:
    _, own = joined(door, tmp_path)
    tls = ssl.create_default_context(cadata=door.ca)
    tls.load_cert_chain(*own)
    tls.check_hostname = False
    with socket.create_connection((LOOPBACK, door.place.port)) as plain:
        connection = http.client.HTTPConnection("door")
        connection.sock = tls.wrap_socket(plain, server_hostname=SERVER)

        def asked() -> int:
            connection.request("GET", protocol.SELF)
            answer = connection.getresponse()
            answer.read()
            return answer.status

        assert asked() == 200
        assert asked() == 200
        door.hosts.remove("web1")
        same = connection.sock
        assert asked() == 403
        assert connection.sock is same, "it was the connection that was open"


def test_a_removed_host_is_told_so(door: OpenDoor, tmp_path: Path) -> None:
    _, own = joined(door, tmp_path)
    door.hosts.remove("web1")
    with pytest.raises(Refusal, match="none of the cloud's any more") as problem:
        door.client(own).ask("GET", protocol.SELF, Standing)
    assert "token create" in problem.value.cure


# -- certificates ---------------------------------------------------------------


def test_nothing_that_a_host_asks_for_is_in_its_certificate(door: OpenDoor, tmp_path: Path) -> None:
    """Names of the door's, rights of an authority: all of it is left out."""
    standing, own = joined(
        door,
        tmp_path,
        "web1",
        x509.SubjectAlternativeName([x509.DNSName(SERVER)]),
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([certificates.SERVER]),
    )
    made = x509.load_pem_x509_certificate(own[0].read_bytes())
    find = made.extensions.get_extension_for_class
    (name,) = find(x509.SubjectAlternativeName).value
    assert name == x509.UniformResourceIdentifier(f"{HOST}{standing.identity}")
    assert list(find(x509.ExtendedKeyUsage).value) == [certificates.CLIENT]
    assert not find(x509.BasicConstraints).value.ca
    (common,) = made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert common.value == standing.identity
    left = made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert left <= datetime.timedelta(days=issuing.DAYS)


def listening(own: Own) -> tuple[int, threading.Thread]:
    """A server that shows that certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*own)
    sock = socket.create_server((LOOPBACK, 0))

    def serve() -> None:
        with sock:
            plain, _ = sock.accept()
            try:
                with tls.wrap_socket(plain, server_side=True) as found:
                    found.recv(1000)
                    found.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            except OSError:
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return int(sock.getsockname()[1]), thread


def test_a_host_is_not_taken_for_the_door(door: OpenDoor, tmp_path: Path) -> None:
    """Whatever it calls itself: the finding that an earlier one was rejected for."""
    for number, name in enumerate(("door.onestack.internal", "web1"), 20):
        _, own = joined(door, tmp_path, name, address=f"192.0.2.{10 + number}")
        port, thread = listening(own)
        with pytest.raises(NoDoor, match="is not this cloud's door"):
            DoorClient(Place(LOOPBACK, port), door.ca).ask("GET", protocol.HELLO, Hello)
        thread.join(10)


def test_a_server_called_as_the_door_in_its_subject_alone(door: OpenDoor, tmp_path: Path) -> None:
    """By the same authority even: only the name that no host's has counts."""
    made = certificates.sign(
        hosts.ca(door.ctx),
        authority.ca_key(door.ctx),
        certificates.named(SERVER),
        certificates.SERVER,
    )
    own = tmp_path / "c", tmp_path / "k"
    own[0].write_text(made.certificate)
    own[1].write_text(made.key)
    port, thread = listening(own)
    with pytest.raises(NoDoor, match="is not this cloud's door"):
        DoorClient(Place(LOOPBACK, port), door.ca).ask("GET", protocol.HELLO, Hello)
    thread.join(10)


def test_the_doors_own_certificate_is_no_hosts(door: OpenDoor, tmp_path: Path) -> None:
    server = authority.server(door.ctx)
    with pytest.raises(Refusal, match="none of this cloud's hosts"):
        door.client((server, server)).ask("GET", protocol.SELF, Standing)


def other_authority(folder: Path) -> tuple[Path, Path]:
    made = folder / "other.pem", folder / "other.key"
    certificates.make_ca(*made, certificates.named("Authority for hosts of the cloud onestack"))
    return made


def test_a_certificate_of_another_authority(door: OpenDoor, tmp_path: Path) -> None:
    """It names a host that there is, and has the very words of the right authority."""
    standing, _ = joined(door, tmp_path)
    made = certificates.sign(
        *other_authority(tmp_path),
        certificates.named(standing.identity),
        certificates.CLIENT,
        [x509.UniformResourceIdentifier(f"{HOST}{standing.identity}")],
    )
    own = tmp_path / "c", tmp_path / "k"
    own[0].write_text(made.certificate)
    own[1].write_text(made.key)
    with pytest.raises(Refusal, match="none of this cloud's hosts"):
        door.client(own).ask("GET", protocol.SELF, Standing)


def test_a_certificate_of_the_authority_that_is_in_no_list(door: OpenDoor, tmp_path: Path) -> None:
    standing, _ = joined(door, tmp_path)
    made = certificates.sign(
        hosts.ca(door.ctx),
        authority.ca_key(door.ctx),
        certificates.named(standing.identity),
        certificates.CLIENT,
        [x509.UniformResourceIdentifier(f"{HOST}{standing.identity}")],
    )
    own = tmp_path / "c", tmp_path / "k"
    own[0].write_text(made.certificate)
    own[1].write_text(made.key)
    with pytest.raises(Refusal, match="none of the cloud's any more"):
        door.client(own).ask("GET", protocol.SELF, Standing)


@pytest.mark.parametrize(
    ("purpose", "names"),
    [
        (certificates.SERVER, [x509.UniformResourceIdentifier(f"{HOST}x")]),
        (certificates.CLIENT, []),
        (certificates.CLIENT, [x509.DNSName("x")]),
        (certificates.CLIENT, [x509.UniformResourceIdentifier("urn:other:host:x")]),
        (certificates.CLIENT, [x509.UniformResourceIdentifier(f"{HOST}{n}") for n in "xy"]),
    ],
)
def test_which_certificates_are_hosts(
    door: OpenDoor, purpose: x509.ObjectIdentifier, names: list[x509.GeneralName]
) -> None:
    files = hosts.ca(door.ctx), authority.ca_key(door.ctx)
    made = certificates.sign(*files, certificates.named("x"), purpose, names)
    with pytest.raises(NotAMember):
        issuing.shown(files[0], ssl.PEM_cert_to_DER_cert(made.certificate))


def test_whose_certificates_are_hosts(door: OpenDoor, tmp_path: Path) -> None:
    """Asked once more here, whatever the front has said."""
    names = [x509.UniformResourceIdentifier(f"{HOST}x")]
    files = hosts.ca(door.ctx), authority.ca_key(door.ctx)
    ours = certificates.sign(*files, certificates.named("x"), certificates.CLIENT, names)
    identity, _ = issuing.shown(files[0], ssl.PEM_cert_to_DER_cert(ours.certificate))
    assert identity == "x"
    other = other_authority(tmp_path)
    theirs = certificates.sign(*other, certificates.named("x"), certificates.CLIENT, names)
    with pytest.raises(NotAMember):
        issuing.shown(files[0], ssl.PEM_cert_to_DER_cert(theirs.certificate))
    with pytest.raises(NotAMember):
        issuing.shown(files[0], b"no certificate")


def test_an_ended_certificate_is_said_to_have_ended(door: OpenDoor, tmp_path: Path) -> None:
    standing, own = joined(door, tmp_path)
    key = serialization.load_pem_private_key(own[1].read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    ended = certificates.certify(
        hosts.ca(door.ctx),
        authority.ca_key(door.ctx),
        key.public_key(),
        certificates.named(standing.identity),
        certificates.CLIENT,
        [x509.UniformResourceIdentifier(f"{HOST}{standing.identity}")],
        days=0,
    )
    own[0].write_text(certificates.pem(ended))
    with pytest.raises(Refusal, match="certificate has ended"):
        door.client(own).ask("GET", protocol.SELF, Standing)


@pytest.mark.parametrize(
    "name", ["X-Onestack-Peer", "x-onestack-peer", "X_Onestack_Peer", "X-Onestack_Peer"]
)
def test_nobody_says_the_fronts_words(door: OpenDoor, tmp_path: Path, name: str) -> None:
    _, own = joined(door, tmp_path)
    der = ssl.PEM_cert_to_DER_cert(own[0].read_text())
    tls = ssl.create_default_context(cadata=door.ca)
    tls.check_hostname = False
    with (
        socket.create_connection((LOOPBACK, door.place.port)) as plain,
        tls.wrap_socket(plain, server_hostname=SERVER) as sock,
    ):
        connection = http.client.HTTPConnection("door")
        connection.sock = sock
        headers = {name: base64.b64encode(der).decode(), name.replace("Peer", "Verify"): "0"}
        connection.request("GET", protocol.SELF, headers=headers)
        # The application cannot tell "_" from "-": such a request does not come so far.
        assert connection.getresponse().status == (400 if "_" in name else 403)


def test_old_tls_is_not_spoken(door: OpenDoor) -> None:
    tls = ssl.create_default_context(cadata=door.ca)
    tls.check_hostname = False
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((LOOPBACK, door.place.port)) as plain,
        pytest.raises(ssl.SSLError),
    ):
        tls.wrap_socket(plain)


# -- renewal, admission, leaving -------------------------------------------------


def test_a_certificate_is_renewed(
    door: OpenDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuing, "DAYS", 29)
    standing, own = joined(door, tmp_path)
    key = serialization.load_pem_private_key(own[1].read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    new = door.client(own).ask("POST", protocol.RENEW, Standing, Renew(request(key)))
    assert new.identity == standing.identity and new.certificate != standing.certificate
    assert door.client(own).ask("GET", protocol.SELF, Standing), "the one before goes on"
    own[0].write_text(new.certificate)
    assert door.client(own).ask("GET", protocol.SELF, Standing) == new


def test_a_certificate_is_renewed_for_the_hosts_own_key_only(
    door: OpenDoor, tmp_path: Path
) -> None:
    _, own = joined(door, tmp_path)
    other = request(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(Refusal, match="another key"):
        door.client(own).ask("POST", protocol.RENEW, Standing, Renew(other))


def test_the_controller_makes_what_a_host_needs_once(door: OpenDoor, tmp_path: Path) -> None:
    standing, own = joined(door, tmp_path)
    assert not standing.admitted
    for _ in range(3):
        assert door.client(own).ask("POST", protocol.ADMIT, Standing).admitted
    assert door.calls == ["up"], "a host cannot keep the controller busy"


def test_hosts_that_wait_for_the_controller_hold_no_thread(
    door: OpenDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, real = threading.Event(), threading.Event(), door.app._admit

    def admit() -> None:
        begun.set()
        assert go_on.wait(60)
        real()

    monkeypatch.setattr(door.app, "_admit", admit)
    owns = [joined(door, tmp_path, f"web{n}", address=f"192.0.2.{10 + n}")[1] for n in range(1, 20)]
    first = threading.Thread(
        target=lambda: door.client(owns[0]).ask("POST", protocol.ADMIT, Standing)
    )
    first.start()
    assert begun.wait(60)
    for own in owns[1:]:
        assert not door.client(own).ask("POST", protocol.ADMIT, Standing, seconds=5).admitted
    go_on.set()
    first.join(60)
    for own in owns:
        assert door.client(own).ask("POST", protocol.ADMIT, Standing).admitted
    assert door.calls == ["up"]


def test_a_host_leaves(door: OpenDoor, tmp_path: Path) -> None:
    _, own = joined(door, tmp_path)
    assert door.client(own).ask("POST", protocol.LEAVE, dict[str, str]) == {"left": "web1"}
    assert door.hosts.document().members == ()
    until = time.monotonic() + 60
    while door.calls != ["up"]:  # ends what the host has open, and its accounts
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(Refusal):
        door.client(own).ask("POST", protocol.LEAVE, dict[str, str])


def test_hosts_that_leave_at_once_have_it_run_once_more(
    door: OpenDoor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each after it has left; what fails is said, and the next `up` does it."""
    owns = [joined(door, tmp_path, f"web{n}", address=f"192.0.2.{10 + n}")[1] for n in range(1, 6)]
    with door.app._at_work:
        for own in owns:
            assert door.client(own).ask("POST", protocol.LEAVE, dict[str, str])
    until = time.monotonic() + 60
    while not door.calls:
        assert time.monotonic() < until
        time.sleep(0.01)
    with door.app._at_work:
        assert door.calls == ["up"]


def test_what_a_host_that_left_had_and_could_not_be_ended_is_logged(
    door: OpenDoor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise OnestackError("no room", "the disk is full")

    monkeypatch.setattr(door.app, "_admit", fails)
    door.app._end_what_it_had()
    assert "until the next `onestack up`: no room: the disk is full" in caplog.text


# -- joining, refused --------------------------------------------------------------


def ask_to_join(door: OpenDoor, token: str, text: str = "", **more: str) -> Standing:
    text = text or request(ec.generate_private_key(ec.SECP256R1()))
    given = {"name": "web1", "address": "192.0.2.7", "release": door.app.settings.release, **more}
    return door.client().ask("POST", protocol.JOIN, Standing, Join(token, text, **given))


def test_a_token_twice_in_a_race(door: OpenDoor) -> None:
    token, start, won = door.token(), threading.Barrier(6), []

    def try_it(number: int) -> None:
        start.wait()
        try:
            won.append(
                ask_to_join(door, token, name=f"web{number}", address=f"192.0.2.{10 + number}").name
            )
        except Refusal as refusal:
            assert "was used already" in refusal.what

    threads = [threading.Thread(target=try_it, args=(n,)) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1 == len(door.hosts.document().members)


def test_another_release(door: OpenDoor) -> None:
    token = door.token()
    with pytest.raises(Refusal, match=r"of OpenStack 2026\.2, and this machine's") as problem:
        ask_to_join(door, token, release="2025.1")
    assert problem.value.exit_code == 3
    assert ask_to_join(door, token), "the token is as good as before"


def test_a_stranger_is_not_told_the_release(door: OpenDoor) -> None:
    with pytest.raises(Refusal, match="not known to this cloud"):
        ask_to_join(door, f"onestack1.{door.digest}.00000000.{'a' * 26}", release="2025.1")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "::1", "224.0.0.1", "web1", ""),
        *("::ffff:127.0.0.1", "::ffff:0.0.0.0"),
        *("192.0.2.1", "::ffff:192.0.2.1"),  # the controller's own
    ],
)
def test_an_address_that_leads_nowhere(door: OpenDoor, address: str) -> None:
    with pytest.raises(Refusal) as problem:
        ask_to_join(door, door.token(), address=address)
    assert problem.value.exit_code == 2


def test_a_request_that_somebody_else_signed(door: OpenDoor) -> None:
    """Its key is another's: its signature does not fit."""
    mine, others = (x509.load_pem_x509_csr(request(k).encode()) for k in _keys())
    raw = mine.public_bytes(serialization.Encoding.DER)
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    swapped = raw.replace(
        mine.public_key().public_bytes(*form), others.public_key().public_bytes(*form)
    )
    text = ssl.DER_cert_to_PEM_cert(swapped).replace(" CERTIFICATE", " CERTIFICATE REQUEST")
    with pytest.raises(Refusal, match="not fit") as problem:
        ask_to_join(door, door.token(), text)
    assert "does not have its key" in problem.value.why


def _keys() -> list[ec.EllipticCurvePrivateKey]:
    return [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]


@pytest.mark.parametrize("text", ["x", "-----BEGIN CERTIFICATE REQUEST-----\n", "é"])
def test_what_is_no_request(door: OpenDoor, text: str) -> None:
    with pytest.raises(Refusal, match="not fit"):
        ask_to_join(door, door.token(), text)


def test_what_is_no_token(door: OpenDoor) -> None:
    with pytest.raises(Refusal, match="no token to join with") as problem:
        ask_to_join(door, "hunter2-hunter2")
    assert "hunter2" not in str(problem.value)


def test_what_cannot_be_understood(door: OpenDoor) -> None:
    for body in ({"token": door.token()}, [1], "x"):
        with pytest.raises(Refusal, match="cannot be understood") as problem:
            door.client().ask("POST", protocol.JOIN, Standing, body)
        assert "onestack1." not in str(problem.value)
    with pytest.raises(Refusal, match="knows no GET"):
        door.client().ask("GET", "/v1/nothing", Standing)


def test_a_request_that_is_too_long(door: OpenDoor) -> None:
    with pytest.raises(NoDoor):
        door.client().ask("POST", protocol.JOIN, Standing, {"token": "x" * protocol.LONGEST})


# -- the way back ------------------------------------------------------------------


def ask_back(door: OpenDoor, port: int, word: str, address: str = "192.0.2.7") -> str:
    asked = Reach(door.token(), "key", address, port, word)
    return door.client().ask("POST", protocol.REACH, dict[str, str], asked)["problem"]


def test_the_way_back_is_tried(door: OpenDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    word = "ab" * 16
    sock = socket.create_server((LOOPBACK, 0))
    said = [word, "cd" * 16]

    def serve() -> None:
        while said:
            plain, _ = sock.accept()
            with plain:
                plain.sendall(said.pop(0).encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    # 192.0.2.7 is nobody's
    real = socket.create_connection
    monkeypatch.setattr(
        "onestack.components.door.inside.app.socket.create_connection",
        lambda place, *more: real((LOOPBACK, place[1]), *more),
    )
    port = sock.getsockname()[1]
    assert ask_back(door, port, word) == ""
    assert ask_back(door, port, word) == "another machine answers there"
    thread.join(10)
    sock.close()
    assert "refused" in ask_back(door, free_port(), word)


@pytest.mark.parametrize(("port", "word"), [(22, "ab" * 16), (70000, "ab" * 16), (5000, "x")])
def test_the_door_tries_no_ways_of_others(door: OpenDoor, port: int, word: str) -> None:
    with pytest.raises(Refusal, match="cannot be tried"):
        ask_back(door, port, word)
    with pytest.raises(Refusal):
        ask_back(door, 5000, "ab" * 16, LOOPBACK)


# -- the client ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://192.0.2.1:9443", "https://192.0.2.1:9443"),
        ("192.0.2.1", "https://192.0.2.1:9443"),
        ("https://head.example/", "https://head.example:9443"),
        ("[2001:db8::1]:9000", "https://[2001:db8::1]:9000"),
    ],
)
def test_where_a_door_is(text: str, shown: str) -> None:
    assert str(Place.read(text)) == shown


@pytest.mark.parametrize("text", ["", "http://x", "https://x/y", "https://x:y", "https://a@b"])
def test_where_none_is(text: str) -> None:
    with pytest.raises(BadAnswers, match="does not say where"):
        Place.read(text)


def test_a_token_of_another_cloud(door: OpenDoor) -> None:
    with pytest.raises(NoDoor, match="not the one that the token is for"):
        authority_of(door.place, "ab" * 32)


def test_another_authority_is_not_believed(door: OpenDoor, tmp_path: Path) -> None:
    ca, _ = other_authority(tmp_path)
    with pytest.raises(NoDoor, match="is not this cloud's door"):
        DoorClient(door.place, ca.read_text()).hello()


def test_nobody_there() -> None:
    with pytest.raises(NoDoor, match="nothing listens") as problem:
        authority_of(Place(LOOPBACK, free_port()), "ab" * 32)
    assert "CONFIG_ONESTACK_JOIN" in problem.value.cure
    with pytest.raises(NoDoor, match="is no name"):
        authority_of(Place("nowhere.invalid"), "ab" * 32)


def test_somebody_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "SECONDS", 0.5)
    with socket.create_server((LOOPBACK, 0)) as sock:
        place = Place(LOOPBACK, sock.getsockname()[1])
        with pytest.raises(NoDoor, match="does not answer"):
            clients._ask(place, clients._context(None), "GET", protocol.CA, None, 0.5)


def test_somebody_who_speaks_something_else() -> None:
    with socket.create_server((LOOPBACK, 0)) as sock:

        def serve() -> None:
            plain, _ = sock.accept()
            with plain:
                plain.sendall(b"220 mail.example ESMTP\r\n")
                plain.recv(1000)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(NoDoor, match="is no door of onestack's"):
            authority_of(Place(LOOPBACK, sock.getsockname()[1]), "ab" * 32)
        thread.join(10)


@pytest.mark.parametrize("apart", [-60, 60])
def test_clocks_apart(door: OpenDoor, monkeypatch: pytest.MonkeyPatch, apart: int) -> None:
    right = door.client().hello()
    wrong = dataclasses.replace(right, time=right.time + apart)
    monkeypatch.setattr(DoorClient, "ask", lambda *given: wrong)
    with pytest.raises(ClocksApart, match=r"differ by (59|60) s"):
        door.client().hello()


# -- what `up` makes -----------------------------------------------------------------


def test_certificates_are_made_once(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    certified(ctx)
    assert list(authority.ensure_certificates(ctx, "root", "root")) == []
    assert authority.ca_key(ctx).stat().st_mode & 0o777 == 0o640
    assert authority.server(ctx).stat().st_mode & 0o777 == 0o640
    before = authority.server(ctx).read_text()
    authority.ca_key(ctx).unlink()
    for change in authority.ensure_certificates(ctx, "root", "root"):
        change.do()
    for change in authority.ensure_certificates(ctx, "root", "root"):
        change.do()
    assert authority.server(ctx).read_text() != before, "a new authority has a new door"


# -- what the controller's `up` says ------------------------------------------------


def test_a_host_is_told_why_the_controller_could_not(capfd: pytest.CaptureFixture[str]) -> None:
    """Not the first thing that was done, which is said on the same way."""
    problem = PreflightRefused(
        "onestack's code has changed", "it is new\nand more", "type it\ntwice"
    )
    with pytest.raises(SystemExit):
        _ended_by(problem)
    said = "    0.1 s  host: users\nnote: something\n" + capfd.readouterr().err
    script = f"printf %s {shlex.quote(said)} >&2; exit 3"
    with pytest.raises(OnestackError, match="could not make ready") as told:
        admitting.admit(("/bin/sh", "-c", script))
    assert told.value.why.splitlines() == [
        *("onestack's code has changed", "  why:  it is new", "        and more"),
    ]
    assert told.value.cure.splitlines() == [
        *("type it", "twice", "on the controller; then the same command here again"),
    ]
    with pytest.raises(OnestackError) as told:
        admitting.admit(("/bin/sh", "-c", "echo refused: no such command >&2; exit 126"))
    assert told.value.why == "refused: no such command"
    with pytest.raises(OnestackError) as told:
        admitting.admit(("/bin/sh", "-c", "exit 7"))
    assert told.value.why == "onestack up ended with 7 there"
    assert "onestack up" in told.value.cure


def _ended_by(problem: OnestackError) -> None:
    def fails() -> int:
        raise problem

    raise SystemExit(guarded(fails, "onestack up"))
