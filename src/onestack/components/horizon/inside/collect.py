"""Collects and compresses the dashboard's assets (the dashboard's environment)."""

from __future__ import annotations

import gzip
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.test import Client


def main() -> None:
    django.setup()
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("compress", force=True, verbosity=0)
    look_at_a_page()
    for kind in ("css", "js"):
        for path in (Path(settings.STATIC_ROOT) / settings.COMPRESS_OUTPUT_DIR / kind).iterdir():
            # Sent as it is to browsers that take it, which are all.
            packed = gzip.compress(path.read_bytes(), mtime=0)
            path.with_name(f"{path.name}.gz").write_bytes(packed)


def look_at_a_page() -> None:
    """Raises what is wrong with the assets: ``compress`` loses errors of its threads."""
    browser = Client(HTTP_HOST="localhost", SCRIPT_NAME=settings.WEBROOT.rstrip("/"))
    for theme, *_ in settings.AVAILABLE_THEMES:
        browser.cookies[settings.THEME_COOKIE_NAME] = theme
        answer = browser.get(settings.LOGIN_URL.removeprefix(settings.WEBROOT.rstrip("/")))
        if answer.status_code != 200:
            raise RuntimeError(f"the first page in the theme {theme} is {answer.status_code}")


if __name__ == "__main__":
    main()
