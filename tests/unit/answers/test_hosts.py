"""Files that name machines: which is this one, and what is told of the others."""

from __future__ import annotations

import socket

import pytest

from onestack.answers import hosts
from onestack.answers.packstack_file import parse
from onestack.answers.registry import registry
from onestack.answers.validate import check
from onestack.kernel import sockets

HERE = {"192.0.2.7", "198.51.100.7"}
NAMES = {"controller": "192.0.2.7", "compute1": "192.0.2.8", "localhost": "", "me": ""}


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hosts.address_of
    monkeypatch.setattr(hosts, "may_listen", HERE.__contains__)
    monkeypatch.setattr(hosts, "address_of", lambda n: NAMES[n] if n in NAMES else found(n))
    monkeypatch.setattr(socket, "getaddrinfo", unknown)


def unknown(*_: object) -> None:
    raise socket.gaierror("no such name")


def taken(*texts: str) -> tuple[str, list[str]]:
    """Where the cloud answers, and the notices; each text is a layer."""
    answers, report = check(registry(), [parse(f"[general]\n{t}", "f").entries for t in texts])
    assert answers is not None, report.problems
    return answers["CONFIG_CONTROLLER_HOST"], report.notices


def refused(*texts: str) -> list[str]:
    answers, report = check(registry(), [parse(f"[general]\n{t}", "f").entries for t in texts])
    assert answers is None
    return report.problems


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("CONFIG_CONTROLLER_HOST=controller", "192.0.2.7"),
        ("CONFIG_CONTROLLER_HOST=me\nCONFIG_AMQP_HOST=localhost", ""),
        ("CONFIG_CONTROLLER_HOST=192.0.2.7\nCONFIG_AMQP_HOST=localhost", "192.0.2.7"),
        # Two of its addresses are one machine.
        ("CONFIG_CONTROLLER_HOST=192.0.2.7\nCONFIG_NETWORK_HOSTS=198.51.100.7", "192.0.2.7"),
        ("CONFIG_KEYSTONE_HOST=192.0.2.9\nCONFIG_NOVA_API_HOST=192.0.2.9", "192.0.2.9"),
        ("CONFIG_COMPUTE_HOSTS=198.51.100.7", "198.51.100.7"),
        ("CONFIG_COMPUTE_HOSTS=", ""),
        (
            "CONFIG_CONTROLLER_HOST=192.0.2.9\nCONFIG_COMPUTE_HOSTS=192.0.2.9, 192.0.2.9",
            "192.0.2.9",
        ),
    ],
)
def test_one_machine_by_all_its_names(text: str, address: str) -> None:
    assert taken(text) == (address, [])


def test_other_machines_are_told_and_get_no_work() -> None:
    address, notices = taken(
        "CONFIG_CONTROLLER_HOST=192.0.2.7\nCONFIG_COMPUTE_HOSTS=192.0.2.7,compute1,192.0.2.9\n"
        "CONFIG_NETWORK_HOSTS=nobody-knows-it\nCONFIG_TEMPEST_HOST=192.0.2.9"
    )
    assert address == "192.0.2.7"
    assert [notice.partition(":")[0] for notice in notices] == [
        "CONFIG_COMPUTE_HOSTS names compute1, 192.0.2.9",
        "CONFIG_NETWORK_HOSTS names nobody-knows-it",
        "CONFIG_TEMPEST_HOST=192.0.2.9 counts for nothing",
    ]
    assert "no other machine can be joined yet" in notices[0]
    assert "CONFIG_PROVISION_TEMPEST is not y" in notices[2]


def test_the_controller_of_a_file_that_names_none_is_keystone_s() -> None:
    address, notices = taken(
        "CONFIG_NOVA_COMPUTE_HOSTS=192.0.2.8,192.0.2.9\nCONFIG_KEYSTONE_HOST=192.0.2.7"
    )
    assert address == "192.0.2.7" and len(notices) == 1
    assert taken("CONFIG_COMPUTE_HOSTS=192.0.2.8,192.0.2.9")[0] == ""


OPTION = "CONFIG_COMPUTE_HOSTS=192.0.2.9"


@pytest.mark.parametrize(
    ("layers", "address"),
    [
        (("CONFIG_CONTROLLER_HOST=192.0.2.7", OPTION), "192.0.2.7"),
        (("CONFIG_CONTROLLER_HOST=192.0.2.7\nCONFIG_COMPUTE_HOSTS=compute1", OPTION), "192.0.2.7"),
        (("CONFIG_KEYSTONE_HOST=192.0.2.7", OPTION), "192.0.2.7"),
        (("CONFIG_CONTROLLER_HOST=192.0.2.8", OPTION, "CONFIG_CONTROLLER_HOST="), ""),
        # With no file before it, packstack's controller was the machine that it ran on.
        ((OPTION,), ""),
    ],
)
def test_a_host_that_an_option_names_is_told_and_is_no_controller(
    layers: tuple[str, ...], address: str
) -> None:
    found, (notice,) = taken(*layers)
    assert found == address
    assert notice.startswith("CONFIG_COMPUTE_HOSTS names 192.0.2.9: no other machine can be")


def test_one_service_s_host_elsewhere_is_told_too() -> None:
    for before in ("CONFIG_CONTROLLER_HOST=192.0.2.7", ""):
        found, (notice,) = taken(before, "CONFIG_MARIADB_HOST=192.0.2.9")
        assert (found, notice[:35]) == (before[23:], "CONFIG_MARIADB_HOST names 192.0.2.9")


def test_a_later_layer_s_controller_counts_by_either_name() -> None:
    for name in ("CONTROLLER", "KEYSTONE"):
        later = f"CONFIG_{name}_HOST=198.51.100.7\nCONFIG_AMQP_HOST=198.51.100.7"
        assert taken("CONFIG_CONTROLLER_HOST=192.0.2.8", later) == ("198.51.100.7", [])


def test_an_option_mends_a_file_of_which_this_machine_is_no_controller() -> None:
    file = "CONFIG_CONTROLLER_HOST=192.0.2.9\nCONFIG_COMPUTE_HOSTS=192.0.2.7"
    assert taken(file, "CONFIG_CONTROLLER_HOST=192.0.2.7") == ("192.0.2.7", [])
    (found,) = refused("CONFIG_CONTROLLER_HOST=192.0.2.9", "CONFIG_COMPUTE_HOSTS=192.0.2.7")
    assert "run it there" in found


def test_a_machine_that_is_not_the_controller_is_told_what_to_do() -> None:
    (found,) = refused("CONFIG_CONTROLLER_HOST=192.0.2.9\nCONFIG_COMPUTE_HOSTS=192.0.2.7")
    assert "run it there" in found and "CONFIG_CONTROLLER_HOST=192.0.2.7" in found


def test_a_name_that_nobody_knows() -> None:
    (found,) = refused("CONFIG_CONTROLLER_HOST=$HOST_IP\nCONFIG_AMQP_HOST=$HOST_IP")
    assert found.startswith("f:2: CONFIG_CONTROLLER_HOST=$HOST_IP: it is neither")


def test_the_cloud_s_address_is_of_version_four() -> None:
    (found,) = refused("CONFIG_KEYSTONE_HOST=fd00::1")
    assert "an IPv4 address only" in found


def test_this_machine_s_own_names_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert sockets.may_listen("127.0.0.1") and not sockets.may_listen("192.0.2.77")
    assert hosts.address_of("localhost") == ""
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert hosts.address_of(socket.gethostname()) == ""
