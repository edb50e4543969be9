"""Tokens to join with."""

from __future__ import annotations

import pytest

from onestack.cluster.tokens import JoinToken
from onestack.model.errors import BadAnswers

AUTHORITY = "ab" * 32


def test_what_is_printed_is_read_again() -> None:
    token = JoinToken.made(AUTHORITY)
    assert JoinToken.read(f" {token}\n") == token
    assert token.fits(token.hash)


def test_no_two_are_alike() -> None:
    made = {str(JoinToken.made(AUTHORITY)) for _ in range(50)}
    assert len(made) == 50


def test_another_secret_or_another_id_does_not_fit() -> None:
    one, other = JoinToken.made(AUTHORITY), JoinToken.made(AUTHORITY)
    assert not other.fits(one.hash)
    assert not JoinToken(AUTHORITY, other.id, one.secret).fits(one.hash)
    assert not JoinToken(AUTHORITY, one.id, other.secret).fits(one.hash)


def test_what_is_logged_lets_nobody_in() -> None:
    token = JoinToken.made(AUTHORITY)
    assert token.secret not in repr(token)
    assert token.secret not in token.hash


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: "", "nothing was given"),
        (lambda text: text[:-1], "some may be missing"),
        (lambda text: text + "a", "some may be missing"),
        (lambda text: text.upper(), "some may be missing"),
        (lambda text: text[:40] + " " + text[40:], "white space"),
        (lambda text: text.replace("onestack1", "onestack2"), "another release"),
        (lambda text: "hunter2", "some may be missing"),
    ],
)
def test_what_is_none(change, why: str) -> None:  # type: ignore[no-untyped-def]
    text = change(str(JoinToken.made(AUTHORITY)))
    with pytest.raises(BadAnswers) as problem:
        JoinToken.read(text)
    assert why in problem.value.why
    assert len(text) < 8 or text not in str(problem.value)
