"""Tempest, upstream's own tests of a cloud: installed, told of this cloud, and run when asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onestack.answers.values import Answers
from onestack.components.provision.keys import TEMPEST
from onestack.components.tempest import paths, selection
from onestack.components.tempest.selection import RUN, SKIP, TESTS
from onestack.host.files import ensure_no_file
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Capability, Directory, Scope, Task
from onestack.model.key import Key, Kind


class Tempest(Component):
    name = "tempest"
    title = "Tempest"
    provides = (Capability("tempest"),)
    keys = (
        Key(
            RUN,
            "n",
            "Run Tempest's tests as the last step of `up`. One that fails ends `up` with 1; the "
            "cloud stays up. Once all have passed they are run again only in a cloud that has "
            "become another.",
            Kind.FLAG,
        ),
        Key(
            TESTS,
            "smoke",
            "Which: smoke, api, full, or regular expressions of tests' names, with spaces between.",
            check=selection.wrong,
        ),
        Key(
            SKIP,
            "",
            "Which of them to leave out: regular expressions, with spaces between.",
            check=selection.wrong_skip,
        ),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers[TEMPEST])

    def validate(self, answers: Answers) -> Iterable[str]:
        if answers[RUN] and not answers[TEMPEST]:
            yield f"{RUN}=y needs {TEMPEST}=y: it installs Tempest"

    def environments(self, ctx: Context) -> Iterable[str]:
        return (paths.ENVIRONMENT,)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = paths.user(ctx)
        yield Directory(paths.place(ctx), user, user)
        yield Directory(paths.kept(ctx), user, user)

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.tempest import config, runner

        databases = ("capability:databases",) if ctx.offers("databases") else ()
        yield Task(
            "configuration",
            lambda: config.ensure_config(ctx),
            ("capability:contents", *databases),
            scope=Scope.CLOUD,
        )
        if ctx.answers[RUN]:
            yield Task("tests", lambda: runner.ensure_passed(ctx), ("ready",), scope=Scope.CLOUD)

    def purge(self, ctx: Context) -> Iterator[Change]:
        if paths.before(ctx).exists() and ctx.offers("identity"):
            # Imported late: answers and checks run where only the standard library is.
            from onestack.components.tempest.leftovers import remove_all

            yield Change("remove what a run of Tempest's has left", lambda: remove_all(ctx))
        yield from ensure_no_file(paths.configuration(ctx))
        yield from ensure_no_file(paths.before(ctx))
