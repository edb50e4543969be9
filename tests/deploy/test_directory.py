"""People of an LDAP directory log in: a keystone alone, and a directory of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from onestack.host import debs
from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, run, wait_until

PORT = 3890
PACKAGES = ("slapd", "libldap-2.5-0", "libodbc2", "libltdl7", "libargon2-1", "libsasl2-2")
SUFFIX = "dc=example,dc=com"
PEOPLE = f"""
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,{SUFFIX}
objectClass: organizationalUnit
ou: people

dn: uid=ada,ou=people,{SUFFIX}
objectClass: inetOrgPerson
uid: ada
cn: Ada
sn: Lovelace
mail: ada@example.com
userPassword: engine
"""
ANSWERS = (
    *(f"CONFIG_{service}_INSTALL=n" for service in ("GLANCE", "NOVA", "NEUTRON", "CINDER")),
    "CONFIG_KEYSTONE_IDENTITY_BACKEND=ldap",
    f"CONFIG_KEYSTONE_LDAP_URL=ldap://100.64.0.1:{PORT}",
    f"CONFIG_KEYSTONE_LDAP_SUFFIX={SUFFIX}",
    f"CONFIG_KEYSTONE_LDAP_USER_SUBTREE=ou=people,{SUFFIX}",
    f"CONFIG_KEYSTONE_LDAP_USER_DN=cn=admin,{SUFFIX}",
    "CONFIG_KEYSTONE_LDAP_USER_PASSWORD=geheim",
    "CONFIG_KEYSTONE_LDAP_USER_OBJECTCLASS=inetOrgPerson",
    "CONFIG_KEYSTONE_LDAP_USER_ID_ATTRIBUTE=uid",
    "CONFIG_KEYSTONE_LDAP_USER_NAME_ATTRIBUTE=uid",
    "CONFIG_KEYSTONE_LDAP_USER_MAIL_ATTRIBUTE=mail",
    "CONFIG_KEYSTONE_LDAP_USER_ENABLED_ATTRIBUTE=",
)


EXPECTED: set[str] = set()
"""Lines of errors for what the tests did wrong on purpose."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "directory"), answers=ANSWERS)
    made.up()
    yield made
    made.destroy()


@pytest.fixture(scope="module")
def people(cloud: CloudUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """slapd, unpacked and not installed, inside the cloud's network."""
    place = tmp_path_factory.mktemp("directory")
    tree = place / "tree"
    debs.unpack(PACKAGES, tree)
    library = next((tree / "usr/lib").glob("*-linux-gnu"))
    etc, data = tree / "etc" / "ldap", place / "data"
    data.mkdir()
    config, entries = place / "slapd.conf", place / "people.ldif"
    schemas = "".join(
        f"include {etc}/schema/{n}.schema\n" for n in ("core", "cosine", "inetorgperson")
    )
    config.write_text(
        f"{schemas}modulepath {tree}/usr/lib/ldap\nmoduleload back_mdb\npidfile {place}/pid\n"
        f"database mdb\nsuffix {SUFFIX}\nrootdn cn=admin,{SUFFIX}\nrootpw geheim\n"
        f"directory {data}\n"
    )
    entries.write_text(PEOPLE)
    env = {"LD_LIBRARY_PATH": str(library), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    slapd = str(tree / "usr/sbin/slapd")
    run([slapd, "-T", "add", "-f", str(config), "-l", str(entries)], env=env)
    words = ["ip", "netns", "exec", f"onestack-{cloud.name}", slapd, "-f", str(config), "-d", "0"]
    with (place / "log").open("w") as log:
        server = subprocess.Popen(
            [*words, "-h", f"ldap://100.64.0.1:{PORT}"], env=env, stdout=log, stderr=log
        )
    yield
    server.terminate()
    server.wait(20)


def test_a_directory_that_is_away_holds_nobody_up(cloud: CloudUnderTest) -> None:
    """The administrator and the services are in keystone's own database."""
    assert {p["state"] for p in cloud.status()} == {"READY"}
    assert "admin" in cloud.type("openstack user list -f value -c Name").split()
    cloud.type("openstack user list --domain ldap", expect=1)
    found = json.loads(cloud.onestack("doctor", "--json", expect=None).stdout)
    assert any("does not answer; check" in (e["likely"] or "") for e in found["errors"])
    EXPECTED.update(cloud.error_lines())


def new_errors(cloud: CloudUnderTest) -> list[str]:
    return [line for line in unexpected(cloud.error_lines()) if line not in EXPECTED]


@pytest.mark.usefixtures("people")
def test_its_people_log_in(cloud: CloudUnderTest) -> None:
    def listed() -> list[dict[str, str]]:
        line = "openstack user list --domain ldap --long -f json"
        found: list[dict[str, str]] = json.loads(cloud.type(line))
        return found

    (ada,) = wait_until("the directory", listed, 60)
    domain = cloud.type("openstack domain show ldap -f value -c id").strip()
    assert (ada["Name"], ada["Email"], ada["Domain"]) == ("ada", "ada@example.com", domain)
    cloud.type(
        "openstack project create works && "
        f"openstack role add --user {ada['ID']} --project works member"
    )
    login = (
        "OS_USERNAME=ada OS_USER_DOMAIN_NAME=ldap OS_PROJECT_NAME=works "
        "OS_PASSWORD={} openstack token issue -f value -c user_id"
    )
    assert cloud.type(login.format("engine")).strip() == ada["ID"]
    assert new_errors(cloud) == []
    cloud.type(login.format("guess"), expect=1)
    # It is only read.
    cloud.type("openstack user create --domain ldap babbage", expect=1)
    EXPECTED.update(cloud.error_lines())


def test_up_again_changes_nothing(cloud: CloudUnderTest) -> None:
    assert ": 0 changes in" in cloud.up().stdout


def test_keys_are_rotated_and_tokens_stay_good(cloud: CloudUnderTest) -> None:
    """A week has passed since the last time, as the file's date has it."""
    keys = cloud.root / "data" / "keystone" / "fernet"
    before = {path.name for path in keys.iterdir()}
    token = cloud.type("openstack token issue -f value -c id").strip()
    stamp = cloud.root / "data" / "keystone" / "keystone-key-rotation.last"
    run(["touch", "-d", "8 days ago", str(stamp)])
    cloud.onestack("restart", "keystone/keystone-key-rotation")
    wait_until("new keys", lambda: {p.name for p in keys.iterdir()} != before, 60)
    answer = "curl -s -o /dev/null -w %{http_code} --cacert $OS_CACERT"
    said = cloud.type(f"{answer} -H 'X-Auth-Token: {token}' $OS_AUTH_URL/auth/projects")
    assert said == "200"
    assert ": 0 changes in" in cloud.up().stdout


def test_no_error_afterwards(cloud: CloudUnderTest) -> None:
    assert new_errors(cloud) == []
