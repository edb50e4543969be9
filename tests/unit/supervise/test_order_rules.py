"""Who may start, who must wait for whom: the rules alone, nothing runs."""

from __future__ import annotations

import pytest

from onestack.supervise.order import Decision, Member, Parents, above, culprit, decide
from onestack.supervise.states import State

READY, WAITING, STOPPING = State.READY, State.WAITING, State.STOPPING


def known(*members: Member) -> dict[str, Member]:
    return {member.name: member for member in members}


def test_who_has_all_it_needs_starts_programs_first() -> None:
    members = known(
        Member("api", WAITING, ("database",), forked=True),
        Member("database", READY),
        Member("proxy", WAITING),
        Member("idle", State.STOPPED),
    )
    assert decide(members, Parents()) == Decision(start=("proxy", "api"))


@pytest.mark.parametrize("state", [s for s in State if s is not READY])
def test_only_what_is_ready_is_enough(state: State) -> None:
    members = known(Member("api", WAITING, ("database",)), Member("database", state))
    found = decide(members, Parents())
    assert "api" not in found.start
    assert found.waiting["api"] == f"database ({state.value})"


def test_all_that_lacks_is_said() -> None:
    members = known(
        Member("api", WAITING, ("database", "bus", "nobody"), forked=True, zygote="far"),
        Member("database", State.STARTING),
        Member("bus", READY),
    )
    found = decide(members, Parents("the zygote (1 of 2 modules imported)"))
    assert found.waiting == {"api": "database (starting), nobody (unknown)"}


def test_forked_ones_wait_for_their_zygote() -> None:
    members = known(
        Member("near", WAITING, forked=True),
        Member("far", WAITING, forked=True, zygote="far"),
        Member("program", WAITING),
    )
    importing = Parents("the zygote (1 of 2 modules imported)")
    assert decide(members, importing) == Decision(
        start=("program",),
        waiting=dict.fromkeys(("near", "far"), "the zygote (1 of 2 modules imported)"),
    )
    assert decide(members, Parents()) == Decision(
        start=("program", "near"), waiting={"far": "the zygote far"}
    )
    assert decide(members, Parents(zygotes=["far"])).start == ("program", "near", "far")


def test_what_needs_it_ends_first() -> None:
    members = known(
        Member("database", STOPPING),
        Member("api", STOPPING, ("database",)),
        Member("proxy", STOPPING, ("api",)),
    )
    assert decide(members, Parents()) == Decision(
        end=("proxy",),
        stopping={
            "database": "api must be down first",
            "api": "proxy must be down first",
        },
    )


def test_what_needs_it_through_one_that_is_down_ends_first() -> None:
    """The one between has failed: what stands on it is still up, and may want to write."""
    members = known(
        Member("database", STOPPING),
        Member("api", State.BACKOFF, ("database",)),
        Member("proxy", STOPPING, ("api", "database")),
    )
    assert above("database", members) == ["proxy"]
    assert decide(members, Parents()).end == ("proxy",)


def test_who_goes_on_running_holds_nobody_up() -> None:
    members = known(Member("database", STOPPING), Member("api", READY, ("database",)))
    assert decide(members, Parents()).end == ("database",)


def test_needs_in_a_circle_end() -> None:
    """A roster should have none; a loop that never ends would be worse than a wrong order."""
    members = known(Member("a", STOPPING, ("b",)), Member("b", READY, ("a",)))
    assert decide(members, Parents()).end == ("a",)
    assert culprit(["a"], known(Member("a", WAITING, ("b",)), Member("b", WAITING, ("a",)))) is None


@pytest.mark.parametrize(
    ("state", "wanted", "found"),
    [
        (State.FATAL, True, "database"),
        (State.STOPPED, False, None),  # it may be wanted soon
        (State.STARTING, True, None),
        (READY, True, None),
    ],
)
def test_what_gave_up_below_is_the_culprit(state: State, wanted: bool, found: str | None) -> None:
    members = known(
        Member("proxy", WAITING, ("api",)),
        Member("api", WAITING, ("database", "unknown")),
        Member("database", state, wanted=wanted),
    )
    assert culprit(["proxy"], members) == found


def test_what_nobody_wants_never_gets_ready() -> None:
    assert culprit(["a"], known(Member("a", State.STOPPED, wanted=False))) == "a"
    assert culprit(["a"], known(Member("a", State.STOPPED, wanted=True))) is None
