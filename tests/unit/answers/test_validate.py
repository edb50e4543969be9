"""Validation: all problems at once, each with its place and a way out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onestack.answers.packstack_file import parse
from onestack.answers.registry import Registry, build, registry
from onestack.answers.validate import Rules, read
from onestack.answers.values import Answers
from onestack.model.errors import BadAnswers
from onestack.model.key import Class, Key, Kind

KNOWN = build(
    [
        (
            "X",
            [
                Key("CONFIG_ONESTACK_SIZE", "1G", "A size.", Kind.SIZE),
                Key("CONFIG_ONESTACK_PW", "PW_PLACEHOLDER", "A password.", Kind.SECRET),
                Key("CONFIG_ONESTACK_GONE", "n", "Gone.", Kind.FLAG, (), Class.REFUSED, "it went"),
            ],
        )
    ]
)


def answers(text: str, *more: str, known: Registry = KNOWN) -> tuple[Answers, list[str]]:
    files = [parse(f"[general]\n{t}", name) for name, t in zip("fgh", (text, *more), strict=False)]
    return read(known, [f.entries for f in files], files)


def problems(text: str, *more: str) -> list[str]:
    with pytest.raises(BadAnswers) as caught:
        answers(text, *more)
    assert caught.value.exit_code == 2
    return caught.value.why.splitlines()


def test_everything_wrong_is_said_at_once() -> None:
    found = problems(
        "CONFIG_ONESTACK_SISE=1G\nCONFIG_ONESTACK_SIZE=much\nnonsense\nCONFIG_ONESTACK_GONE=y\n"
    )
    assert found == [
        "f:4: 'nonsense' is not followed by '=' and a value",
        "f:2: CONFIG_ONESTACK_SISE is not a known key; did you mean CONFIG_ONESTACK_SIZE?",
        "f:3: CONFIG_ONESTACK_SIZE=much: a size is digits and a unit, such as 20G or 512M",
        "f:5: CONFIG_ONESTACK_GONE=y is refused: it went",
    ]


def test_a_refused_key_at_its_default_is_no_matter() -> None:
    assert answers("CONFIG_ONESTACK_GONE=n")[1] == []


def test_services_of_later_are_refused_with_the_reason() -> None:
    (found,) = problems("CONFIG_MANILA_INSTALL=y")
    assert "not part of onestack" in found and "set it to n" in found


def test_later_layers_win_but_one_layer_must_agree_with_itself() -> None:
    assert answers("CONFIG_ONESTACK_SIZE=2G", "CONFIG_ONESTACK_SIZE=3G")[0][
        "CONFIG_ONESTACK_SIZE"
    ] == (3 << 30)
    (found,) = problems("CONFIG_ONESTACK_SIZE=2G\nCONFIG_ONESTACK_SIZE=3G")
    assert found.startswith("f:3:") and "f:2" in found


def test_a_later_layer_can_go_back_to_the_default() -> None:
    both = answers("CONFIG_DEBUG_MODE=y", "CONFIG_DEBUG_MODE=n")[0]
    assert both["CONFIG_DEBUG_MODE"] is False


def test_a_placeholder_says_nothing() -> None:
    got = answers("CONFIG_ONESTACK_PW=centos", "CONFIG_ONESTACK_PW=PW_PLACEHOLDER")[0]
    assert got["CONFIG_ONESTACK_PW"] == "centos"


def test_a_key_without_effect_is_told() -> None:
    _, notices = answers("CONFIG_NAGIOS_INSTALL=n")
    assert len(notices) == 1 and notices[0].startswith("CONFIG_NAGIOS_INSTALL has no effect")


def test_older_names_set_todays() -> None:
    got, _ = answers("CONFIG_KEYSTONE_HOST=192.0.2.7")
    assert got["CONFIG_CONTROLLER_HOST"] == "192.0.2.7"


def test_the_cloud_is_at_an_ipv4_address() -> None:
    for text in ("CONFIG_CONTROLLER_HOST=fd00::1", "CONFIG_KEYSTONE_HOST=fd00::1"):
        (found,) = problems(text)
        assert "at an IPv4 address only" in found


def test_a_wrong_secret_is_not_repeated() -> None:
    strict = Key("CONFIG_ONESTACK_PW", "", "P.", Kind.SECRET, check=lambda t: "too short")
    with pytest.raises(BadAnswers) as caught:
        answers("CONFIG_ONESTACK_PW=abc", known=build([("X", [strict])]))
    assert "abc" not in str(caught.value)


def test_contradictions_are_asked_of_the_components() -> None:
    def rule(given: Answers) -> Iterator[str]:
        if given["CONFIG_DEBUG_MODE"]:
            yield "no debugging here"

    with pytest.raises(BadAnswers, match="no debugging here"):
        read(KNOWN, [parse("CONFIG_DEBUG_MODE=y", "f").entries], (), Rules([rule]))


def test_what_components_remark_is_told() -> None:
    def remark(given: Answers) -> Iterator[str]:
        yield f"debugging: {given['CONFIG_DEBUG_MODE']}"

    entries = parse("CONFIG_DEBUG_MODE=y", "f").entries
    assert read(KNOWN, [entries], (), Rules(remarks=[remark]))[1] == ["debugging: True"]


def test_what_is_wrong_with_a_service_that_is_off_is_told_and_counts_for_nothing() -> None:
    rules = Rules(unread=[lambda _: ("CONFIG_ONESTACK_SIZE", "CONFIG_DEBUG_MODE")])
    entries = parse("CONFIG_ONESTACK_SIZE=much", "f").entries
    got, notices = read(KNOWN, [entries], (), rules)
    assert got["CONFIG_ONESTACK_SIZE"] == 1 << 30 and not got.is_given("CONFIG_ONESTACK_SIZE")
    assert "counts for nothing" in notices[0] and "a size is digits" in notices[0]
    # A switch says itself whether it is read.
    with pytest.raises(BadAnswers, match="write y or n"):
        read(KNOWN, [parse("CONFIG_DEBUG_MODE=perhaps", "f").entries], (), rules)


def test_what_packstack_wrote_by_itself_is_not_remarked() -> None:
    assert answers("CONFIG_KEYSTONE_TOKEN_FORMAT=UUID\nCONFIG_AMQP_ENABLE_AUTH=n")[1] == []
    assert answers("CONFIG_KEYSTONE_TOKEN_FORMAT=PKI")[1] != []


@pytest.mark.parametrize("sign", [" #", "\t#", "\t\t\t# ", " ;"])
def test_a_remark_behind_a_value_is_found(sign: str) -> None:
    found = problems(f"CONFIG_NAGIOS_INSTALL=n{sign}x\nCONFIG_COMPUTE_HOSTS=192.0.2.7{sign}me")
    assert [line[:4] for line in found] == ["f:2:", "f:3:"]
    assert all("a remark cannot stand behind a value" in line for line in found)
    got, (notice,) = answers(f"CONFIG_ONESTACK_PW=a{sign}mine")
    assert got["CONFIG_ONESTACK_PW"].startswith(f"a{sign}")
    assert "is the secret" in notice and "mine" not in notice
    # Beside problems it is told as well.
    assert "is the secret" in problems(f"CONFIG_ONESTACK_PW=a{sign}mine\nnonsense")[-1]


def test_today_s_name_counts_more_than_an_older_one_beside_it() -> None:
    old, new = "CONFIG_NEUTRON_OVS_VLAN_RANGES", "CONFIG_NEUTRON_ML2_VLAN_RANGES"
    every = registry()
    got, notices = answers(f"{new}=\n{old}=physnet1", known=every)
    assert got[new] == () and notices == [f"{old} counts for nothing beside {new}"]
    assert answers(f"{old}=physnet1", known=every)[0][new] == ("physnet1",)
    # Havana's plugin read the older one.
    plugin = "CONFIG_NEUTRON_L2_PLUGIN=openvswitch"
    got, notices = answers(f"{old}=a\n{new}=b\n{plugin}", known=every)
    assert got[new] == ("a",) and any(n.startswith(f"{new} counts for nothing") for n in notices)
    # Two older ones have nobody above them.
    with pytest.raises(BadAnswers, match="contradicts"):
        answers("CONFIG_MYSQL_PW=a\nCONFIG_MYSQL_PW=b", known=every)
