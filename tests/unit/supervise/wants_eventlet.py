"""A module that must not be preloaded."""

import eventlet  # type: ignore[import-not-found]  # noqa: F401
