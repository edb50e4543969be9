"""Each host has accounts of its own, and another password each time that it joins."""

from __future__ import annotations

from onestack.cluster.accounts import account


def test_no_two_passwords_are_alike() -> None:
    made = [
        account(secret, "web1", identity, service)
        for secret in ("one", "two")
        for identity in ("a", "b")
        for service in ("identity", "messaging")
    ]
    assert len({one.password for one in made}) == len(made)
    assert {one.user for one in made} == {"onestack-host-web1"}
    assert account("one", "web1", "a", "identity") == made[0]
