"""A cloud's secrets: what the operator gave, else the default password, else random.

Random ones are made once and kept in ``ROOT/etc/secrets.json`` (0600).
"""

from __future__ import annotations

import json
import secrets as randomness
import threading
from collections.abc import Mapping
from pathlib import Path

from onestack.answers.values import Answers
from onestack.kernel.files import write
from onestack.model.errors import OnestackError
from onestack.model.key import Kind
from onestack.model.secret import Secret


class UndeclaredSecret(KeyError):
    """A component asks for a secret that none declares."""

    def __str__(self) -> str:
        return f"no component declares the secret {self.args[0]!r}: declare it in `secrets`"


class Secrets:
    """``secrets[name]`` gives a declared secret: 32 hexadecimal digits, or the operator's own.

    Raises `UndeclaredSecret` for any other name. With ``keep`` false (a dry run) nothing is
    written, and new secrets live as long as this object. Threads may share one.
    """

    def __init__(
        self, path: Path, answers: Answers, declared: Mapping[str, Secret], keep: bool = True
    ) -> None:
        self._path = path
        self._answers = answers
        self._declared = declared
        self._keep = keep
        self._lock = threading.Lock()
        self._made: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        if not (secret := self._declared.get(name)):
            raise UndeclaredSecret(name)
        if secret.key:
            if own := str(self._answers[secret.key]):
                return own
            if secret.password and (default := str(self._answers["CONFIG_DEFAULT_PASSWORD"])):
                return default
        return self._random(name) if secret.made else ""

    def _random(self, name: str) -> str:
        with self._lock:
            if self._made is None:
                self._made = self._load()
            if name not in self._made:
                self._made[name] = randomness.token_hex(16)
                if self._keep:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    write(self._path, json.dumps(self._made, indent=1, sort_keys=True), 0o600)
            return self._made[name]

    def looking(self) -> Secrets:
        """The same, which keeps no new one: to see what would be asked for."""
        return Secrets(self._path, self._answers, self._declared, keep=False)

    def known(self) -> frozenset[str]:
        """The secret values themselves that are in use so far, to hide them or look for them."""
        with self._lock:
            made = self._load() if self._made is None else self._made
        # A default is in the program's own table, and known to everybody.
        own = {
            str(self._answers[name])
            for name in self._answers.given
            if self._answers.key(name).kind is Kind.SECRET
        }
        return frozenset({*made.values(), *own} - {""})

    def _load(self) -> dict[str, str]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise OnestackError(
                f"the cloud's secrets in {self._path} cannot be read",
                problem.strerror or str(problem),
                "run the command as root",
            ) from problem
        try:
            raw = json.loads(text)
            return {str(k): str(v) for k, v in raw.items()}
        except (ValueError, AttributeError) as problem:
            raise OnestackError(
                f"the cloud's secrets in {self._path} are damaged",
                str(problem),
                "put the file back from a backup; without it the cloud must be destroyed and "
                "made anew",
            ) from problem
