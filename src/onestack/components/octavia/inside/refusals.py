"""What the API says of a listener that it was told not to take (services' environment)."""

from __future__ import annotations

from typing import Any

from octavia.common import exceptions


def explain(cure: str) -> None:
    """Its refusal of a protocol ends with ``cure``: upstream's says no more than that it may not.

    Flavors and zones that are switched off are refused in the same words, and are not meant.
    """
    upstreams = exceptions.DisabledOption

    class Explained(exceptions.DisabledOption):  # type: ignore[misc]
        def __init__(self, **words: Any) -> None:
            if words["option"] == "protocol":
                self.msg = f"{upstreams.msg}; {cure}"
            super().__init__(**words)

    exceptions.DisabledOption = Explained
