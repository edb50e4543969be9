"""Heat's room: what it asks for, what guests are told, and what it says to its log lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from onestack.answers.registry import registry
from onestack.cloudapi import keystone as api
from onestack.components.heat import ROLES, Heat, domain
from onestack.components.keystone import Keystone as Identities
from onestack.components.nova import Nova
from onestack.components.nova.vendordata import ensure_vendordata, vendordata, vendordata_file
from onestack.model.process import ApiProbe
from tests.unit.components.rooms import answered, content, context


@pytest.fixture
def heat() -> Heat:
    return Heat()


def options(text: str) -> dict[tuple[str, str], str]:
    section, found = "", {}
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line:
            name, _, value = line.partition(" =")
            found[section, name] = value.strip()
    return found


def test_it_is_asked_for(heat: Heat) -> None:
    assert not heat.enabled(registry().answers({}))
    assert heat.enabled(registry().answers({"CONFIG_HEAT_INSTALL": "y"}))


def test_guests_are_told_what_they_reach(tmp_path: Path, heat: Heat) -> None:
    ctx = context(tmp_path, heat, name="a")
    found = options(content(ctx, heat, "heat.conf"))
    front = f"https://{ctx.public}:8000"
    assert found["DEFAULT", "heat_metadata_server_url"] == front
    assert found["DEFAULT", "heat_waitcondition_server_url"] == f"{front}/v1/waitcondition"
    assert found["DEFAULT", "server_keystone_endpoint_type"] == "public"
    assert found["clients_heat", "endpoint_type"] == "public"
    authority = str(ctx.cloud.etc / "tls" / "ca.pem")
    assert found["clients_heat", "ca_file"] == authority
    # of the one session that all clients share: a stack in a stack is asked at the front
    assert found["clients_keystone", "ca_file"] == authority


def test_heat_itself_stays_inside(tmp_path: Path, heat: Heat) -> None:
    ctx = context(tmp_path, heat, name="a")
    text = content(ctx, heat, "heat.conf")
    found = options(text)
    assert found["clients", "endpoint_type"] == "internal"
    # Each of the two puts a version behind it.
    for place in (("clients_keystone", "auth_uri"), ("ec2authtoken", "endpoint_override")):
        assert found[place] == f"http://{ctx.internal}:5000"
    assert "127.77.0.1" not in text
    for path in re.findall(r"(?<![\w:/.])/[\w./-]+", text):
        assert path.startswith((str(tmp_path), str(ctx.release.services.place), "/heat", "/ ")), (
            path
        )


def test_without_the_cloudformation_api(tmp_path: Path, heat: Heat) -> None:
    ctx = context(tmp_path, heat, CONFIG_HEAT_CFN_INSTALL="n")
    (process,) = heat.processes(ctx)
    assert set(process.sockets) == {"api"}
    assert [front.port for front in heat.frontends(ctx)] == [8004]
    (identity,) = heat.identity(ctx)
    assert [endpoint.type for endpoint in identity.endpoints] == ["orchestration"]
    assert ":8000" not in content(ctx, heat, "heat.conf")


def test_one_process_without_privileges(tmp_path: Path, heat: Heat) -> None:
    ctx = context(tmp_path, heat)
    (process,) = heat.processes(ctx)
    assert process.user == "onestack-heat"
    assert not process.capabilities and not process.groups
    assert set(process.sockets) == {"api", "cfn"}
    # An answer to it comes from the engine, not from the API alone.
    assert isinstance(process.probe, ApiProbe)
    assert process.probe.url.endswith("/stacks?limit=1")


@pytest.mark.parametrize(
    ("text", "right"), [("a" * 16, True), ("a" * 24, True), ("a" * 32, True), ("short", False)]
)
def test_lengths_of_the_encryption_key(text: str, right: bool) -> None:
    assert bool(answered(CONFIG_HEAT_AUTH_ENC_KEY=text)[1]) is not right


def test_the_default_password_is_no_encryption_key(tmp_path: Path, heat: Heat) -> None:
    ctx = context(tmp_path, heat, CONFIG_DEFAULT_PASSWORD="secret")
    found = options(content(ctx, heat, "heat.conf"))
    assert found["DEFAULT", "stack_domain_admin_password"] == "secret"
    assert len(found["DEFAULT", "auth_encryption_key"]) == 32
    own = context(tmp_path, heat, CONFIG_HEAT_AUTH_ENC_KEY="k" * 24)
    assert options(content(own, heat, "heat.conf"))["DEFAULT", "auth_encryption_key"] == "k" * 24


class Answer:
    def __init__(self, body: Any, status_code: int = 200) -> None:
        self.body = body
        self.status_code = status_code

    def json(self) -> Any:
        return self.body


class Keystone:
    """As much of keystone's API as the domain's task asks for."""

    def __init__(self) -> None:
        self.kinds: dict[str, list[dict[str, Any]]] = {
            "roles": [{"id": "r", "name": "admin"}],
            "domains": [],
            "users": [{"id": "other", "name": "heat_admin", "domain_id": "default"}],
            **{kind: [] for kind in ("role_assignments", "projects", "services", "endpoints")},
        }

    def get(self, url: str, params: dict[str, str]) -> Answer:
        kind = url.rpartition("/")[2]
        if kind == "role_assignments" and params:
            user, place = params["user.id"], params["scope.domain.id"]
            wanted = [g for g in self.kinds[kind] if (g["user"], g["domain"]) == (user, place)]
            return Answer({kind: wanted})
        if kind == "role_assignments":
            scopes = ({"domain": {"id": grant["domain"]}} for grant in self.kinds[kind])
            return Answer({kind: [{"user": {}, "scope": scope} for scope in scopes]})
        found = [i for i in self.kinds[kind] if all(i[k] == v for k, v in params.items())]
        return Answer({kind: found})

    def post(self, url: str, json: dict[str, Any], **more: Any) -> Answer:
        kind = url.rpartition("/")[2]
        (body,) = json.values()
        if kind == "tokens":
            who = body["identity"]["password"]["user"]
            known = [(u["id"], u.get("password")) for u in self.kinds["users"]]
            return Answer({}, 201 if (who["id"], who["password"]) in known else 401)
        item = {"id": f"{kind}-{body['name']}", "enabled": True, **body}
        self.kinds[kind].append(item)
        return Answer({kind[:-1]: item})

    def patch(self, url: str, json: dict[str, Any]) -> Answer:
        self.item(url).update(*json.values())
        return Answer({next(iter(json)): self.item(url)})

    def delete(self, url: str) -> None:
        item = self.item(url)
        if "domains" in url:
            assert item["enabled"] is False, "keystone refuses to delete a domain in use"
        self.kinds[url.split("/")[-2]].remove(item)

    def item(self, url: str) -> dict[str, Any]:
        kind, identity = url.split("/")[-2:]
        return next(item for item in self.kinds[kind] if item["id"] == identity)

    def put(self, url: str) -> None:
        place, user, role = re.findall(r"/(?:domains|users|roles)/([^/]+)", url)
        grant = {"domain": place, "user": user, "role": {"id": role}}
        self.kinds["role_assignments"].append(grant)


def test_the_domain_is_made_once(
    tmp_path: Path, heat: Heat, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystone = Keystone()
    monkeypatch.setattr(api, "admin_session", lambda ctx: keystone)
    ctx = context(tmp_path, heat, CONFIG_HEAT_DOMAIN="stacks", CONFIG_HEAT_DOMAIN_PASSWORD="pw")
    made = []
    for change in domain.ensure_domain(ctx):
        change.do()
        made.append(change.what)
    assert len(made) == 3
    user = keystone.kinds["users"][-1]
    assert (user["name"], user["domain_id"], user["password"]) == (
        *("heat_admin", "domains-stacks", "pw"),
    )
    assert keystone.kinds["role_assignments"] == [
        {"domain": "domains-stacks", "user": user["id"], "role": {"id": "r"}}
    ]
    assert not list(domain.ensure_domain(ctx))

    # another password in the answers reaches keystone, before heat runs with it
    ctx = context(tmp_path, heat, CONFIG_HEAT_DOMAIN="stacks", CONFIG_HEAT_DOMAIN_PASSWORD="two")
    (change,) = domain.ensure_domain(ctx)
    assert change.what == "set the password of the user heat_admin of the domain stacks"
    change.do()
    assert user["password"] == "two" and not list(domain.ensure_domain(ctx))
    assert {task.name: task.before_start for task in heat.tasks(ctx)}["domain"]

    # a removal that was cut short has disabled it
    keystone.kinds["domains"][0]["enabled"] = False
    (change,) = domain.ensure_domain(ctx)
    change.do()
    assert keystone.kinds["domains"][0]["enabled"] is True
    assert not list(domain.ensure_domain(ctx))


def test_the_domain_is_removed(tmp_path: Path, heat: Heat, monkeypatch: pytest.MonkeyPatch) -> None:
    keystone = Keystone()
    monkeypatch.setattr(api, "admin_session", lambda ctx: keystone)
    ctx = context(tmp_path, Identities(), CONFIG_HEAT_DOMAIN="stacks")
    theirs = {"id": "o", "name": "heat_stack_owner", "description": ""}
    keystone.kinds["roles"].append(theirs)
    for change in (*domain.ensure_domain(ctx), *api.ensure_roles(ctx, ROLES)):
        change.do()
    whats = []
    for change in heat.purge(ctx):
        whats.append(change.what)
        change.do()
    assert whats == [
        "remove the domain stacks with the users that stacks made",
        # the other role was there before
        "remove the role heat_stack_user",
    ]
    assert keystone.kinds["domains"] == []
    assert [role["name"] for role in keystone.kinds["roles"]] == ["admin", "heat_stack_owner"]
    assert not list(heat.purge(ctx))
    # a domain that was there before is not heat's
    keystone.kinds["domains"] = [{"id": "d", "name": "stacks", "description": "of people"}]
    assert not list(heat.purge(ctx))


def test_the_encryption_key_cannot_change(tmp_path: Path, heat: Heat) -> None:
    def refusals(**given: str) -> list[str]:
        return [found.what for found in heat.preflight_checks(context(tmp_path, heat, **given))]

    assert refusals() == []
    old, new = {"CONFIG_HEAT_AUTH_ENC_KEY": "$" * 16}, {"CONFIG_HEAT_AUTH_ENC_KEY": "n" * 16}
    ctx = context(tmp_path, heat, **old)
    (file,) = heat.files(ctx)
    file.path.parent.mkdir(parents=True)
    file.path.write_text(file.content)
    # no stack was ever kept with it
    assert refusals(**new) == []
    table = tmp_path / "data" / "mariadb" / "data" / "heat" / "stack.ibd"
    table.parent.mkdir(parents=True)
    table.touch()
    assert refusals(**old) == []
    for other in (new, {}):
        (said,) = refusals(**other)
        assert "CONFIG_HEAT_AUTH_ENC_KEY" in said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("(1045, \"Access denied for user 'heat'@'localhost'\")", "run up again"),
        ("heat.conf misconfigured, auth_encryption_key must be 32 characters", "AUTH_ENC_KEY"),
        ("Failed to obtain a Keystone token from None", "15 minutes"),
        ("something else", None),
    ],
)
def test_explanations(tmp_path: Path, heat: Heat, line: str, says: str | None) -> None:
    text = context(tmp_path, heat).model.likely("heat", line)
    assert (says in text) if says and text else text is None and says is None


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----\n"


def test_vendor_data_is_what_cloud_init_reads() -> None:
    assert vendordata(CERTIFICATE) == (
        r'{"cloud-init": "#cloud-config\nca_certs:\n  trusted:\n  - |\n'
        r"    -----BEGIN CERTIFICATE-----\n    MIIB\n    AAAA\n    -----END CERTIFICATE-----\n"
        r'"}'
    )


def test_guests_are_told_of_the_authority_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onestack.components.nova import vendordata as module

    nova = Nova()
    ctx = context(tmp_path, nova)
    path = vendordata_file(ctx)
    assert f"vendordata_jsonfile_path = {path}\n" in content(ctx, nova, "nova.conf")
    monkeypatch.setattr(module, "write_file", lambda to, text, **_: to.write_text(text))
    path.parent.mkdir(parents=True)
    (change,) = ensure_vendordata(ctx)  # a dry run on a new machine
    (ctx.cloud.etc / "tls").mkdir()
    (ctx.cloud.etc / "tls" / "ca.pem").write_text(CERTIFICATE)
    change.do()
    assert path.read_text() == vendordata(CERTIFICATE)
    assert not list(ensure_vendordata(ctx))
    task = next(task for task in nova.tasks(ctx) if task.name == "vendordata")
    assert task.before_start and "capability:authority" in task.needs


def test_guests_need_not_trust_it(tmp_path: Path) -> None:
    nova = Nova()
    ctx = context(tmp_path, nova, CONFIG_ONESTACK_GUESTS_TRUST_CA="n")
    assert "vendordata" not in content(ctx, nova, "nova.conf")
    assert "vendordata" not in [task.name for task in nova.tasks(ctx)]
