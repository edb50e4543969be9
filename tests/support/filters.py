"""Rules that firewalld 1.3.3 and ufw 0.36.2 have made, without those for IPv6, and counters.

What nft does not say of ufw's, the states of connections, is from ufw's own before.rules.

``firewalld`` and ``ufw`` are as they are after their installation, with port 22 open; in
``firewalld-opened`` and ``ufw-opened`` somebody has typed what onestack says for ``br-ex``, and in
the first for the ports 5000 and 8774; in ``firewalld-bridges`` for the bridges before guests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PLACE = Path(__file__).resolve().parents[1] / "filters"


def filters_of(name: str) -> dict[str, Any]:
    rules: dict[str, Any] = json.loads((PLACE / f"{name}.json").read_text())
    return rules
