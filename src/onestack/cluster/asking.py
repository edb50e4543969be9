"""Questions of the controller's commands, where its door finds them, and what hosts answer.

A question is a file in a folder of the door's own, for one host, and becomes another by its name:

    IDENTITY.ID.asked → IDENTITY.ID.taken, and then IDENTITY.ID.answer beside it

Each of these steps happens once: a question is handed out once, and answered once. Who asks holds
a lock on its question for as long as it waits. The kernel lets go of that lock however it ends:
what nobody waits for is handed to no host, and removed.

The folder's owner, which hears hosts, may be anybody's one day: root follows no link there, and
reads plain files alone, so far.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onestack.cluster.following import read, shown
from onestack.cluster.protocol import LONGEST, Answer, Question
from onestack.kernel.files import write
from onestack.model.codec import from_plain, to_plain
from onestack.model.errors import OnestackError

OUT, ERR = 1 << 20, 64 * 1024
"""So much of what a verb prints is kept, the last of it: bytes on the host, else characters."""
LARGEST = 4 * (OUT + ERR) + LONGEST
"""Bytes of an answer, as it is kept: no character takes more than four."""
MOST = 2000
"""Files in the folder, from which on nothing more is asked."""
PAUSE = 2.0
"""Seconds after which a host asks again whether there is something for it."""
LONGEST_PAUSE = 30.0
RATE = 25.0
"""Times in a second that the door is asked for that at most, by all hosts together."""
SWEEP = 60.0
"""Seconds between two looks for what nobody waits for."""
HALF_WRITTEN = 60.0
"""Seconds after which a file that has no name yet is nobody's."""
ASKED, TAKEN, ANSWERED = "asked", "taken", "answer"
_NAME = re.compile(r"([0-9a-f-]{36})\.([0-9a-f]{32})\.(asked|taken|answer)")


class Unawaited(OnestackError):
    """A host answers what nobody has asked it, or what nobody waits for any more."""


def pause(hosts: int) -> float:
    """Seconds between two questions of one host, where there are so many."""
    return min(max(PAUSE, hosts / RATE), LONGEST_PAUSE)


def now() -> float:
    """Seconds that pass for all of a machine alike, whatever its clock is set to, or asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class _Kept:
    verb: str
    options: tuple[str, ...]
    ends: float
    """By `now`."""


@dataclass(frozen=True)
class Waiting:
    """A question, as who asked it sees it."""

    spool: Spool
    identity: str
    id: str
    ends: float
    lock: int

    @property
    def taken(self) -> bool:
        """Whether the host has been given it."""
        return not self.spool.path(self.identity, self.id, ASKED).exists()

    @property
    def lost(self) -> bool:
        """Whether the door had an answer and could not keep it."""
        left = (self.spool.path(self.identity, self.id, state) for state in (ASKED, TAKEN))
        return not any(path.exists() for path in left) and self.answer() is None

    def answer(self) -> Answer | None:
        """What the host has answered, without what a terminal would obey."""
        try:
            path = self.spool.path(self.identity, self.id, ANSWERED)
            return _fit(from_plain(Answer, read(path, LARGEST)[0]))
        except (OSError, ValueError, RecursionError):
            return None

    def take_back(self) -> bool:
        """Have it not asked any more. False: the host was given it by then, or may have been."""
        try:
            self.spool.path(self.identity, self.id, ASKED).unlink()
        except OSError:
            return False
        return True

    def withdraw(self) -> None:
        """At the end, once: nothing is left of it. What the host has begun it goes on with."""
        # In the order in which it goes from one to the next: it slips through nowhere.
        for state in (ASKED, TAKEN, ANSWERED):
            self.spool.remove(self.identity, self.id, state)
        os.close(self.lock)


@dataclass(frozen=True)
class Spool:
    """``folder`` is the door's own, in one of root's."""

    folder: Path

    def path(self, identity: str, key: str, state: str) -> Path:
        name = f"{identity}.{key}.{state}"
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:200]!r} is no question's name")
        return self.folder / name

    def remove(self, identity: str, key: str, state: str) -> None:
        # The folder's owner may have made anything of it: that is its own.
        with contextlib.suppress(OSError):
            self.path(identity, key, state).unlink()

    # -- by the controller's commands ------------------------------------------

    def ask(self, identity: str, verb: str, options: Sequence[str], seconds: float) -> Waiting:
        """Of one host; what it answers is looked for until `Waiting.withdraw`.

        Raises `OnestackError`.
        """
        key, ends = secrets.token_hex(16), now() + seconds
        try:
            if len(os.listdir(self.folder)) >= MOST:
                raise OnestackError(
                    "too much is asked of the cloud's hosts at once",
                    f"{self.folder} holds {MOST} questions and answers",
                    "wait for the others, and type it again",
                )
            owner = self.folder.stat()
            path = self.path(identity, key, ASKED)
            new = path.with_name(f".{key}.new")
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(new, flags, 0o600)
        except (OSError, ValueError) as error:
            raise _no_place(self.folder, error) from None
        try:
            # Before it can be seen: nobody finds it without who asks.
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = json.dumps(to_plain(_Kept(verb, tuple(options), ends)))
            os.write(lock, text.encode())
            os.fchown(lock, owner.st_uid, owner.st_gid)
            os.rename(new, path)
        except OSError as error:
            os.close(lock)
            with contextlib.suppress(OSError):
                new.unlink()
            raise _no_place(self.folder, error) from None
        return Waiting(self, identity, key, ends, lock)

    # -- by the door ---------------------------------------------------------------

    def take(self, identity: str) -> Question | None:
        """The next question for that host, which nobody is given once more."""
        for key in self._waited_for(identity, ASKED):
            path = self.path(identity, key, ASKED)
            try:
                kept = from_plain(_Kept, read(path, LONGEST)[0])
                left = kept.ends - now()
                if left > 0:
                    path.rename(self.path(identity, key, TAKEN))
                    return Question(key, kept.verb, kept.options, left)
            except (OSError, ValueError):
                continue  # it was withdrawn just now
        return None

    def expects(self, identity: str) -> bool:
        """Whether that host is to answer something."""
        return any(self._unanswered(identity))

    def answer(self, identity: str, said: Answer) -> None:
        """Keep it for who waits. Raises `Unawaited`, and `OSError` where it cannot be kept."""
        if said.id not in self._unanswered(identity):
            raise _not_asked()
        new = self.folder / f".{secrets.token_hex(16)}.new"
        try:
            write(new, json.dumps(to_plain(_fit(said)), ensure_ascii=False), 0o600)
            os.link(new, self.path(identity, said.id, ANSWERED))
        except FileExistsError:  # it is sent twice
            raise _not_asked() from None
        except OSError:
            self.remove(identity, said.id, TAKEN)
            raise
        finally:
            new.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what nobody waits for."""
        for name in self._names():
            path = self.folder / name
            if not (match := _NAME.fullmatch(name)):
                self._forget_half_written(path)
                continue
            owner, key, state = match.groups()
            if state == ANSWERED:
                abandoned = not self.path(owner, key, TAKEN).exists()
            else:
                abandoned = _abandoned(path)
            if abandoned:
                self.remove(owner, key, state)
                self.remove(owner, key, ANSWERED)

    def _names(self) -> list[str]:
        """By the time that one is looked at, it may be another, or gone."""
        try:
            return os.listdir(self.folder)
        except FileNotFoundError:
            return []

    def _waited_for(self, identity: str, state: str) -> Iterator[str]:
        """Ids of that host's questions in that state, but for those of who is gone."""
        for name in self._names():
            if name.startswith(identity) and (match := _NAME.fullmatch(name)):
                owner, key, found = match.groups()
                if (owner, found) == (identity, state) and not _abandoned(self.folder / name):
                    yield key

    def _unanswered(self, identity: str) -> Iterator[str]:
        for key in self._waited_for(identity, TAKEN):
            if not self.path(identity, key, ANSWERED).exists():
                yield key

    def _forget_half_written(self, path: Path) -> None:
        """Of who was killed meanwhile."""
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > HALF_WRITTEN:
                path.unlink()


def _abandoned(path: Path) -> bool:
    """Whether who asked is gone: a lock that was got says so, and nothing else does."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # it has another name by now; or files cannot be opened at this moment
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _fit(said: Answer) -> Answer:
    out, err = said.out[-OUT:].expandtabs(), said.err[-ERR:].expandtabs()
    cut = said.cut or len(out) > OUT or len(err) > ERR
    return replace(said, out=shown(out[-OUT:], OUT), err=shown(err[-ERR:], ERR), cut=cut)


def _not_asked() -> Unawaited:
    return Unawaited("nobody waits for that answer", "it came late, or this host was not asked")


def _no_place(folder: Path, error: Exception) -> OnestackError:
    why = f"{error.strerror}" if isinstance(error, OSError) else str(error)
    return OnestackError("hosts cannot be asked", f"{folder}: {why}", "onestack up makes its place")
