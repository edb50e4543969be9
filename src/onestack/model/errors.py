"""Every error onestack shows: what failed, why, and what to do about it."""

from __future__ import annotations

import errno
import os
import traceback

FULL = (errno.ENOSPC, errno.EDQUOT)


class OnestackError(Exception):
    """A failure worth one screen: *what* failed, *why*, and the *cure*.

    ``exit_code`` is what the program ends with: 1 failed, 2 bad usage or
    answers, 3 refused by preflight.
    """

    exit_code = 1
    traceback = ""
    """Of a fault of onestack's own: for the log, not for the screen."""

    def __init__(self, what: str, why: str = "", cure: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.cure = cure

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"why: {self.why}")
        if self.cure:
            parts.append(f"cure: {self.cure}")
        return "\n".join(parts)


class BadAnswers(OnestackError):
    """The operator's answers or command line cannot be used."""

    exit_code = 2


class PreflightRefused(OnestackError):
    """The machine is not fit; nothing was changed."""

    exit_code = 3


class Defect(OnestackError):
    """A fault of onestack's own: an exception that nobody expected, made in ``where``."""

    def __init__(self, error: Exception, where: str = "onestack itself") -> None:
        place = "an error of onestack's own"
        if frames := traceback.extract_tb(error.__traceback__):
            last = frames[-1]
            place += f", in {last.name}, line {last.lineno} of {last.filename}"
        super().__init__(
            f"{where} failed: {type(error).__name__}: {error}".rstrip(": "),
            place,
            "run the same command again; if it fails in the same way, report it",
        )
        self.traceback = "".join(traceback.format_exception(error))


def no_room(problem: Exception) -> OnestackError | None:
    """What a full disk is to people, where that is what it is: no fault of ours."""
    told = str(problem)
    if not isinstance(problem, OSError):
        return None
    if problem.errno not in FULL:
        # Who copies a tree raises one error with the texts of all: source, copy, and why.
        every = problem.args[0] if problem.args and isinstance(problem.args[0], list) else []
        words = tuple(map(os.strerror, FULL))
        told = next((str(each[2]) for each in every if any(w in str(each[2]) for w in words)), "")
        if not told:
            return None
    return OnestackError(
        "there is no room on the disk",
        told,
        "make room (df -h), then run the same command again",
    )


class NotYet(OnestackError):
    """What is looked at is not there, and a change that is still to be made makes it.

    In a run it is a failure like any other. A dry run, in which changes are pending,
    takes it for "not yet known"; any other exception is a fault there too.
    """


class NotInstalled(NotYet):
    """What a declaration needs is not installed yet: all that a declaration may raise."""


class NotRunning(NotYet):
    """What is asked (the supervisor, the database server, an API) does not run."""
