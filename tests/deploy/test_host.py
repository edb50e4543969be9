"""A cloud as most people have it: the default one, in the host's own network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import machine
from tests.support.clouds import CloudUnderTest, run


@pytest.fixture(scope="module")
def before() -> dict[str, set[str]]:
    return machine.portrait()


@pytest.fixture(scope="module")
def cloud(before: dict[str, set[str]]) -> Iterator[CloudUnderTest]:
    made = CloudUnderTest("onestack", netns=False)
    yield made
    made.destroy()


class TestHost:
    def test_up_without_any_answer(self, cloud: CloudUnderTest) -> None:
        cloud.up()
        assert {p["state"] for p in cloud.status()} == {"READY"}

    def test_the_choice_of_the_network_is_told(self, cloud: CloudUnderTest) -> None:
        done = cloud.onestack("up")
        assert ": 0 changes in" in done.stdout, done.stdout + done.stderr

    def test_clients_find_it_by_themselves(self, cloud: CloudUnderTest) -> None:
        tool = str(cloud.root / "bin" / "openstack")
        listed = run([tool, "--os-cloud", "onestack", "endpoint", "list", "-f", "value"]).stdout
        assert "https://" in listed

    def test_destroy(self, cloud: CloudUnderTest, before: dict[str, set[str]]) -> None:
        cloud.destroy()
        kinds = (
            "namespaces",
            "devices",
            "addresses",
            "routes",
            "loops",
            "mounts",
            "rules",
            "sysctl",
        )
        assert machine.differences(before, machine.portrait(), kinds) == {}
