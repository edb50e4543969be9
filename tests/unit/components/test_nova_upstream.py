"""Ours inside nova, tried in the services' environment; the trials are in nova_trials."""

from __future__ import annotations

import json
from pathlib import Path

from onestack.components import ALL, hosts
from onestack.components.nova import Nova
from onestack.model.declared import Declared
from tests.support.needs import needs_services
from tests.support.trials import tried
from tests.unit.components.rooms import context

TRIALS = Path(__file__).with_name("nova_trials.py")


@needs_services
def test_a_guest_sees_that_its_volume_has_grown() -> None:
    tried(TRIALS, "grown")


@needs_services
def test_a_guest_sees_what_is_behind_a_header() -> None:
    tried(TRIALS, "grown_encrypted")


@needs_services
def test_a_volume_of_several_guests() -> None:
    tried(TRIALS, "shared")


@needs_services
def test_a_volume_that_is_a_device() -> None:
    tried(TRIALS, "a_device")


@needs_services
def test_a_volume_that_the_controller_serves() -> None:
    tried(TRIALS, "served")


@needs_services
def test_volumes_that_are_not_reached() -> None:
    tried(TRIALS, "not_reached")


@needs_services
def test_no_volume_is_swapped_that_is_served() -> None:
    tried(TRIALS, "not_swapped")


@needs_services
def test_a_guest_that_waited_for_its_volumes_goes_on() -> None:
    tried(TRIALS, "waits")


@needs_services
def test_a_guest_sees_that_its_served_volume_has_grown() -> None:
    tried(TRIALS, "grown_over_there")


@needs_services
def test_volumes_of_a_server_that_moves() -> None:
    tried(TRIALS, "moved")


@needs_services
def test_who_may_not_go_stays_as_it_is() -> None:
    tried(TRIALS, "refused_cold")


@needs_services
def test_a_server_whose_copy_fails_is_what_it_was() -> None:
    tried(TRIALS, "failed_cold")


@needs_services
def test_a_killed_compute_service_gives_back_what_it_had() -> None:
    tried(TRIALS, "given_back")


@needs_services
def test_a_compute_service_ends_without_waiting_for_what_was_given_up() -> None:
    tried(TRIALS, "forgotten")


@needs_services
def test_a_connection_that_is_lost_while_it_is_told_of() -> None:
    tried(TRIALS, "lost_again")


@needs_services
def test_what_computes_ask_of_one_another() -> None:
    tried(TRIALS, "between_computes")


@needs_services
def test_servers_move_where_they_may_and_stay_again_where_not(tmp_path: Path) -> None:
    """One after the other in one place: nothing takes away a file that is no more a cloud's."""
    nova = next(room for room in ALL if isinstance(room, Nova))
    for answer, may in (("n", "no"), ("y", "yes"), ("n", "no")):
        ctx = context(tmp_path, *ALL, **{hosts.JOIN: "y", hosts.MOVE: answer})
        for file in Declared(nova, ctx).files:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            file.path.write_text(file.content)
        config = tmp_path / "etc" / "nova" / "nova.conf"
        assert tried(TRIALS, "may_move", str(config)).stdout.strip() == may


def test_who_gets_at_other_hosts_files(tmp_path: Path) -> None:
    """Where servers move alone; a cloud of one machine has nothing of it."""
    nova = next(room for room in ALL if isinstance(room, Nova))

    def told(*left_out: str, **given: str) -> str | None:
        ctx = context(tmp_path, *(room for room in ALL if room.name not in left_out), **given)
        (compute,) = (one for one in nova.processes(ctx) if one.name == "nova-compute")
        return compute.arguments.get("elsewhere")

    assert told(hosts.ROOM) is None
    joined = {hosts.JOIN: "y"}
    assert json.loads(told(**joined) or "") == {"shown": "", "controller": ""}
    shown = f"{tmp_path}/etc/door/carriers"
    assert json.loads(told(**joined, **{hosts.MOVE: "y"}) or "")["shown"] == shown
