"""Collects and compresses the dashboard's assets (the dashboard's environment)."""

from __future__ import annotations

import gzip
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command


def main() -> None:
    django.setup()
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("compress", force=True, verbosity=0)
    for kind in ("css", "js"):
        for path in (Path(settings.STATIC_ROOT) / settings.COMPRESS_OUTPUT_DIR / kind).iterdir():
            # Sent as it is to browsers that take it, which are all.
            packed = gzip.compress(path.read_bytes(), mtime=0)
            path.with_name(f"{path.name}.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
