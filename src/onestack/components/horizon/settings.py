"""The dashboard's settings: data here, Python assignments in the file."""

from __future__ import annotations

import pprint
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from onestack.components import openstack
from onestack.model.context import Context
from onestack.model.declarations import Panel

PLACE = "/dashboard/"
"""Where packstack's dashboard was, too."""

LOOKS: dict[str, Any] = {
    "DEBUG": False,
    "WEBROOT": PLACE,
    "COMPRESS_OFFLINE": True,
    "CACHES": {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
}
"""What the assets depend on; the same when they are made and when they are served."""

POLICIES = {
    "identity": "keystone",
    "compute": "nova",
    "volume": "cinder",
    "image": "glance",
    "network": "neutron",
}
"""As upstream has them; here because another one can only be added to all."""


_PANELS = """
# The pages of further services are found where they are installed: nothing is
# copied into the environment, which clouds with other services share.
from importlib.util import find_spec as _find
from openstack_dashboard.local import enabled as _enabled
for _package in {}:
    _enabled.__path__ += _find(f"{{_package}}.enabled").submodule_search_locations
"""


def text(settings: dict[str, Any], panels: Sequence[str]) -> str:
    """A Python file of ``settings``, with ``panels``: packages that bring pages."""
    lines = (
        f"{name} = {pprint.pformat(value, width=96, sort_dicts=False)}"
        for name, value in settings.items()
    )
    more = _PANELS.format(repr(tuple(panels))) if panels else ""
    return "\n".join(["# Made by onestack.", *lines, more])


def local_settings(
    ctx: Context,
    *,
    static: Path,
    data: Path,
    packages: Path,
    names: list[str],
    panels: Sequence[Panel],
) -> dict[str, Any]:
    """All that differs from upstream's defaults.

    ``static`` is where the assets are, ``packages`` the environment's folder of
    packages, ``names`` are those of this machine, ``panels`` the further services' pages.
    """
    secure = bool(ctx.answers["CONFIG_HORIZON_SSL"])
    return {
        **LOOKS,
        "STATIC_ROOT": str(static),
        "SECRET_KEY": ctx.secrets["horizon_secret_key"],
        "ALLOWED_HOSTS": list(dict.fromkeys(names)),
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_PROXY_ADDR_HEADER": "HTTP_X_FORWARDED_FOR",
        "SESSION_COOKIE_SECURE": secure,
        "CSRF_COOKIE_SECURE": secure,
        # Files that only the dashboard may read. See decision 21.
        "SESSION_ENGINE": "django.contrib.sessions.backends.file",
        "SESSION_FILE_PATH": str(data / "sessions"),
        "FILE_UPLOAD_TEMP_DIR": str(data / "uploads"),
        "TIME_ZONE": "UTC",
        "OPENSTACK_KEYSTONE_URL": openstack.keystone_url(ctx),
        "OPENSTACK_ENDPOINT_TYPE": "internalURL",
        # Through the dashboard: a browser that sends it to the image service itself
        # would have to trust the cloud's CA there, and be allowed to by that service.
        "HORIZON_IMAGES_UPLOAD_MODE": "legacy",
        "CONSOLE_TYPE": "VNC",
        "ADD_INSTALLED_APPS": [panel.application for panel in panels if panel.application],
        **_policies(panels, packages),
        "LOGGING": _logging(bool(ctx.answers["CONFIG_DEBUG_MODE"])),
    }


def _policies(panels: Iterable[Panel], packages: Path) -> dict[str, Any]:
    """What the dashboard asks before it shows a button."""
    files = {service: f"{project}_policy.yaml" for service, project in POLICIES.items()}
    defaults = {
        service: f"default_policies/{project}.yaml" for service, project in POLICIES.items()
    }
    for panel in panels:
        conf = packages / panel.package / "conf"
        for service, name in panel.policies.items():
            files[service] = str(conf / f"{name}_policy.yaml")
            defaults[service] = str(conf / "default_policies" / f"{name}.yaml")
    return {"POLICY_FILES": files, "DEFAULT_POLICY_FILES": defaults}


def _logging(debug: bool) -> dict[str, Any]:
    """To stderr, in the form of the other services' lines."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "format": "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s %(message)s",
                "datefmt": "%Y-%m-%d %H:%M:%S",
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "DEBUG" if debug else "INFO"},
        "loggers": {
            # A line for each variable that a template lacks.
            "django.template": {"level": "INFO"},
            # One for each connection that is closed instead of kept.
            "urllib3": {"level": "ERROR"},
        },
    }
