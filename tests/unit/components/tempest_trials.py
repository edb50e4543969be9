"""Tempest's own code, asked: run by test_tempest_upstream.

``python tempest_trials.py TRIAL [ARGUMENT]...``; ends with 0 when all is as expected. `extensions`
runs in the services' environment, the others in Tempest's.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import unittest
from collections.abc import Iterator
from typing import Any


def running() -> None:
    """What runs is told while it does, and what it comes to, from Tempest's kind of stream."""
    from onestack.components.tempest.inside import run

    run.PULSE = 0.2
    stream = (
        "import subunit, sys, time, datetime\n"
        "out = subunit.StreamResultToBytes(sys.stdout.buffer)\n"
        "def say(test, status):\n"
        "    now = datetime.datetime.now(datetime.timezone.utc)\n"
        "    out.status(test_id=test, test_status=status, timestamp=now)\n"
        "    sys.stdout.buffer.flush()\n"
        "say('a.B.slow', 'exists')\n"
        "say('a.B.slow', 'inprogress')\n"
        "time.sleep(0.7)\n"
        "say('a.B.slow', 'success')\n"
        "time.sleep(0.7)\n"
    )
    told: list[dict[str, Any]] = []
    run.tell = lambda **what: told.append(what)
    seen: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run.follow([sys.executable, "-c", stream], seen)
        assert os.path.getsize("tests.subunit") > 0
        os.chdir("/")
    assert seen["a.B.slow"].outcome == "passed", seen
    pulses = [what["running"] for what in told if "running" in what]
    assert {"a.B.slow"} in [set(pulse) for pulse in pulses], told
    # Before and after it nothing ran.
    assert pulses[-1] == {}, told
    longest = max(seconds for pulse in pulses for seconds in pulse.values())
    assert 0.1 < longest < 5, longest
    ended = next(what for what in told if what.get("test") == "a.B.slow")
    assert ended["outcome"] == "passed"


def extensions(service_plugins: str, drivers: str) -> None:
    """What the API of neutron has with these, as they say themselves."""
    importlib.import_module("eventlet")
    from importlib.metadata import entry_points

    from neutron.plugins.ml2.plugin import Ml2Plugin

    def loaded(group: str, name: str) -> Any:
        return next(entry.load() for entry in entry_points(group=group) if entry.name == name)

    def said(kind: Any) -> set[str]:
        found: set[str] = set()
        for name in (
            *("supported_extension_aliases", "_supported_extension_aliases"),
            "_supported_extension_alias",
        ):
            value = getattr(kind, name, ())
            if not isinstance(value, property):
                found |= {value} if isinstance(value, str) else set(value)
        return found

    usual = ("auto_allocate", "tag", "timestamp", "network_ip_availability", "flavors", "revisions")
    found = said(Ml2Plugin)
    for name in (*service_plugins.split(","), *usual):
        if name != "ovn-router":
            found |= said(loaded("neutron.service_plugins", name))
    for name in drivers.split(","):
        found |= said(loaded("neutron.ml2.extension_drivers", name))
    if "ovn-router" in service_plugins:
        from neutron.common.ovn import extensions as ovn

        routers = set(ovn.ML2_SUPPORTED_API_EXTENSIONS_OVN_L3)
        found = (found & set(ovn.ML2_SUPPORTED_API_EXTENSIONS)) | routers
    # What the API has by itself.
    found |= {"pagination", "sorting", "project-id", "rbac-policies", "quotas", "quota_details"}
    found |= {"standard-attr-description"}
    print(json.dumps(sorted(found)))


def names() -> None:
    """Of all tests that there are."""
    from tempest.test_discover import test_discover

    loader = unittest.TestLoader()
    suite = test_discover.load_tests(loader, unittest.TestSuite(), None)

    def each(part: Any) -> Iterator[str]:
        if hasattr(part, "__iter__"):
            for one in part:
                yield from each(one)
        else:
            yield part.id()

    print(json.dumps(sorted(set(each(suite)))))


def skips(configuration: str, listed: str) -> None:
    """Test -> reason, of those that skip themselves for what tempest.conf says.

    What only a cloud could tell (a listing, say) is not known here.
    """
    from tempest import config

    config.CONF.set_config_path(configuration)
    with open(listed) as file:
        tests = json.load(file)
    found = {}
    classes: dict[str, tuple[Any, str | None]] = {}
    for test in tests:
        place, _, method = test.partition("[")[0].rpartition(".")
        if place not in classes:
            classes[place] = _class(place)
        kind, reason = classes[place]
        if kind is not None and reason is None:
            reason = _of_method(getattr(kind, method.partition("(")[0], None))
        if reason is not None:
            found[test] = (reason.strip().splitlines() or ["no reason"])[0]
    print(json.dumps(found))


class _Late(BaseException):
    pass


def _asked(work: Any) -> str | None:
    """The reason for which it skips, in the seconds that it takes to say so."""

    def late(*_: Any) -> None:
        raise _Late

    signal.signal(signal.SIGALRM, late)
    signal.alarm(5)
    try:
        work()
    except unittest.SkipTest as skipped:
        return str(skipped)
    except BaseException:  # noqa: BLE001  a test's own body, without a cloud
        return None
    finally:
        signal.alarm(0)
    return None


def _class(place: str) -> tuple[Any, str | None]:
    module, _, name = place.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except Exception:  # noqa: BLE001  tests that are made of files, and ask the cloud for it
        return None, None
    if getattr(kind, "__unittest_skip__", False):
        return kind, kind.__unittest_skip_why__
    return kind, _asked(kind.skip_checks) if hasattr(kind, "skip_checks") else None


def _of_method(method: Any) -> str | None:
    if getattr(method, "__unittest_skip__", False):
        return str(method.__unittest_skip_why__)
    # A decorator asks before it calls; the test itself does not get far with nothing.
    return _asked(lambda: method(object()))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
