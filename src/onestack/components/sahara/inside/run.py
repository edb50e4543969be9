"""Sahara in one process: API and engine (sahara's environment).

What is called is what upstream's ``cli/sahara_all.py`` calls, without its launcher, which would
serve in a child and run what is periodic in both. All of it is greenlets of eventlet's;
sessions with guests are processes, whose parent is forked before anything is patched.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from socket import socket

from onestack.components.sahara.inside import sessions
from onestack.model.process import Process

LOG = logging.getLogger("onestack.sahara")
NAME = "all-in-one"


def all_in_one(spec: Process, sockets: dict[str, socket]) -> None:
    sessions.begin(_warm, _session, sockets.values())
    logging.getLogger("stevedore.extension").addFilter(_concerns_us)
    configure(spec.arguments["config"])
    import sahara.main as server
    from eventlet import greenio, wsgi

    # There it would look for a configuration of its own beside its source.
    server.setup_common(os.devnull, NAME)
    _mend()
    application = server.make_app()
    server.setup_sahara_api(NAME)
    server.setup_sahara_engine()
    server.setup_auth_policy()

    from onestack.components.sahara.inside import interrupted

    interrupted.settle()
    # An end does not wait: what the engine is at takes minutes, and a start settles it.
    api = greenio.GreenSocket(sockets["api"])
    wsgi.server(api, application, log=LOG, log_output=False, debug=False)


def configure(config: str) -> None:
    """Upstream, patched before anything of it is imported, and told of this file."""
    from sahara.utils import patches

    patches.patch_all()
    sys.argv[:] = [str(Path(sys.executable).with_name("sahara")), "--config-file", config]


def _as_it_weighs(record: logging.LogRecord) -> bool:
    """What a client may not, or does not find, is no error of the service's; upstream logs it so.

    Whoever waits for the end of a cluster asks for it until it is not found.
    """
    if re.search(r"error_code=4\d\d\b", record.getMessage()):
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
    return True


def _concerns_us(record: logging.LogRecord) -> bool:
    """Of key managers that the cloud's program names one is cinder's own: it is not here."""
    return "cinder.keymgr" not in record.getMessage()


def _warm() -> None:
    """What all sessions share."""
    import onestack.components.sahara.inside.remote  # noqa: F401


def _session() -> None:
    from sahara.cli import sahara_subprocess

    sahara_subprocess.main()


def _mend() -> None:
    """What is left of upstream's that is put right, once it is imported."""
    from oslo_config import cfg
    from sahara.service.validations.edp import base

    import onestack.components.sahara.inside.disks
    import onestack.components.sahara.inside.stacks
    import onestack.components.sahara.inside.whole  # noqa: F401

    logging.getLogger("sahara.utils.api").addFilter(_as_it_weighs)
    # A kind of data source that is off is refused; upstream takes it, and its jobs fail.
    base.data_source_type["enum"][:] = cfg.CONF.data_source_types
