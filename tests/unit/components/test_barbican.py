"""Barbican's room: what it asks for, and that no change of its key loses a secret."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.fernet import Fernet

from onestack.answers.registry import registry
from onestack.cloudapi import keystone as api
from onestack.components.barbican import PORT, ROLES, Barbican, leftovers, master_keys
from onestack.components.cinder import Cinder
from onestack.components.nova import Nova
from onestack.components.octavia import Octavia
from onestack.components.openvswitch import Openvswitch
from onestack.host.files import write_file
from onestack.model.context import Context
from onestack.model.declarations import Job
from onestack.model.errors import OnestackError
from onestack.model.process import ApiProbe
from tests.support.ini import Parser
from tests.support.needs import needs_root
from tests.unit.components.rooms import answered, content, context

ON = {"CONFIG_ONESTACK_BARBICAN_INSTALL": "y"}
BALANCERS = {"CONFIG_LBAAS_INSTALL": "y", "CONFIG_NEUTRON_L2_AGENT": "openvswitch"}
OLD, NEW, OTHER = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n", b"x"))


@pytest.fixture
def barbican() -> Barbican:
    return Barbican()


def cloud(root: Path, barbican: Barbican, **given: str) -> Context:
    return context(root, barbican, **ON, **given)


def options(ctx: Context, component: Any, name: str) -> dict[str, dict[str, str]]:
    parser = Parser(default_section="", delimiters=("=",), strict=False)
    parser.read_string(content(ctx, component, name))
    return {section: dict(parser[section]) for section in parser.sections()}


def keks(ctx: Context, barbican: Barbican) -> list[str]:
    lines = content(ctx, barbican, "barbican.conf").splitlines()
    return [line.removeprefix("kek = ") for line in lines if line.startswith("kek = ")]


def test_it_is_asked_for(barbican: Barbican) -> None:
    assert not barbican.enabled(registry().answers())
    assert barbican.enabled(registry().answers(ON))


def test_one_process_without_privileges_or_bus(tmp_path: Path, barbican: Barbican) -> None:
    ctx = cloud(tmp_path, barbican)
    (process,) = barbican.processes(ctx)
    assert process.user == "onestack-barbican"
    assert not process.capabilities and not process.groups
    assert process.sockets == {"api": f"tcp:{ctx.internal}:{PORT}"}
    assert set(process.needs) == {"database", "cache"}
    # Its answer needs a token, the rules and the database.
    assert isinstance(process.probe, ApiProbe)
    assert ctx.secrets["rabbitmq"] not in content(ctx, barbican, "barbican.conf")
    assert options(ctx, barbican, "barbican.conf")["queue"]["enable"] == "false"


def test_a_secret_has_one_name_wherever_it_is_asked_for(tmp_path: Path, barbican: Barbican) -> None:
    ctx = cloud(tmp_path, barbican)
    (identity,) = barbican.identity(ctx)
    (endpoint,) = identity.endpoints
    assert (endpoint.type, endpoint.port, endpoint.path) == ("key-manager", PORT, "")
    ini = options(ctx, barbican, "barbican.conf")
    assert ini["DEFAULT"]["host_href"] == f"https://{ctx.public}:{PORT}"
    (front,) = barbican.frontends(ctx)
    assert front.backend == f"{ctx.internal}:{PORT}"


def test_a_random_secret_makes_a_whole_key(tmp_path: Path, barbican: Barbican) -> None:
    """Its 32 digits alone would be a key of half the strength."""
    ctx = cloud(tmp_path, barbican)
    (kek,) = keks(ctx, barbican)
    Fernet(kek)
    assert kek != base64.urlsafe_b64encode(ctx.secrets["barbican_kek"].encode()).decode()
    assert keks(cloud(tmp_path, barbican), barbican) == [kek]
    assert keks(cloud(tmp_path, barbican, CONFIG_DEFAULT_PASSWORD="secret"), barbican) == [kek]
    # Written down, as it has to be to put another one before it, it is the same.
    written = f"{NEW}, {ctx.secrets['barbican_kek']}"
    changed = cloud(tmp_path, barbican, **{master_keys.KEY: written})
    assert keks(changed, barbican) == [NEW, kek]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (OLD, True),
        (f"{NEW},{OLD}", True),
        (f"{NEW}, {'0a' * 16}", True),
        ("short", False),
        (f"{NEW},short", False),
        (",", False),
        (base64.urlsafe_b64encode(b"x" * 31).decode(), False),
    ],
)
def test_what_a_key_may_be(text: str, right: bool) -> None:
    assert bool(answered(**ON, **{master_keys.KEY: text})[1]) is not right


class Jobs:
    """Notes what is to be run."""

    def __init__(self) -> None:
        self.run_so_far: list[str] = []
        self.fails = False

    def run(self, job: Job, user: str, likely: Any) -> None:
        if self.fails:
            raise OSError("killed")
        self.run_so_far.append(job.run.rpartition(":")[2])


def keyed(root: Path, barbican: Barbican, jobs: Jobs, keys: str) -> Context:
    ctx = cloud(root, barbican, **{master_keys.KEY: keys})
    object.__setattr__(ctx, "jobs", jobs)
    return ctx


def refused(ctx: Context, barbican: Barbican) -> bool:
    return bool(list(barbican.preflight_checks(ctx)))


def ensure(ctx: Context) -> list[str]:
    """As `up` does: the mark is the first of the files."""
    whats = []
    mark = master_keys.mark(ctx)
    if not mark.path.exists() or mark.path.read_text() != mark.content:
        write_file(mark.path, mark.content, mode=mark.mode)
        whats.append("mark")
    for change in master_keys.ensure_wrapped(ctx, ctx.cloud.etc):
        change.do()
        whats.append(change.what)
    return whats


@needs_root
def test_another_key_is_refused_until_all_is_wrapped_anew(
    tmp_path: Path, barbican: Barbican
) -> None:
    (tmp_path / "data" / "barbican").mkdir(parents=True)
    jobs = Jobs()
    old, new, both, other = (
        keyed(tmp_path, barbican, jobs, keys)
        for keys in (OLD, NEW, f"{NEW},{OLD}", f"{OTHER},{OLD}")
    )
    assert not refused(new, barbican), "nothing was kept with any"
    assert len(ensure(old)) == 1 and not ensure(old)
    assert not jobs.run_so_far
    mark = tmp_path / "data" / "barbican" / "wrapped"
    assert mark.stat().st_mode & 0o777 == 0o600 and OLD not in mark.read_text()

    assert refused(new, barbican) and not refused(both, barbican)
    # Cut short, it is not done: the old one is still wanted.
    jobs.fails = True
    with pytest.raises(OSError, match="killed"):
        ensure(both)
    assert refused(new, barbican) and not refused(both, barbican)
    # Some of it may be encrypted by the new one already: no way back without it either.
    assert refused(old, barbican) and refused(other, barbican)
    jobs.fails = False
    assert len(ensure(both)) == 2 and jobs.run_so_far == ["rewrap"]
    assert not ensure(both)
    assert not refused(new, barbican) and not ensure(new)
    assert refused(old, barbican)


def test_it_is_wrapped_before_the_service_runs_with_it(tmp_path: Path, barbican: Barbican) -> None:
    tasks = {task.name: task for task in barbican.tasks(cloud(tmp_path, barbican))}
    assert tasks["master-key"].before_start
    assert {"database:barbican", "files:barbican"} <= set(tasks["master-key"].needs)


@pytest.mark.parametrize(
    ("listeners", "pools", "goes"),
    [
        ([{"sni_container_refs": []}], [{"tls_enabled": True}], True),
        ([{"default_tls_container_ref": "https://secret"}, {}], [], False),
        ([{"sni_container_refs": ["https://secret"]}], [], False),
        ([{"client_ca_tls_container_ref": "https://secret"}], [], False),
        ([{}], [{"tls_container_ref": "https://secret"}], False),
        ([], [{"ca_tls_container_ref": "https://secret"}], False),
        ([], [{"crl_container_ref": "https://secret"}], False),
    ],
)
def test_it_stays_while_balancers_have_certificates_from_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listeners: list[dict[str, object]],
    pools: list[dict[str, object]],
    goes: bool,
) -> None:
    class Answer:
        """What was asked for of each, as Octavia's API answers."""

        def __init__(self, url: str) -> None:
            place, query = url.split("?")
            self.kind = place.rsplit("/", 1)[1]
            self.fields = parse_qs(query)["fields"]

        def json(self) -> dict[str, list[dict[str, object]]]:
            there = {"listeners": listeners, "pools": pools}[self.kind]
            return {self.kind: [{name: each.get(name) for name in self.fields} for each in there]}

    class Session:
        get = staticmethod(Answer)

    monkeypatch.setattr(leftovers, "admin_session", lambda ctx: Session())
    without = context(tmp_path, Octavia(), Openvswitch(), **BALANCERS)
    if goes:
        leftovers.refuse_if_used(without)
    else:
        with pytest.raises(OnestackError, match="would stop at the next change"):
            leftovers.refuse_if_used(without)
    leftovers.refuse_if_used(context(tmp_path, Openvswitch()))


def test_roles_that_instructions_grant(
    tmp_path: Path, barbican: Barbican, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(api, "ensure_roles", lambda ctx, roles: asked.append(roles))
    tasks = {task.name: task for task in barbican.tasks(cloud(tmp_path, barbican))}
    tasks["roles"].ensure()
    assert asked == [ROLES]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("(1045, \"Access denied for user 'barbican'@'localhost'\")", "run up again"),
        ("cryptography.fernet.InvalidToken", master_keys.KEY),
        ("something else", None),
    ],
)
def test_explanations(tmp_path: Path, barbican: Barbican, line: str, says: str | None) -> None:
    text = cloud(tmp_path, barbican).model.likely("barbican", line)
    assert (says in text) if says and text else text is None and says is None


class TestOthers:
    """What other rooms make of it."""

    def test_listeners_end_tls_with_it(self, tmp_path: Path, barbican: Barbican) -> None:
        octavia = Octavia()
        ctx = context(tmp_path, octavia, barbican, **ON, **BALANCERS)
        ini = options(ctx, octavia, "octavia.conf")
        assert ini["api_settings"]["allow_tls_terminated_listeners"] == "true"
        certificates = ini["certificates"]
        assert certificates["cert_manager"] == "barbican_cert_manager"
        assert certificates["endpoint_type"] == "internalURL"
        # Of the provider, in the same section.
        assert certificates["ca_certificate"]
        process = next(p for p in octavia.processes(ctx) if p.name == "octavia-api")
        assert "key-manager" in process.needs and not process.arguments["cure"]

    def test_without_it_the_refusal_says_what_is_missing(self, tmp_path: Path) -> None:
        octavia = Octavia()
        ctx = context(tmp_path, octavia, **BALANCERS)
        ini = options(ctx, octavia, "octavia.conf")
        assert ini["api_settings"]["allow_tls_terminated_listeners"] == "false"
        assert "cert_manager" not in ini["certificates"]
        process = next(p for p in octavia.processes(ctx) if p.name == "octavia-api")
        assert "key-manager" not in process.needs
        assert "CONFIG_ONESTACK_BARBICAN_INSTALL=y" in process.arguments["cure"]

    @pytest.mark.parametrize("room", [Nova(), Cinder()], ids=lambda room: room.name)
    def test_keys_of_encrypted_volumes(self, tmp_path: Path, barbican: Barbican, room: Any) -> None:
        ctx = context(tmp_path, room, barbican, Openvswitch(), **ON)
        ini = options(ctx, room, f"{room.name}.conf")
        assert ini["key_manager"]["backend"] == "barbican"
        assert ini["barbican"]["barbican_endpoint_type"] == "internal"
        assert ini["barbican_service_user"]["username"] == room.name
        without = options(context(tmp_path, room, Openvswitch()), room, f"{room.name}.conf")
        assert "barbican" not in without
        assert without.get("key_manager", {}).get("backend") != "barbican"
