"""``python -m onestack.storage.attach STORE ROOT [--detach]``: a store, mounted where it is used.

``STORE`` is a function, ``module:name``: with the cloud's root it gives an `Attachable`. The
supervisor runs this as root before the store's processes start, so that all is there again
after a boot, and with ``--detach`` after they have ended.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
from pathlib import Path

from onestack.model.errors import OnestackError
from onestack.storage.store import Attachable


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m onestack.storage.attach")
    parser.add_argument("store", help="what gives the store: module:function")
    parser.add_argument("root", type=Path, help="the cloud's root directory")
    parser.add_argument("--detach", action="store_true", help="unmount and free its devices")
    arguments = parser.parse_args(argv)
    try:
        store: Attachable = pkgutil.resolve_name(arguments.store)(arguments.root)
        # What a guest that outlives its service still uses stays; the next start finds it.
        for sentence in store.detach() if arguments.detach else store.attach():
            print(sentence, file=sys.stderr)
    except OnestackError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except OSError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
