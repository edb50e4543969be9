"""How a stack is settled that stays in the midst of something.

Nobody takes up what was interrupted, a start neither: only what is asked next of the stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.database.passing import Passing

_CANCELLED = ("CREATE", "UPDATE")
_AGAIN = ("CHECK", "DELETE", "RESUME", "SUSPEND")
"""Asked for once more these begin anew, with all that is left to do."""


def cure(stack: Passing, manage: str) -> str:
    """``manage`` is the command of the operator's, for what the API could only delete."""
    action = stack.state.removesuffix("_IN_PROGRESS")
    if action in _AGAIN:
        return f"openstack stack {action.lower()} {stack.identity}, which begins anew"
    failed = (
        f"openstack stack cancel --no-rollback {stack.identity}"
        if action in _CANCELLED
        else f"{manage} reset_stack_status {stack.identity}"
    )
    return f"{failed}, which calls it failed: then it can be updated or deleted"
