"""Listeners: a live screen on a terminal, plain lines elsewhere, JSON lines for scripts."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from onestack.engine.progress import FINISHED, NOTE, STARTED, ProgressEvent

if TYPE_CHECKING:
    from rich.console import RenderableType

QUIET = ("nothing to do", "not started", "done")


class Screen(AbstractContextManager["Screen"]):
    """What all have in common: called with events, between enter and exit."""

    def __call__(self, event: ProgressEvent) -> None:
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class JsonLines(Screen):
    """Each event as one line of JSON."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stdout

    def __call__(self, event: ProgressEvent) -> None:
        print(json.dumps(event.to_json()), file=self._file, flush=True)


def line(event: ProgressEvent) -> str | None:
    """The plain line for an event, or ``None``: steps with nothing to do are not shown."""
    step = event.path[0]
    at = f"{event.at:7.1f} s"
    if event.kind == NOTE:
        return f"{at}  {step}: {event.title}"
    if event.kind == STARTED and len(event.path) == 2:
        return f"{at}  {step}: {event.title}"
    if event.kind == FINISHED and len(event.path) == 1 and event.outcome not in QUIET:
        return f"{at}  {step}: {event.outcome} ({event.seconds:.1f} s)"
    return None


class PlainLines(Screen):
    """One line for each change, note and step that did something."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr

    def __call__(self, event: ProgressEvent) -> None:
        if text := line(event):
            print(text, file=self._file, flush=True)


class LiveScreen(Screen):
    """Finished steps scroll by; below them what is going on now, with its seconds."""

    def __init__(self, file: TextIO | None = None) -> None:
        import time

        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=file or sys.stderr, highlight=False)
        self._running: dict[str, tuple[str, float]] = {}
        self._offset = time.monotonic()
        self._clock = time.monotonic
        self._live = Live(
            get_renderable=self._picture,
            console=self._console,
            refresh_per_second=5,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def __call__(self, event: ProgressEvent) -> None:
        from rich.markup import escape

        # The run's clock and ours: an event's `at` is now.
        self._offset = self._clock() - event.at
        step = event.path[0]
        if event.kind == STARTED and len(event.path) == 1:
            self._running[step] = ("", event.at)
        elif event.kind in (STARTED, NOTE):
            self._running[step] = (event.title, self._running.get(step, ("", event.at))[1])
        elif len(event.path) == 1:
            self._running.pop(step, None)
            if event.outcome not in QUIET:
                good = not event.outcome.startswith(("failed", "stopped"))
                mark = "[green]✓[/]" if good else "[red]✗[/]"
                self._console.print(
                    f"{mark} {event.seconds:6.1f} s  {escape(event.title)}: {escape(event.outcome)}"
                )

    def _picture(self) -> RenderableType:
        from rich.table import Table

        now = self._clock() - self._offset
        table = Table.grid(padding=(0, 1))
        # A copy: events come from other threads.
        for step, (doing, since) in list(self._running.items())[:15]:
            if doing:
                table.add_row("•", f"{now - since:6.1f} s", step, doing[:100])
        return table


def choose(as_json: bool = False, file: TextIO | None = None) -> Screen:
    """The screen that fits: ``--json``, a terminal, or neither."""
    if as_json:
        return JsonLines(file)
    if (file or sys.stderr).isatty():
        return LiveScreen(file)
    return PlainLines(file)
