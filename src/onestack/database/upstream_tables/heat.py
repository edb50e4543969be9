"""Heat's tables, as of 27.0.1."""

from __future__ import annotations

from onestack.database.places import Table

STACKS = Table("heat", "stack")
"""There once heat's database was migrated."""
