"""Keystone's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``keystone``."""
    from keystone.cmd import cli

    cli.main(["keystone-manage", "--config-file", arguments["config"][0], "db_sync"])


def bootstrap(arguments: dict[str, Any]) -> None:
    """First domain, project, roles, administrator and identity endpoints.

    ``arguments``: ``config`` (path), ``secret`` (path of a JSON file, 0600,
    with ``username`` and ``password``), ``region``, ``public``, ``internal``.
    """
    import keystone.server
    from keystone.cmd.bootstrap import Bootstrapper

    keystone.server.configure(config_files=[arguments["config"]])
    admin = json.loads(Path(arguments["secret"]).read_text())
    work = Bootstrapper()
    work.admin_username, work.admin_password = admin["username"], admin["password"]
    work.project_name = "admin"
    work.admin_role_name = "admin"
    work.service_name = "keystone"
    work.region_id = arguments["region"]
    work.public_url = arguments["public"]
    work.internal_url = arguments["internal"]
    work.admin_url = arguments["internal"]
    work.immutable_roles = True
    work.bootstrap()


def domain(arguments: dict[str, Any]) -> None:
    """The domain ``arguments["name"]``, unless it is there."""
    import uuid

    import keystone.server
    from keystone import exception
    from keystone.cmd.bootstrap import Bootstrapper
    from keystone.common import provider_api

    keystone.server.configure(config_files=[arguments["config"]])
    Bootstrapper()  # loads the drivers
    resources = provider_api.ProviderAPIs.resource_api
    try:
        resources.get_domain_by_name(arguments["name"])
    except exception.DomainNotFound:
        new = uuid.uuid4().hex
        body = {"id": new, "name": arguments["name"], "enabled": True, "description": ""}
        resources.create_domain(new, body)
