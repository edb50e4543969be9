"""What is changed in oslo.messaging's driver, asked of the release's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import onestack
from tests.support.needs import needs_services, services_python

TRIAL = """
from types import SimpleNamespace
from onestack.runtime import messaging
from oslo_messaging._drivers import amqpdriver, common

asked, heard = [], []

class Idle:
    "A connection by which nothing comes."
    def consume(self, timeout):
        asked.append(timeout)
        if len(asked) == 30:
            listener._shutdown.set()
        raise common.Timeout()

def message():
    acknowledge = lambda: heard.append("acknowledged")
    return SimpleNamespace(acknowledge=acknowledge, get=lambda *_: None, pop=lambda *_: None)

listener = amqpdriver.RpcAMQPListener(SimpleNamespace(prefetch_size=1), Idle())
amqpdriver.AMQPListener.__call__ = lambda self, message: heard.append("taken")
listener(message())
assert heard == ["acknowledged", "taken"], heard
assert not listener.poll()
assert max(asked) == messaging.INTERVAL == 1.0, asked
# it has stopped, and its connection is still there
listener(message())
assert heard == ["acknowledged", "taken"], heard
"""


@needs_services
def test_a_listener_ends_soon_and_leaves_what_comes_to_the_next_one() -> None:
    source = Path(onestack.__file__).parents[1]
    subprocess.run(
        [services_python(), "-c", TRIAL], env={"PYTHONPATH": str(source)}, check=True, timeout=120
    )
