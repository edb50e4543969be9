"""One cloud for all of them, as a developer would make it, and the file that finds it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clouds import CloudUnderTest

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=ovn",
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_HEAT_INSTALL=y",
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_LBAAS_INSTALL=y",
    "CONFIG_ONESTACK_BARBICAN_INSTALL=y",
    "CONFIG_CINDER_VOLUMES_SIZE=20G",
)
PASSWORD = "of-a-test"
PEOPLE = f"""set -e
openstack project create demo --or-show
openstack project create alt_demo
for name in demo alt_demo; do
    openstack user create "test-$name" --password {PASSWORD}
    for role in member creator; do
        openstack role add --project "$name" --user "test-$name" "$role"
    done
done
openstack role add --system all --user admin admin
openstack image set cirros --name cirros-0.6.3-x86_64-disk
openstack flavor delete m1.nano
openstack flavor create cirros256 --ram 256 --disk 1
openstack flavor create m1.xlarge --ram 16384 --disk 160 --vcpus 8
"""
"""Who upstream's tests are: two members of a project each, and the administrator. They look for the
image and the flavors of upstream's own machine, by their names, and for those alone."""
SMALL = "cirros256"
"""The flavor that servers have."""


@pytest.fixture(scope="session")
def cloud() -> Iterator[CloudUnderTest]:
    name = os.environ.get("ONESTACK_TEST_NAME", "clients")
    made = CloudUnderTest(name, answers=ANSWERS)
    with made.living(timeout=1800):
        made.type(PEOPLE)
        yield made


@pytest.fixture(scope="session")
def clouds_yaml(cloud: CloudUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under the names that upstream's tests ask for; JSON, which is YAML too."""
    env = dict(
        line.split("=", 1) for line in cloud.type("env").splitlines() if line.startswith("OS_")
    )
    image = cloud.type("openstack image list -f value -c Name").split()[0]

    def entry(user: str, password: str, **scope: str) -> dict[str, object]:
        domain = "Default"
        place = {"auth_url": env["OS_AUTH_URL"], "user_domain_name": domain}
        return {
            "auth": {**place, "username": user, "password": password, **scope},
            "region_name": env["OS_REGION_NAME"],
            "cacert": env["OS_CACERT"],
            "identity_api_version": "3",
        }

    def project(name: str) -> dict[str, str]:
        return {"project_name": name, "project_domain_name": "Default"}

    admin = env["OS_PASSWORD"]
    clouds = {
        "devstack": entry("test-demo", PASSWORD, **project("demo")),
        "devstack-alt": entry("test-alt_demo", PASSWORD, **project("alt_demo")),
        "devstack-admin": entry("admin", admin, **project("admin")),
        "devstack-system-admin": entry("admin", admin, system_scope="all"),
    }
    extra = {"functional": {"image_name": image, "flavor_name": SMALL}}
    file = tmp_path_factory.mktemp("clouds") / "clouds.yaml"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"clouds": clouds, **extra}))
    return file
