"""A conventional cloud by hand.

    python -m bench.conventional up|reboot|shell|destroy [--name N] [--layout ovn|openvswitch]

with the repository and its ``src`` on PYTHONPATH, as root.
"""

from __future__ import annotations

import argparse
import os
import sys

from bench.conventional.cloud import Conventional, told
from bench.conventional.machine import Failed
from bench.conventional.place import LAYOUTS, Place
from bench.conventional.web import web
from bench.figures import timed
from onestack.host import kvm


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.conventional", description=__doc__)
    parser.add_argument("verb", choices=("up", "reboot", "shell", "destroy"))
    parser.add_argument("--name", default="bench")
    parser.add_argument("--layout", choices=LAYOUTS, default="ovn")
    options = parser.parse_args()
    cloud = Conventional(Place(options.name, options.layout, kvm.probe().works), web())
    if options.verb == "shell":
        env = os.environ | cloud.place.environment | cloud.place.administrator
        words = cloud.machine.inside("bash")
        os.execvpe(words[0], words, env)
    try:
        seconds = timed(getattr(cloud, options.verb))
    except Failed as error:
        raise SystemExit(f"{cloud.log_ends()}\n{error}") from error
    told(cloud)
    print(f"{options.verb}: {seconds:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
