"""Ceilometer, the metering: what guests use and what services tell goes to the store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components import openstack, telemetry
from onestack.components.ceilometer import definitions
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Directory,
    Identity,
    KnownError,
    TempestResources,
    ini_file,
)
from onestack.model.findings import Finding, refuse
from onestack.model.host import Role
from onestack.model.ini import Ini
from onestack.model.key import Class, Key, Kind
from onestack.model.process import NotifyProbe, Process
from onestack.model.secret import Secret

NAMESPACES = (
    "ceilometer",
    "ceilometer-auth",
    "oslo.log",
    "oslo.messaging",
)


def _wrong_interval(text: str) -> str | None:
    good = text.strip().isdigit() and 5 <= int(text) <= 3600
    return None if good else "write a number of seconds from 5 to 3600"


_ACCOUNT = openstack.service_password("ceilometer")
_SIGNATURE = "CONFIG_CEILOMETER_SECRET"
"""The secret has its key's name, by which clouds keep it."""


class Ceilometer(Component):
    name = "ceilometer"
    title = "Metering"
    tempest_service = "ceilometer"
    tempest_plugin = "telemetry_tempest_plugin"
    provides = (Capability("notifications", ("ceilometer",)),)
    keys = (
        Key(
            "CONFIG_CEILOMETER_INSTALL",
            "n",
            "Turn metering on: what guests use is measured and kept in Gnocchi.",
            Kind.FLAG,
        ),
        _ACCOUNT.key,
        Key(
            _SIGNATURE,
            "PW_PLACEHOLDER",
            "Secret that signs metering's messages.",
            Kind.SECRET,
        ),
        Key(
            telemetry.INTERVAL,
            "60",
            "Seconds between two looks at the guests, and what an alarm can tell apart. A new "
            "value counts for metrics made from then on.",
            Kind.NUMBER,
            check=_wrong_interval,
        ),
        Key(
            "CONFIG_CEILOMETER_METERING_BACKEND",
            "database",
            "Where samples are kept.",
            outcome=Class.MAPPED,
            note="always Gnocchi: upstream's metering left its database",
        ),
        Key(
            "CONFIG_CEILOMETER_EVENTS_BACKEND",
            "database",
            "Where events are kept.",
            outcome=Class.IGNORED,
            note="upstream keeps no events any more; alarms on them are Aodh's",
        ),
        Key(
            "CONFIG_CEILOMETER_COORDINATION_BACKEND",
            "redis",
            "How metering agents split the work.",
            outcome=Class.IGNORED,
            note="one agent does all of it: there is nothing to split",
        ),
        Key(
            "CONFIG_CEILOMETER_SERVICE_NAME",
            "httpd",
            "Run the metering API stand-alone or inside httpd.",
            outcome=Class.IGNORED,
            note="upstream's metering has no API any more; measures are asked of Gnocchi",
        ),
        Key(
            "CONFIG_ENABLE_CEILOMETER_MIDDLEWARE",
            "n",
            "Count object-store requests through the proxy middleware.",
            Kind.FLAG,
            outcome=Class.IGNORED,
            note="requests to the object store are not counted",
        ),
    )
    known_errors = (
        KnownError(
            r"(?s)\A(?=.*libvirt)(?=.*(Failed to connect|End of file))",
            "libvirtd does not answer, so no guest is measured",
            "`onestack restart libvirt`, then `onestack logs libvirt`",
        ),
        KnownError(
            r"(?s)\A(?=.*(?i:gnocchi))(?=.*(Connection refused|ConnectFailure|503|Unable to))",
            "the store of metrics does not answer, what was measured meanwhile is lost",
            "see `onestack status`, then `onestack logs gnocchi`",
        ),
        KnownError(
            "keystone issue",
            "keystone did not answer",
            "see `onestack status`, then `onestack logs keystone`",
        ),
    )
    secrets = (_ACCOUNT.secret, Secret(_SIGNATURE, _SIGNATURE))

    def enabled(self, answers: Answers) -> bool:
        return telemetry.metering(answers)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(ctx.cloud.data / self.name, user, user, 0o750)
        yield Directory(_etc(ctx) / "pollsters.d", "root", user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group, etc = ctx.cloud.user(self.name), _etc(ctx)
        yield ini_file(_config(ctx), group, _sections(ctx), *NAMESPACES)
        for name, text in definitions.files(ctx, etc / "gnocchi_resources.yaml").items():
            yield ConfigFile(etc / name, text, group)

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("ceilometer")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = str(_config(ctx))
        guests = ctx.offers("hypervisor")
        yield Process(
            name="ceilometer",
            component=self.name,
            user=ctx.cloud.user(self.name),
            groups=(ctx.at("hypervisor").group,) if guests else (),
            run="onestack.components.ceilometer.inside.run:all_of_it",
            arguments={"config": config},
            files=tuple(str(file.path) for file in self.files(ctx)),
            needs=("messaging", "identity", "metric", *(("hypervisor",) if guests else ())),
            # It reads the bus, and measures the guests of its own host: those of another
            # are measured by a part of it there.
            roles=(Role.CONTROLLER,),
            probe=NotifyProbe(),
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {"telemetry": {"ceilometer_polling_interval": int(ctx.answers[telemetry.INTERVAL])}}

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.ceilometer.metering_health import silence

        if ctx.offers("compute") and (seconds := silence(ctx)):
            yield refuse(
                f"servers run, and none was measured for {seconds} s "
                f"(every {ctx.answers[telemetry.INTERVAL]} s is asked for)",
                cure="onestack logs ceilometer; onestack restart ceilometer",
            )

    def preload(self, ctx: Context) -> Iterable[str]:
        # Imported by itself as late as in a child, it would bring eventlet along.
        return ("oslo_cache._memcache_pool",)


def _etc(ctx: Context) -> Path:
    return ctx.cloud.etc / "ceilometer"


def _config(ctx: Context) -> Path:
    return _etc(ctx) / "ceilometer.conf"


def _sections(ctx: Context) -> Ini:
    etc, package = _etc(ctx), ctx.release.services.site_packages / "ceilometer"
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "host": ctx.host.name,
            "transport_url": openstack.transport_url(ctx),
            "libvirt_uri": f"qemu+unix:///system?socket={ctx.at('hypervisor').socket}",
            "pipeline_cfg_file": str(etc / "pipeline.yaml"),
            "event_pipeline_cfg_file": str(etc / "event_pipeline.yaml"),
            # none of another installation's on this machine
            "pollsters_definitions_dirs": str(etc / "pollsters.d"),
            # threads that take notifications, and connections to the store
            "max_parallel_requests": 4,
        },
        "polling": {"cfg_file": str(etc / "polling.yaml")},
        "meter": {"meter_definitions_dirs": str(package / "data" / "meters.d")},
        "event": {
            "definitions_cfg_file": str(package / "pipeline" / "data" / "event_definitions.yaml")
        },
        # A server's own metadata say which group it belongs to (metering.server_group): asked
        # of nova once for each server, so that an alarm finds it from its first measure on.
        "compute": {"fetch_extra_metadata": True},
        # The default is an older name, under which its library knows no service.
        "service_types": {"cinder": "block-storage"},
        "publisher": {"telemetry_secret": ctx.secrets[_SIGNATURE]},
        "service_credentials": openstack.credentials(ctx, "ceilometer", "interface"),
        **openstack.messaging(ctx),
    }
