"""Run a supervisor with shorter delays, so that tests are quick: ``python hurry.py -m …``."""

from __future__ import annotations

import runpy
import sys

from onestack.supervise import prober, states, supervised

if __name__ == "__main__":
    states.FIRST_DELAY = 0.05
    prober.SLOW = prober.WRONG = 0.1
    supervised.PROBELESS = 0.1
    supervised.DEAF = 0.3
    supervised.busyness = lambda: 1.0
    del sys.argv[:2]
    runpy.run_module("onestack.supervise", run_name="__main__")
