"""What sahara's pages of 2023 need of today's dashboard, as an application of Django's.

Some of what they ask for is there under another name only, and two of their fields are drawn in a
way that Django has changed.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import pytz
from django.apps import AppConfig
from django.http import HttpRequest
from django.utils import timezone
from openstack.compute.v2.availability_zone import AvailabilityZone

PLACE = "sahara_dashboard.content.data_processing"


class Pages(AppConfig):  # type: ignore[misc]
    name = "onestack.components.sahara.inside.pages"
    label = "onestack_sahara"

    def ready(self) -> None:
        give_back()
        # They import what is only there once all applications are.
        create = import_module(f"{PLACE}.clusters.nodegroup_templates.workflows.create")
        forms = import_module(f"{PLACE}.jobs.job_binaries.forms")
        create.CheckboxSelectMultiple.build_attrs = _attributes
        forms.LabeledInput.render = _without_renderer(forms.LabeledInput.render)


def give_back() -> None:
    from horizon.utils import http

    # Times are shown in the zone of who looks at them, by way of pytz.
    timezone.utc = pytz.utc
    HttpRequest.is_ajax = http.is_ajax
    AvailabilityZone.zoneName = property(lambda zone: zone.name)
    AvailabilityZone.zoneState = property(lambda zone: zone.state)


def _attributes(field: Any, base: Any = None, extra: Any = None, **more: Any) -> dict[str, Any]:
    """For upstream's own drawing, which names one, and for Django's, which gives both."""
    return {**field.attrs, **more, **(base or {}), **(extra or {})}


def _without_renderer(draw: Any) -> Any:
    @functools.wraps(draw)
    def drawn(field: Any, name: Any, value: Any, attrs: Any = None, renderer: Any = None) -> Any:
        return draw(field, name, value, attrs)

    return drawn
