"""The key manager on a cloud with little else: who reads what, orders, and another master key."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest

pytestmark = pytest.mark.timeout(1800)

INSTALL = "CONFIG_ONESTACK_BARBICAN_INSTALL"
KEK = "CONFIG_ONESTACK_BARBICAN_KEK"
ANSWERS = (
    f"{INSTALL}=y",
    *(f"CONFIG_{service}_INSTALL=n" for service in ("NOVA", "NEUTRON", "GLANCE", "CINDER")),
)
PEOPLE = {
    "bk-member": "bk-project",
    "bk-colleague": "bk-project",
    "bk-reader": "bk-project",
    "bk-stranger": "bk-other",
}
HIDDEN = f"hidden-{secrets.token_hex(12)}"
"""What is stored, and must be nowhere else."""


class Keys:
    """The cloud, and what the sitting has made."""

    def __init__(self, cloud: CloudUnderTest, work: Path) -> None:
        self.cloud, self.work = cloud, work
        self.secret = self.private = self.container = ""

    def asked(self, who: str, words: str) -> tuple[int, str, str]:
        person = f"OS_USERNAME={who} OS_PASSWORD=of-a-test OS_PROJECT_NAME={PEOPLE[who]}"
        done = self.cloud.inside(f"{person} openstack {words}", expect=None)
        return done.returncode, done.stdout.strip(), done.stderr

    def done(self, words: str, who: str = "bk-member") -> str:
        code, out, error = self.asked(who, words)
        assert code == 0, error
        return out

    def refused(self, words: str, who: str) -> bool:
        code, _, error = self.asked(who, words)
        assert code == 0 or "Forbidden" in error, error
        return code != 0

    def payload(self, secret: str, who: str = "bk-member") -> str:
        return self.done(f"secret get {secret} --payload -f value -c Payload", who)

    def stored(self, name: str, text: str) -> str:
        """The secret's URL. What it is stands in a file: a command line is everybody's."""
        file = self.work / name
        file.write_text(text)
        words = f"secret store --name {name} --file {file} -f json"
        return str(json.loads(self.done(words))["Secret href"])

    def up(self, *answers: str, expect: int = 0) -> str:
        sets = [word for answer in answers for word in ("--set", answer)]
        words = (*self.cloud.up_words(), *sets)
        done = self.cloud.onestack("up", *words, expect=expect, timeout=600)
        return done.stdout + done.stderr

    def wrapped(self) -> set[str]:
        """The projects' keys as the database has them."""
        return set(self.cloud.sql("SELECT plugin_meta FROM barbican.kek_data"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    cloud = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "keeper"), answers=ANSWERS)
    with cloud.living():
        lines = [f"openstack project create {project}" for project in sorted({*PEOPLE.values()})]
        for name, project in PEOPLE.items():
            role = "reader" if name == "bk-reader" else "member"
            lines.append(f"openstack user create {name} --password of-a-test")
            lines.append(f"openstack role add --project {project} --user {name} {role}")
        cloud.type(" && ".join(lines), timeout=300)
        yield Keys(cloud, tmp_path_factory.mktemp("keys"))


def test_a_second_up_changes_nothing(keys: Keys) -> None:
    assert ": 0 changes in" in keys.up()


def test_what_is_stored_comes_back(keys: Keys) -> None:
    keys.secret = keys.stored("bk-secret", HIDDEN)
    public = keys.cloud.type(
        "openstack endpoint list --service key-manager --interface public -f value -c URL"
    ).strip()
    assert public.startswith("https://") and keys.secret.startswith(f"{public}/v1/secrets/")
    assert keys.payload(keys.secret) == HIDDEN
    assert keys.secret in keys.done("secret list -f value -c 'Secret href'").split()


def test_who_reads_what(keys: Keys) -> None:
    """The members of its project; of a private secret its owner, and whom the owner lets."""
    get = f"secret get {keys.secret} --payload"
    assert keys.payload(keys.secret, "bk-colleague") == HIDDEN
    assert keys.refused(get, "bk-reader")
    assert keys.refused(get, "bk-stranger")
    assert keys.refused(f"secret delete {keys.secret}", "bk-stranger")
    assert not keys.done("secret list -f value", "bk-stranger")

    keys.private = keys.stored("bk-private", HIDDEN[::-1])
    keys.done(f"acl submit {keys.private} --operation-type read --no-project-access")
    get = f"secret get {keys.private} --payload"
    assert keys.payload(keys.private) == HIDDEN[::-1]
    assert keys.refused(get, "bk-colleague")
    stranger = keys.cloud.type("openstack user show bk-stranger -f value -c id").strip()
    keys.done(f"acl user add {keys.private} --operation-type read --user {stranger}")
    assert keys.payload(keys.private, "bk-stranger") == HIDDEN[::-1]


def test_a_container(keys: Keys) -> None:
    made = keys.done(
        f"secret container create --name bk-pair --type generic --secret one={keys.secret} "
        f"--secret two={keys.private} -f json"
    )
    keys.container = json.loads(made)["Container href"]
    shown = keys.done(f"secret container get {keys.container} -f json")
    assert keys.secret in shown and keys.private in shown
    assert keys.refused(f"secret container get {keys.container}", "bk-stranger")


@pytest.mark.parametrize(
    "words",
    [
        "key --algorithm aes --bit-length 256 --mode cbc",
        "asymmetric --algorithm rsa --bit-length 2048",
    ],
    ids=["aes", "rsa"],
)
def test_an_order_makes_keys(keys: Keys, words: str) -> None:
    ordered = json.loads(keys.done(f"secret order create {words} --name bk-ordered -f json"))
    order = keys.done(f"secret order get {ordered['Order href']} -f json")
    shown: dict[str, Any] = json.loads(order)
    assert shown["Status"] == "ACTIVE"
    if words.startswith("key"):
        file = keys.work / "ordered"
        kind = "--payload_content_type application/octet-stream"
        keys.done(f"secret get {shown['Secret href']} --file {file} {kind}")
        assert len(file.read_bytes()) == 32
    else:
        # The client has no JSON of such a pair: it stumbles over the date.
        columns = "-f value -c 'Public Key' -c 'Private Key'"
        pair = keys.done(f"secret container get {shown['Container href']} {columns}").split()
        assert len(set(pair)) == 2 and all("/v1/secrets/" in key for key in pair)


def test_a_quota(keys: Keys) -> None:
    cloud = keys.cloud
    place = keys.secret.rpartition("/secrets/")[0]
    project = cloud.type("openstack project show bk-other -f value -c id").strip()
    body = json.dumps({"project_quotas": {"secrets": 1}})
    cloud.type(
        "curl -sf --cacert $OS_CACERT -X PUT -H content-type:application/json "
        "-H X-Auth-Token:$(openstack token issue -f value -c id) "
        f"-d '{body}' {place}/project-quotas/{project}"
    )
    keys.done("secret store --name bk-first --payload of-no-worth", "bk-stranger")
    code, _, error = keys.asked("bk-stranger", "secret store --name bk-second --payload x")
    assert code != 0 and "a quota has been reached" in error


def test_down_and_up(keys: Keys) -> None:
    keys.cloud.onestack("down", timeout=300)
    keys.up()
    assert keys.payload(keys.secret) == HIDDEN
    assert keys.secret in keys.done(f"secret container get {keys.container} -f json")


def test_another_master_key(keys: Keys) -> None:
    """Alone it is refused; before the old one it encrypts anew what there is, and may then stay."""
    old, before = keys.cloud.secrets()["barbican_kek"], keys.wrapped()
    new = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    assert KEK in keys.up(f"{KEK}={new}", expect=3)
    assert keys.payload(keys.secret) == HIDDEN

    keys.up(f"{KEK}={new},{old}")
    assert keys.payload(keys.secret) == HIDDEN
    after = keys.wrapped()
    assert len(after) == len(before) and not after & before
    keys.up(f"{KEK}={new}")
    assert keys.payload(keys.secret) == HIDDEN
    assert keys.payload(keys.private) == HIDDEN[::-1]
    assert ": 0 changes in" in keys.up(f"{KEK}={new}")
    assert KEK in keys.up(f"{KEK}={old}", expect=3)
    for name, text in keys.cloud.logs().items():
        assert new not in text and old not in text, name


def test_nothing_of_it_is_readable(keys: Keys) -> None:
    """Neither in a log, also at debug level, nor where the database keeps it."""
    keys.up("CONFIG_DEBUG_MODE=y")
    again = keys.stored("bk-told", HIDDEN)
    assert keys.payload(again) == HIDDEN
    keys.cloud.onestack("down", timeout=300)
    logs = keys.cloud.logs()
    assert " DEBUG " in logs["barbican.log"]
    known = {HIDDEN, HIDDEN[::-1], *keys.cloud.secrets().values()}
    assert not [name for name, text in logs.items() if any(value in text for value in known)]
    data = keys.cloud.root / "data" / "mariadb"
    hidden = HIDDEN.encode()
    files = [path for path in data.rglob("*") if path.is_file()]
    assert len(files) > 100
    assert not [path for path in files if hidden in path.read_bytes()]
    keys.up()


def test_logs_are_clean(keys: Keys) -> None:
    lines = unexpected(keys.cloud.error_lines())
    # Of that refusal barbican logs where it was made: lines of one moment.
    quotas = {moment(line) for line in lines if "a quota has been reached" in line}
    assert len(quotas) == 1
    assert not [line for line in lines if moment(line) not in quotas]


def moment(line: str) -> tuple[str, ...]:
    """Of which log, and when, by which process."""
    return tuple(line.split()[:4])


def test_switched_off_for_good(keys: Keys) -> None:
    cloud = keys.cloud
    others = (answer for answer in cloud.answers if "BARBICAN" not in answer)
    cloud.answers = (*others, f"{INSTALL}=n")
    keys.up()
    assert "key-manager" not in cloud.type("openstack catalog list -f value -c Type")
    assert (cloud.root / "data" / "barbican").is_dir(), "it may come back"
    cloud.onestack("up", *cloud.up_words(), "--purge", "--yes")
    assert "barbican" not in cloud.type("openstack user list --domain Default -f value -c Name")
    assert "creator" not in cloud.type("openstack role list -f value -c Name")
    for place in ("etc/barbican", "data/barbican", "data/mariadb/data/barbican"):
        assert not (cloud.root / place).exists(), place
