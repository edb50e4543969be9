"""Tempest: which tests, with what, what came of them, and when they are not run again."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import pytest

from onestack.answers.registry import registry
from onestack.components.barbican import Barbican
from onestack.components.cinder import Cinder
from onestack.components.glance import Glance
from onestack.components.heat import Heat
from onestack.components.horizon import Horizon
from onestack.components.keystone import Keystone
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.octavia import Octavia
from onestack.components.provision import Provision
from onestack.components.swift import Swift
from onestack.components.tempest import (
    Tempest,
    config,
    conformance,
    leftovers,
    paths,
    runner,
    selection,
    skips,
)
from onestack.components.tempest.inside import results
from onestack.components.tempest.inside.results import FAILED, PASSED, SKIPPED, Results, Verdict
from onestack.components.tempest.selection import Selection
from onestack.components.trove import Trove
from onestack.images import guest
from onestack.model.cloud import CACHE
from onestack.model.context import Context
from onestack.model.declarations import TempestResources
from onestack.model.errors import BadAnswers, OnestackError
from onestack.release.release import release
from tests.unit.components.certificates import authority
from tests.unit.components.rooms import context, context_on, machine

ROOM = Tempest()
WANTED = {"CONFIG_PROVISION_TEMPEST": "y"}
BENCH = Path(__file__).resolve().parents[3] / "bench" / "conformance"
RUN = {**WANTED, "CONFIG_RUN_TEMPEST": "y"}
FOUND = TempestResources(
    image="i",
    flavor="f",
    flavor_alt="g",
    flavor_name="tiny",
    flavor_alt_name="small",
    public_network="p",
    public_network_name="public",
    private_network_name="private",
    extensions=("port-security", "router"),
    objects=("slo", "versioned_writes"),
)
TRACEBACK = """Traceback (most recent call last):
  File "a.py", line 1, in b
    c()
tempest.lib.exceptions.Conflict: Conflict with state of target resource
Details: {'code': 409}"""


def taken(folder: Path, taken_with: dict[str, Any], *tests: Verdict) -> Results:
    folder.mkdir(parents=True)
    found = Results(folder, "2026-11-27T03:00:00+0000", 12.5, taken_with, tests)
    results.save(found)
    return found


def test_it_is_there_when_asked_for(tmp_path: Path) -> None:
    def rooms(**given: str) -> Context:
        return context_on(machine(), tmp_path, Provision(), ROOM, **given)

    assert not ROOM.enabled(rooms().answers)
    assert ROOM.enabled(rooms(**WANTED).answers)
    assert {task.name: task.needs for task in ROOM.tasks(rooms(**WANTED))} == {
        "configuration": ("capability:contents",)
    }
    contents = rooms(**WANTED).capabilities["contents"]
    assert contents.tasks == ("provision:flavors", "provision:image", "provision:networks")
    last = {task.name: task.needs for task in ROOM.tasks(rooms(**RUN))}
    assert last["tests"] == ("ready",)
    (said,) = ROOM.validate(registry().answers({"CONFIG_RUN_TEMPEST": "y"}))
    assert "needs CONFIG_PROVISION_TEMPEST=y" in said
    users = {place.path.name: place.user for place in ROOM.directories(rooms(**WANTED))}
    assert users == {"tempest": "onestack-tempest", "results": "onestack-tempest"}


def test_it_is_told_of_the_databases_image_when_that_is_there(tmp_path: Path) -> None:
    """Else the next `up` would find it, and change the file."""
    ctx = context_on(machine(), tmp_path, Provision(), Trove(), ROOM, **WANTED)
    (told,) = (task for task in ROOM.tasks(ctx) if task.name == "configuration")
    assert told.needs == ("capability:contents", "capability:databases")
    assert ctx.capabilities["databases"].tasks == ("trove:datastores",)


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    ctx = context(tmp_path, ROOM, **WANTED)
    assert list(ROOM.purge(ctx)) == []
    ctx.cloud.etc.mkdir()
    files = (paths.configuration(ctx), paths.before(ctx))
    for file in files:
        file.touch()
    for change in list(ROOM.purge(ctx)):
        change.do()
    assert not any(file.exists() for file in files)


def test_what_its_runs_have_left_goes_before_the_note_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []
    wrong: list[str] = []

    def remove(ctx: Context) -> list[str]:
        removed.append(paths.before(ctx))
        return wrong

    monkeypatch.setattr(leftovers, "remove", remove)
    ctx = context_on(machine(), tmp_path, Keystone())
    ctx.cloud.etc.mkdir()
    paths.before(ctx).write_text("[]")
    first, _ = ROOM.purge(ctx)
    assert first.what == "remove what a run of Tempest's has left"
    first.do()
    assert removed == [paths.before(ctx)]
    wrong.append("the user x: so it is")
    with pytest.raises(OnestackError) as stays:
        first.do()
    assert stays.value.why == "the user x: so it is"


class TestSelection:
    SMOKE = "tempest.api.a.B.test_c[id-1,smoke]"
    SLOW = "tempest.scenario.a.B.test_d[id-2,slow]"
    OTHER = "neutron_tempest_plugin.api.test_smoke.B.test_e[id-3]"
    HEAT = "heat_tempest_plugin.tests.functional.a.B.test_f[id-4]"
    OFF = "trove_tempest_plugin.tests.api.a.B.test_g[id-5]"

    def fits(self, wanted: Selection) -> set[str]:
        tests = {self.SMOKE, self.SLOW, self.OTHER, self.HEAT, self.OFF}
        filters = wanted.filters(("heat_tempest_plugin", "neutron_tempest_plugin"))
        kept = {t for t in tests if any(re.search(each, t) for each in filters)}
        return {t for t in kept if not (wanted.exclude and re.search(wanted.exclude, t))}

    @pytest.mark.parametrize(
        ("tests", "skip", "fit"),
        [
            ("smoke", "", {SMOKE}),
            ("", "", {SMOKE}),
            ("api", "", {SMOKE, OTHER, HEAT}),
            ("full", "", {SMOKE, SLOW, OTHER, HEAT}),
            ("smoke neutron_tempest", "", {SMOKE, OTHER}),
            (r"test_[cd]", r"scenario api\.x", {SMOKE}),
            ("smoke", "test_c", set()),
        ],
    )
    def test_words(self, tests: str, skip: str, fit: set[str]) -> None:
        assert self.fits(Selection(tests, skip)) == fit

    def test_what_is_no_expression(self) -> None:
        assert selection.wrong(r"smoke tempest\.(api|scenario)") is None
        assert "is no regular expression" in str(selection.wrong("smoke ("))
        for key in ROOM.keys[1:]:
            assert key.check is not None and key.check("[")

    def test_what_is_left_out_becomes_one_expression(self) -> None:
        assert selection.wrong("(?i)smoke") is None
        for words in ("(?i)x", r"(?P<a>b) (?P<a>c)", "["):
            assert "is no regular expression" in str(selection.wrong_skip(words)), words
        assert selection.wrong_skip(r"scenario api\.x") is None
        assert selection.wrong_skip("") is None
        skip = next(key for key in ROOM.keys if key.name == "CONFIG_SKIP_TEMPEST_TESTS")
        assert skip.check is not None and skip.check("(?i)x")

    def test_each_that_is_left_out_has_its_reason(self) -> None:
        for expression, reason in selection.left_out().items():
            re.compile(expression)
            assert len(reason) > 10, expression
        assert selection.reasons("# a\n\n^b\\.c  # it is so\n") == {"^b\\.c": "it is so"}

    def test_plugins_of_what_is_on(self, tmp_path: Path) -> None:
        rooms = (Neutron(), Cinder(), Heat(), ROOM)
        found = runner.plugins(context_on(machine(), tmp_path, *rooms, **WANTED))
        assert found == [f"{name}_tempest_plugin" for name in ("neutron", "cinder", "heat")]


class TestFile:
    def test_what_the_answers_say(self, tmp_path: Path) -> None:
        given = {**WANTED, "CONFIG_PROVISION_DEMO": "y", "CONFIG_PROVISION_IMAGE_SSH_USER": "me"}
        rooms = (Glance(), Nova(), Neutron(), ROOM)
        ctx = context_on(machine(), tmp_path, *rooms, **given)
        found = config.sections(ctx, FOUND)
        assert found["validation"]["image_ssh_user"] == "me"
        assert "tempest_roles" not in found["auth"]
        assert found["compute"]["flavor_ref_alt"] == "g"
        assert found["compute"]["fixed_network_name"] == "private"
        assert found["network"]["public_network_id"] == "p"
        there = {name for name, on in found["service_available"].items() if on}
        assert there == {"glance", "nova", "neutron"}
        for absent in ("object-storage", "dashboard", "heat_plugin", "load_balancer"):
            assert absent not in found

    def test_scenarios_upload_the_demos_image(self, tmp_path: Path) -> None:
        ctx = context_on(machine(), tmp_path, Glance(), Provision(), **WANTED)
        built = config.sections(ctx, FOUND)["scenario"]
        assert built["img_file"] == str(guest.place(CACHE / "images"))
        assert built["img_disk_format"] == "qcow2"
        given = {
            "CONFIG_PROVISION_IMAGE_URL": "https://images.example.org/one.img",
            "CONFIG_PROVISION_IMAGE_FORMAT": "raw",
        }
        ctx = context_on(machine(), tmp_path, Glance(), Provision(), **WANTED, **given)
        fetched = config.sections(ctx, FOUND)["scenario"]
        assert Path(str(fetched["img_file"])).parent == CACHE / "images"
        assert fetched["img_file"] != built["img_file"]
        assert fetched["img_disk_format"] == "raw"

    def test_what_the_services_can_do(self, tmp_path: Path) -> None:
        rooms = (Glance(), Nova(), Neutron(), Cinder(), Swift(), Heat(), Horizon(), Octavia(), ROOM)
        ctx = context_on(machine(), tmp_path, *rooms, CONFIG_NEUTRON_L2_AGENT="ovn", **WANTED)
        found = config.sections(ctx, FOUND)
        assert found["network-feature-enabled"]["api_extensions"] == ("port-security", "router")
        assert found["network-feature-enabled"]["port_security"] is True
        objects = found["object-storage-feature-enabled"]
        assert objects["discoverable_apis"] == ("slo", "versioned_writes")
        assert (objects["object_versioning"], objects["container_sync"]) == (True, False)
        volumes = found["volume-feature-enabled"]
        assert (volumes["backup"], volumes["volume_revert"]) == (True, True)
        assert volumes["extend_attached_volume"] is True
        assert found["compute-feature-enabled"]["volume_multiattach"] is True
        assert found["volume"]["volume_type_multiattach"] == "multiattach"
        assert found["enforce_scope"] == dict.fromkeys(
            ("glance", "nova", "neutron", "cinder"), True
        )
        neutron = found["neutron_plugin_options"]
        assert neutron["dns_domain"] == "openstack.internal"
        assert "geneve" in str(neutron["available_type_drivers"])
        assert not {"provider_vlans", "agent_availability_zone"} & neutron.keys()
        assert found["volume"]["storage_protocol"] == "file"
        assert found["service_available"]["load_balancer"] is True
        vlans = {
            "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
            "CONFIG_NEUTRON_ML2_VLAN_RANGES": "one:1:100,two",
        }
        ctx = context_on(machine(), tmp_path, Neutron(), **WANTED, **vlans)
        neutron = config.sections(ctx, FOUND)["neutron_plugin_options"]
        assert neutron["provider_vlans"] == ("one", "two")
        assert neutron["agent_availability_zone"] == "nova"
        files = {**WANTED, "CONFIG_ONESTACK_CINDER_BACKUP": "y"}
        without = config.sections(context_on(machine(), tmp_path, Cinder(), **files), FOUND)
        assert without["volume"]["backup_driver"] == "posix"
        assert without["compute-feature-enabled"]["attach_encrypted_volume"] is False
        without = config.sections(context_on(machine(), tmp_path, Cinder(), **WANTED), FOUND)
        assert without["volume-feature-enabled"]["backup"] is False
        keyed = context_on(machine(), tmp_path, Cinder(), Barbican(), **WANTED)
        found = config.sections(keyed, FOUND)
        assert found["compute-feature-enabled"]["attach_encrypted_volume"] is True
        assert found["volume-feature-enabled"]["extend_attached_encrypted_volume"] is True

    def test_certificates_of_the_operators(self, tmp_path: Path) -> None:
        """They are for a name of theirs, and what signed them is not known here."""
        made = authority(tmp_path)
        files = {"CERT": str(made.certificate), "KEY": str(made.key)}
        own = {f"CONFIG_{of}_SSL_{k}": v for of in ("HORIZON", "VNC") for k, v in files.items()}
        on = {**WANTED, "CONFIG_HORIZON_INSTALL": "y"}
        rooms = (Nova(), Horizon(), ROOM)
        found = config.sections(context_on(machine(), tmp_path, *rooms, **on), FOUND)
        assert list(found["dashboard"]) == ["dashboard_url"]
        assert found["compute-feature-enabled"]["vnc_console"] is True
        found = config.sections(context_on(machine(), tmp_path, *rooms, **on, **own), FOUND)
        assert found["dashboard"]["disable_ssl_certificate_validation"] is True
        assert found["compute-feature-enabled"]["vnc_console"] is False

    @pytest.mark.skipif(os.geteuid() != 0, reason="the environment's place is root's")
    def test_tempest_knows_every_option(self, tmp_path: Path) -> None:
        """The plugins' too; those of oslo.log and oslo.concurrency are not in its list."""
        installed = release()
        for change in installed.environment(paths.ENVIRONMENT).ensure():
            change.do()
        program = (
            "import json\nfrom tempest import config\nfound = {}\n"
            "for group, options in config.list_opts():\n"
            "    name = str(getattr(group, 'name', group) or 'DEFAULT')\n"
            "    found.setdefault(name, []).extend(option.dest for option in options)\n"
            "print(json.dumps(found))"
        )
        python = installed.environment(paths.ENVIRONMENT).python
        told = subprocess.run(
            [python, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        known = json.loads(told.stdout)
        known.setdefault("DEFAULT", []).extend(["log_file", "use_stderr"])
        known["oslo_concurrency"] = ["lock_path"]
        # Sahara's plugin registers these, and lists others only.
        known["data-processing"] += ["test_image_name", "test_ssh_user"]
        known["service_available"].append("sahara")
        from onestack.components import ALL

        made = authority(tmp_path)
        own = {
            "CONFIG_HORIZON_SSL_CERT": str(made.certificate),
            "CONFIG_HORIZON_SSL_KEY": str(made.key),
        }
        vlans = {"CONFIG_NEUTRON_ML2_VLAN_RANGES": "one:1:9"}
        strangers = []
        for layout in (
            {"CONFIG_NEUTRON_L2_AGENT": "ovn"},
            {"CONFIG_NEUTRON_L2_AGENT": "openvswitch"},
        ):
            given = {**WANTED, **own, **vlans, **layout}
            ctx = context_on(machine(), tmp_path, *ALL, **given)
            strangers += [
                f"[{section}] {option}"
                for section, options in config.sections(ctx, FOUND).items()
                for option in options
                if option not in known.get(section, ())
            ]
        assert strangers == []


class TestResults:
    TESTS = (
        Verdict("a.B.test_c[id-1]", PASSED, 1.5),
        Verdict("a.B.test_d", FAILED, 0.5, TRACEBACK),
        Verdict("a.B.test_e", SKIPPED, 0.0, "Swift is not there"),
    )

    def test_first_lines(self) -> None:
        said = "tempest.lib.exceptions.Conflict: Conflict with state of target resource"
        assert results.first_line(TRACEBACK) == said
        during = f"{TRACEBACK}\n\nDuring handling of the above\n\n{TRACEBACK.replace('409', '500')}"
        assert results.first_line(during) == said
        assert results.first_line("\nbecause\nof that") == "because"
        assert results.first_line("") == ""

    def test_they_are_kept(self, tmp_path: Path) -> None:
        found = taken(tmp_path / "1", {"tests": "smoke"}, *self.TESTS)
        assert results.load(tmp_path / "1") == found
        assert not found.well
        assert dataclasses.replace(found, tests=self.TESTS[:1]).well
        # nothing but skipped tests shows nothing
        assert not dataclasses.replace(found, tests=self.TESTS[2:]).well
        (tmp_path / "2").mkdir()
        (tmp_path / "3").mkdir()
        (tmp_path / "3" / results.RESULTS).write_text("{")
        assert list(results.kept(tmp_path)) == [found]
        assert list(results.kept(tmp_path / "nowhere")) == []

    def test_old_runs_go(self, tmp_path: Path) -> None:
        """But not what `up` would otherwise take the tests again for."""
        needed, good = {"tests": "smoke"}, self.TESTS[:1]
        for number, (taken_with, tests) in enumerate(
            [(needed, good), (needed, good), ({"tests": "x"}, good), (needed, self.TESTS)], 1
        ):
            taken(tmp_path / str(number), taken_with, *tests)
        (tmp_path / "0").touch()
        (tmp_path / "9").mkdir()
        results.tidy(tmp_path, 5, needed)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", *"12349"]
        results.tidy(tmp_path, 2, needed)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2", "4", "9"]
        results.tidy(tmp_path, 2, {"tests": "y"})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "4", "9"]

    def test_for_others(self, tmp_path: Path) -> None:
        strange = Verdict("a.B.test_f", FAILED, 0.0, "it said \x00 & <that>")
        taken(tmp_path / "1", {}, *self.TESTS, strange)
        suite = xml.parse(tmp_path / "1" / results.JUNIT).getroot()
        assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "2", "1")
        first, second, _, last = suite.iter("testcase")
        assert (first.get("classname"), first.get("name")) == ("a.B", "test_c")
        failure = second.find("failure")
        assert failure is not None and failure.text == TRACEBACK
        assert last[0].get("message") == "it said  & <that>"

    def test_a_class_that_is_not_prepared_stands_for_its_tests(self) -> None:
        seen = {
            t.name: t
            for t in (
                Verdict("a.B.test_c[id-1]", PASSED),
                Verdict("setUpClass (a.C)", SKIPPED, 0.0, "no such service"),
                Verdict("setUpClass (a.D)", FAILED, 0.0, TRACEBACK),
                Verdict("tearDownClass (a.B)", FAILED, 0.0, "left behind"),
            )
        }
        listed = ("a.B.test_c[id-1]", "a.C.test_x[id-2,smoke]", "a.D.test_y", "a.E.test_z")
        found = {t.name: (t.outcome, t.first_line) for t in results.whole(listed, seen)}
        assert found == {
            "a.B.test_c[id-1]": (PASSED, ""),
            "a.C.test_x[id-2,smoke]": (SKIPPED, "no such service"),
            "a.D.test_y": (FAILED, results.first_line(TRACEBACK)),
            "a.E.test_z": (FAILED, "it was begun by nobody: its worker has ended"),
            "tearDownClass (a.B)": (FAILED, "left behind"),
        }


class TestLastStep:
    """Tests are run by `up` as long as no results show that they pass here."""

    @pytest.fixture
    def ctx(self, tmp_path: Path) -> Context:
        made = context_on(machine(), tmp_path, Provision(), ROOM, **RUN)
        made.cloud.etc.mkdir()
        paths.configuration(made).write_text("[auth]\n")
        return made

    def wanted(self, ctx: Context) -> list[str]:
        return [change.what for change in runner.ensure_passed(ctx)]

    def test_results_hold_until_the_cloud_is_another(self, ctx: Context) -> None:
        assert self.wanted(ctx) == ["run Tempest's tests: smoke"]
        now = runner.taken_with(ctx, Selection())
        good = Verdict("a.B.test_c", PASSED)
        taken(paths.kept(ctx) / "1", now, good, Verdict("a.B.test_d", FAILED, 0.0, "so"))
        assert len(self.wanted(ctx)) == 1
        taken(paths.kept(ctx) / "2", now, good)
        assert self.wanted(ctx) == []
        other = registry().answers({**RUN, "CONFIG_SKIP_TEMPEST_TESTS": "x"})
        assert len(self.wanted(dataclasses.replace(ctx, answers=other))) == 1
        paths.configuration(ctx).write_text("[auth]\nx = y\n")
        assert len(self.wanted(ctx)) == 1

    def test_what_failed_is_said(self, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        tests = [Verdict(f"a.B.test_{n}[id-{n}]", FAILED, 0.0, TRACEBACK) for n in range(12)]
        found = taken(paths.kept(ctx) / "1", {}, Verdict("a.B.test_c", PASSED), *tests)
        monkeypatch.setattr(runner, "take", lambda ctx, wanted: found)
        (change,) = runner.ensure_passed(ctx)
        with pytest.raises(OnestackError) as failed:
            change.do()
        assert failed.value.what == "1 passed, 12 failed, 0 skipped"
        assert "a.B.test_0\n  tempest.lib.exceptions.Conflict" in failed.value.why
        assert failed.value.why.endswith("… and 2 more")
        assert "the cloud is up" in failed.value.cure and str(found.folder) in failed.value.cure

    def test_where_it_cannot_be_run(self, tmp_path: Path, ctx: Context) -> None:
        with pytest.raises(OnestackError) as wrong:
            runner.need_installed(context(tmp_path))
        assert wrong.value.cure == "onestack up --set CONFIG_PROVISION_TEMPEST=y"
        with pytest.raises(OnestackError, match="not installed"):
            runner.need_installed(ctx)


class TestTake:
    """Stands for Tempest's side: a program that leaves the results that it is told to."""

    @pytest.fixture
    def ctx(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
        made = context_on(machine(), tmp_path, ROOM, **WANTED)
        monkeypatch.setattr(paths, "user", lambda ctx: "root")
        self.cleaned: list[str] = []
        monkeypatch.setattr(leftovers, "remove", lambda ctx: self.cleaned.append("removed"))
        monkeypatch.setattr(leftovers, "note", lambda ctx: self.cleaned.append("noted"))
        paths.kept(made).mkdir(parents=True)
        python = paths.environment(made).python
        python.parent.mkdir(parents=True)
        python.symlink_to("/usr/bin/python3")
        return made

    def says(self, ctx: Context, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
        place = ctx.cloud.root / "run.py"
        place.write_text(f"import json, os, sys\norder = json.load(sys.stdin)\n{program}\n")
        monkeypatch.setattr(paths, "program", lambda ctx: place)

    def leaves(self, tests: list[dict[str, Any]]) -> str:
        left = {"at": "", "seconds": 1, "taken_with": {}, "tests": tests, "left_out": {}}
        return (
            "os.mkdir(sys.argv[2] if len(sys.argv) > 2 else sys.argv[1])\n"
            f"open(sys.argv[-1] + '/results.json', 'w').write(json.dumps({left!r}))"
        )

    def test_results_come_back_and_progress_is_told(
        self, ctx: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []
        monkeypatch.setattr(runner, "tell", told.append)
        lines = [
            {"total": 2},
            {"running": {"a.B.c[id-1]": 4.9, "a.B.d": 61.2}},
            {"test": "a.B.c[id-1]", "outcome": PASSED, "reason": ""},
            {"running": {"a.B.d": 66.2}},
            {"test": "a.B.d", "outcome": FAILED, "reason": "so"},
        ]
        printing = f"for line in {lines!r}: print(json.dumps(line), flush=True)\nprint('noise')\n"
        test = {"name": "a.B.c[id-1]", "outcome": PASSED, "seconds": 1.0, "reason": ""}
        self.says(ctx, monkeypatch, printing + self.leaves([test]))
        found = runner.take(ctx, Selection())
        assert [t.name for t in found.tests] == ["a.B.c[id-1]"]
        # The second word on what is running comes too soon after the first.
        assert told == [
            "2 tests",
            "0 of 2, 0 failed; running: a.B.c (5 s), a.B.d (61 s)",
            "failed: a.B.d: so",
        ]
        assert self.cleaned == ["removed", "noted", "removed"]

    def test_none_fits(self, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says(ctx, monkeypatch, self.leaves([]))
        with pytest.raises(BadAnswers, match="no test of Tempest's to run for 'nothing'"):
            runner.take(ctx, Selection("nothing"))
        assert list(paths.kept(ctx).iterdir()) == []

    def test_what_up_goes_by_is_said(self, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says(ctx, monkeypatch, "sys.exit(json.dumps(order['needed']))")
        with pytest.raises(OnestackError) as broken:
            runner.take(ctx, Selection("by hand"))
        assert json.loads(broken.value.why) == runner.taken_with(ctx, Selection("smoke"))
        assert self.cleaned[-1] == "removed"

    def test_how_many_at_once(self, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says(ctx, monkeypatch, "sys.exit(str(order['workers']))")
        for wanted, workers in ((Selection(workers=7), 7), (Selection(), runner.workers(ctx))):
            with pytest.raises(OnestackError) as broken:
                runner.take(ctx, wanted)
            assert broken.value.why == str(workers)

    def test_it_breaks(self, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says(ctx, monkeypatch, "sys.exit('there is no such file')")
        with pytest.raises(OnestackError) as broken:
            runner.take(ctx, Selection())
        assert "there is no such file" in broken.value.why

    def test_its_locks_are_its_own(self, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the file says, root's may be, when root has run another Tempest."""
        self.says(ctx, monkeypatch, "sys.exit(os.environ['OS_OSLO_CONCURRENCY__LOCK_PATH'])")
        with pytest.raises(OnestackError) as broken:
            runner.take(ctx, Selection())
        assert broken.value.why.startswith(f"{paths.kept(ctx)}/")

    def test_nothing_of_ours_is_in_its_environment(
        self, ctx: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OS_PASSWORD", "secret")
        self.says(ctx, monkeypatch, "sys.exit(repr(sorted(os.environ)))")
        with pytest.raises(OnestackError) as broken:
            runner.take(ctx, Selection())
        assert "HOME" in broken.value.why and "OS_PASSWORD" not in broken.value.why


class TestSkips:
    TESTS = (
        Verdict("a.B.c[id-1]", SKIPPED, 0.0, "Skipped until bug: 1 is resolved."),
        Verdict("a.B.d[id-2]", SKIPPED, 0.0, "Skipped until bug: 2 is resolved."),
        Verdict("a.B.e[id-3]", SKIPPED, 0.0, "the moon is full\nand red"),
    )

    def test_what_is_not_listed_is_told_first(self) -> None:
        new, known = skips.grouped(self.TESTS)
        assert (new.count, new.sentence) == (1, "NEW: the moon is full")
        assert known.count == 2 and known.why.startswith("Upstream skips it")

    def test_each_of_the_list_has_its_reason(self) -> None:
        lines = [
            line
            for line in skips.LISTED.read_text().splitlines()
            if line.strip() and not line.startswith("#")
        ]
        # None stands there twice, none is without one, and none fits everything.
        assert len(lines) == len(skips.listed())
        for expression, reason in skips.listed().items():
            assert not re.search(expression, "tempest.api.a.B.test_c: "), expression
            assert len(reason) > 8, expression

    def test_names_count_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(skips, "listed", lambda: {r"^a\.B\.e: ": "it is so"})
        assert [group.why for group in skips.grouped(self.TESTS[2:])] == ["it is so"]


class TestConformance:
    def found(self, folder: Path) -> Results:
        tests = (
            Verdict("tempest.api.compute.a.B.c[id-1]", PASSED),
            Verdict("neutron_tempest_plugin.fwaas.api.a.B.d", FAILED, 0.0, TRACEBACK),
            *TestSkips.TESTS,
            Verdict("tearDownClass (tempest.scenario.a.B)", FAILED, 0.0, "left behind"),
        )
        with_ = {"tests": "full", "release": "r", "tempest": "t"}
        found = taken(folder, with_, *tests)
        return dataclasses.replace(found, left_out={"tempest.api.compute.a.B.x[id-9]": "never"})

    def test_the_page(self, tmp_path: Path) -> None:
        said = conformance.runs({"OVN": self.found(tmp_path / "1")})
        for line in (
            "| tempest.api.compute | 1 | 0 | 0 | 1 |",
            "| neutron_tempest_plugin (api) | 0 | 1 | 0 | 0 |",
            "| tempest.scenario | 0 | 1 | 0 | 0 |",
            "| all | 1 | 2 | 3 | 1 |",
            "| NEW: the moon is full | 1 |",
            "| OVN | `neutron_tempest_plugin.fwaas.api.a.B.d` | tempest.lib.exceptions.Conflict: "
            "Conflict with state of target resource |",
        ):
            assert line in said.splitlines()
        page = "a\n<!-- runs: made by bench/conformance -->\nold\n<!-- end of runs -->\nb\n"
        put = conformance.put(page, conformance.RUNS, "new")
        assert "new" in put and "old" not in put and put.startswith("a\n") and put.endswith("\nb\n")
        assert conformance.put(put, conformance.RUNS, "new") == put
        with pytest.raises(ValueError, match="no part 'lists'"):
            conformance.put(page, conformance.LISTS, "")

    def test_the_page_has_the_lists_of_today(self) -> None:
        done = subprocess.run(
            [sys.executable, str(BENCH), "--check"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"run bench/conformance\n{done.stdout}{done.stderr}"

    def test_what_is_new_is_told(self, tmp_path: Path) -> None:
        self.found(tmp_path / "1")
        words = [sys.executable, str(BENCH), "--check"]
        done = subprocess.run(
            [*words, f"OVN={tmp_path / '1'}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "OVN: failed: neutron_tempest_plugin.fwaas.api.a.B.d\n" in done.stdout
        assert "1 skipped, and the reason is not listed: the moon is full\n" in done.stdout
        none = subprocess.run([*words, f"OVN={tmp_path}"], capture_output=True, check=False)
        assert none.returncode == 2
