"""A module that must not be preloaded."""

import eventlet  # noqa: F401
