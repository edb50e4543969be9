"""The zygote's imports with FWaaS; before those that work out all models."""

from __future__ import annotations

# ruff: noqa: F401 (importing is all that is wanted)
import neutron_fwaas.services.firewall.fwaas_plugin_v2

from onestack.components.neutron.inside import preload

preload.check()
