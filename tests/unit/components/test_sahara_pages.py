"""Sahara's pages in the dashboard's own environment: what they ask for is there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from onestack.components.horizon import Horizon
from onestack.components.horizon.settings import text
from onestack.components.sahara import Sahara
from onestack.release.release import release
from tests.support.needs import needs_root
from tests.unit.components.rooms import content, context

SOURCE = Path(__file__).resolve().parents[3] / "src"
ON = {"CONFIG_HORIZON_INSTALL": "y", "CONFIG_SAHARA_INSTALL": "y"}
TRIAL = """
import datetime, json
import django
django.setup()
from django.http import HttpRequest
from openstack.compute.v2.availability_zone import AvailabilityZone
from sahara_dashboard.content.data_processing.clusters.nodegroup_templates.workflows import create
from sahara_dashboard.content.data_processing.jobs.job_binaries import forms
from sahara_dashboard.content.data_processing.utils import helpers

asked = HttpRequest()
asked.session = {"django_timezone": "Asia/Tokyo"}
zone = AvailabilityZone(name="nova", state={"available": True})
boxes = create.CheckboxSelectMultiple(choices=[("HDFS:namenode", "namenode")])
print(json.dumps({
    "ajax": asked.is_ajax(),
    "time": helpers.Helpers(asked).to_time_zone("2026-11-29T23:00:00"),
    "zone": [zone.zoneName, zone.zoneState],
    "box": boxes.render("processes", ["HDFS:namenode"], {"id": "id_processes"}),
    "boxes": len(list(boxes.subwidgets("processes", [], {"id": "id_processes"}))),
    "label": forms.LabeledInput("hdfs").render("url", "/in", {"id": "id_url"}, renderer=None),
}))
"""


def test_they_are_offered_with_the_service(tmp_path: Path) -> None:
    with_pages = content(
        context(tmp_path, Horizon(), Sahara(), **ON), Horizon(), "local_settings.py"
    )
    assert "'sahara_dashboard'" in with_pages
    assert "ADD_INSTALLED_APPS = ['onestack.components.sahara.inside.pages']" in with_pages
    alone = content(context(tmp_path, Horizon(), **ON), Horizon(), "local_settings.py")
    assert "sahara" not in alone


@needs_root
def test_what_the_dashboard_lost_is_given_back(tmp_path: Path) -> None:
    dashboard = release().environment("dashboard")
    for change in dashboard.ensure():
        change.do()
    (panel,) = Sahara().dashboard(context(tmp_path, Sahara(), **ON))
    local = tmp_path / "local"
    local.mkdir()
    (local / "__init__.py").touch()
    made = {"SECRET_KEY": "x", "ADD_INSTALLED_APPS": [panel.application]}
    (local / "local_settings.py").write_text(text(made, (panel.package,)))
    done = subprocess.run(
        [dashboard.python, "-W", "ignore", "-c", TRIAL],
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}:{SOURCE}",
            "DJANGO_SETTINGS_MODULE": "openstack_dashboard.settings",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ajax"] is False
    assert found["time"] == "2026-11-30T08:00:00"
    assert found["zone"] == ["nova", {"available": True}]
    assert "checked" in found["box"] and 'id="id_processes_0"' in found["box"]
    assert found["boxes"] == 1
    assert "hdfs://" in found["label"] and 'value="/in"' in found["label"]
