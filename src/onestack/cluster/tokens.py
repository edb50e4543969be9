"""What a machine is given to join with: ``onestack1.AUTHORITY.ID.SECRET``, good once.

``AUTHORITY`` is the SHA-256 of the hosts' authority (DER), by which whoever joins knows the
cloud's door before it says anything; ``ID`` names the token to people; of ``SECRET``, 128 random
bits, only the hash is kept. It is k3s's shape of a token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from onestack.model.errors import BadAnswers, OnestackError

VERSION = "onestack1"
_SHAPE = re.compile(rf"{VERSION}\.([0-9a-f]{{64}})\.([0-9a-f]{{8}})\.([a-z2-7]{{26}})")


class TokenRefused(OnestackError):
    """The token is not good for this cloud, or not any more."""


@dataclass(frozen=True)
class JoinToken:
    authority: str
    id: str
    secret: str

    def __str__(self) -> str:
        return f"{VERSION}.{self.authority}.{self.id}.{self.secret}"

    def __repr__(self) -> str:
        return f"JoinToken({self.id!r})"  # nothing that is logged lets anybody in

    @classmethod
    def made(cls, authority: str) -> JoinToken:
        """A new one for the cloud whose hosts' authority has that digest."""
        secret = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
        return cls(authority, secrets.token_hex(4), secret)

    @classmethod
    def read(cls, text: str) -> JoinToken:
        """Raises `BadAnswers`, which does not repeat what was given."""
        words = text.split()
        if len(words) == 1 and (found := _SHAPE.fullmatch(words[0])):
            return cls(*found.groups())
        if not words:
            why = "nothing was given"
        elif len(words) > 1:
            why = "there is white space in it"
        elif re.match(r"onestack\d+\.", words[0]) and not words[0].startswith(f"{VERSION}."):
            why = "it was made by another release of onestack"
        else:
            why = f"it is not {VERSION} and three more parts with dots between: some may be missing"
        raise BadAnswers(
            "that is no token to join with",
            why,
            "take the whole line that `onestack token create` printed on the controller, or have "
            "another one made",
        )

    @property
    def hash(self) -> str:
        """What the controller keeps of it."""
        return hashlib.sha256(f"{self.id}.{self.secret}".encode()).hexdigest()

    def fits(self, kept: str) -> bool:
        """Whether it is the one of which that hash was kept."""
        return hmac.compare_digest(self.hash, kept)
