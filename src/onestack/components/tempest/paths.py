"""Where Tempest is, and what is its own in a cloud."""

from __future__ import annotations

from pathlib import Path

from onestack.model.context import Context
from onestack.release.environment import Environment

ENVIRONMENT = "tempest"
USER = "tempest"


def user(ctx: Context) -> str:
    return ctx.cloud.user(USER)


def place(ctx: Context) -> Path:
    """Its user's home."""
    return ctx.cloud.data / "tempest"


def kept(ctx: Context) -> Path:
    """A folder for the results of each run, named by when it began."""
    return place(ctx) / "results"


def before(ctx: Context) -> Path:
    """What was there before a run of which something may be left; gone once nothing is."""
    return ctx.cloud.etc / "tempest-before.json"


def configuration(ctx: Context) -> Path:
    return ctx.cloud.etc / "tempest.conf"


def environment(ctx: Context) -> Environment:
    return ctx.release.environment(ENVIRONMENT)


def program(ctx: Context) -> Path:
    return ctx.release.program / "onestack" / "components" / "tempest" / "inside" / "run.py"
