"""Runs steps in parallel as their needs are met, and stops well."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

from onestack.engine.graph import Graph
from onestack.engine.progress import Node, Progress
from onestack.engine.step import Outcome, RunReport, Step, StepResult
from onestack.host.command import Aborted
from onestack.model.errors import Defect, NotYet, OnestackError, no_room
from onestack.model.run import Run, thread

THREADS = 48
"""Steps running at once at most; nearly all of them wait for something."""
AGAIN = "run the same command again: it goes on from here"


class StepsFailed(OnestackError):
    """One or more steps failed; ``failures`` has them."""

    def __init__(self, failures: list[StepResult]) -> None:
        self.failures = failures
        errors = [(r, r.error) for r in failures if r.error is not None]
        self.traceback = "\n".join(e.traceback for _, e in errors if e.traceback)
        if len(errors) == 1:
            result, error = errors[0]
            super().__init__(f"{result.title}: {error.what}", error.why, _and_again([error.cure]))
            return
        parts = [f"{r.title}: {e.what}" + (f"\n{e.why}" if e.why else "") for r, e in errors]
        cures = list(dict.fromkeys(e.cure for _, e in errors if e.cure))
        super().__init__(f"{len(errors)} steps failed", "\n\n".join(parts), _and_again(cures))


def _and_again(cures: list[str]) -> str:
    """The cures, and that the same command goes on: it always does."""
    said = any("again" in cure for cure in cures)
    return "\n".join([*filter(None, cures), *([] if said else [AGAIN])])


class Interrupted(OnestackError):
    """The operator stopped the run; what had been started has ended."""

    def __init__(self) -> None:
        super().__init__("stopped before the end", cure=AGAIN)


class Runner:
    """Runs graphs one after another; a later one may need steps of an earlier one.

    All that a step does, it does for ``run``.
    """

    def __init__(
        self, progress: Progress | None = None, dry_run: bool = False, run: Run | None = None
    ) -> None:
        self.progress = progress or Progress()
        self.dry_run = dry_run
        self.run = run or Run()
        self.results: dict[str, StepResult] = {}

    @property
    def report(self) -> RunReport:
        return RunReport(list(self.results.values()), self.progress.now, self.dry_run)

    def execute(self, steps: Iterable[Step]) -> None:
        """Run ``steps``.

        Raises `StepsFailed` when a step failed (those running then have
        ended, nothing new was started), `Interrupted` after Ctrl-C,
        SIGTERM or SIGHUP, and `onestack.engine.graph.GraphError`.
        """
        graph = Graph(steps, self.results)
        ended: queue.SimpleQueue[StepResult | None] = queue.SimpleQueue()
        waiting: list[Step] = []
        running: set[str] = set()
        stop = False
        with self.run.at_work(), _signals(self.run, lambda: ended.put(None)) as asked:
            try:
                while True:
                    waiting += graph.ready()
                    while waiting and not (stop or asked) and len(running) < THREADS:
                        step = waiting.pop(0)
                        running.add(step.name)
                        self._start(step, graph, ended)
                    if not running:
                        break
                    result = ended.get()
                    if len(asked) > 1:
                        # Asked twice: as after a power cut, the next run converges.
                        raise Interrupted
                    if result is None:
                        continue
                    running.discard(result.name)
                    self.results[result.name] = result
                    if result.outcome in (Outcome.FAILED, Outcome.STOPPED):
                        stop = True
                    else:
                        graph.met(result.name)
            finally:
                self.run.stop.clear()
        self._not_started(graph)
        if asked:
            raise Interrupted
        if failures := [r for r in self.results.values() if r.outcome is Outcome.FAILED]:
            raise StepsFailed(failures)

    def _not_started(self, graph: Graph) -> None:
        for step in graph.steps.values():
            if step.name not in self.results:
                self.results[step.name] = StepResult(
                    step.name, step.title, Outcome.NOT_STARTED, started=self.progress.now
                )

    def _start(self, step: Step, graph: Graph, ended: queue.SimpleQueue[StepResult | None]) -> None:
        # What ran in an earlier graph comes before all of this one.
        before = graph.above(step.name) | (self.results.keys() - graph.steps.keys())
        open_question = self.dry_run and any(
            self.results[name].outcome in (Outcome.CHANGED, Outcome.UNKNOWN)
            for name in before
            if name in self.results
        )

        def work() -> None:
            started, changes = self.progress.now, list[str]()
            outcome, error = Outcome.FAILED, None
            try:
                with self.progress.child(step.name, step.title) as node:
                    outcome, error = self._ensure(step, node, changes, open_question)
                    node.outcome = StepResult(
                        step.name, step.title, outcome, tuple(changes), error=error
                    ).sentence
            finally:
                seconds = self.progress.now - started
                ended.put(
                    StepResult(
                        step.name, step.title, outcome, tuple(changes), started, seconds, error
                    )
                )

        # A thread each, of which none keeps the program from ending, and which
        # inherits the network namespace of the one that runs the plan.
        thread(work, step.name).start()

    def _ensure(
        self, step: Step, node: Node, changes: list[str], open_question: bool
    ) -> tuple[Outcome, OnestackError | None]:
        try:
            for change in step.ensure():
                if self.run.stop.is_set():
                    raise Aborted("stopped")
                if self.dry_run:
                    changes.append(change.what)
                    continue
                with node.child(str(len(changes)), change.what):
                    change.do()
                changes.append(change.what)
        except Aborted as error:
            return Outcome.STOPPED, error
        except NotYet as error:
            if self.dry_run and (open_question or changes):
                return (Outcome.CHANGED if changes else Outcome.UNKNOWN), None
            return Outcome.FAILED, error
        except OnestackError as error:
            return Outcome.FAILED, error
        except Exception as error:  # noqa: BLE001
            return Outcome.FAILED, no_room(error) or Defect(error, f"the step {step.name}")
        return (Outcome.CHANGED if changes else Outcome.NOTHING), None


@contextlib.contextmanager
def _signals(run: Run, wake: Callable[[], None]) -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM and a lost terminal ask to stop; the list grows with each that came.

    They raise nothing: an exception could come in between a step's being
    counted as running and its thread. Only the main thread may have handlers.
    """
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        run.stop.set()
        wake()

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # What a shell had us ignore (a job in the background, nohup) stays ignored.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handle)
    try:
        yield asked
    finally:
        for number, old in before.items():
            signal.signal(number, old)
