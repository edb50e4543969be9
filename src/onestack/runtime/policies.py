"""Rules of oslo.policy, loaded while there is one thread (services' environment).

An enforcer loads its rules when first asked, without a lock: two first requests at
once fail with "dictionary changed size during iteration", or find a rule missing.
"""

from __future__ import annotations

import gc
import sys


def load() -> None:
    """Load the rules of every enforcer that the application has made so far.

    Some services have one for each controller and keep no list of them.
    """
    module = sys.modules.get("oslo_policy.policy")
    if module is None:
        return
    for found in gc.get_objects():
        # Not isinstance(): proxies among the objects would be asked for their class.
        if issubclass(type(found), module.Enforcer):
            found.load_rules()
