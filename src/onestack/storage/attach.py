"""``python -m onestack.storage.attach ROOT [--detach]``: the pool's file, seen as a filesystem.

The supervisor runs it as root before the volume service starts, so that the
pool is there again after a boot, and with ``--detach`` after it has ended.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from onestack.model.errors import OnestackError
from onestack.storage import pool


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m onestack.storage.attach")
    parser.add_argument("root", type=Path, help="the cloud's root directory")
    parser.add_argument("--detach", action="store_true", help="unmount and free the loop device")
    arguments = parser.parse_args(argv)
    place = pool.Pool(arguments.root)
    try:
        if arguments.detach:
            if not pool.detach(place):
                # A guest that outlives the volume service; the next start finds it mounted.
                print(f"{place.directory} is in use and stays mounted", file=sys.stderr)
            return 0
        for sentence in pool.attach(place):
            print(sentence, file=sys.stderr)
    except OnestackError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
