"""Checks configuration against the options that the release's own services declare.

Run by the services' environment's Python: reads a JSON list of files from
stdin, each with ``path``, ``namespaces`` (of oslo.config), ``privsep`` (Python
names of contexts) and ``sections``; prints a JSON list of complaints.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
import warnings
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

STANDS_ALONE = "onestack."
"""Our own namespaces: their options are found through the driver that a section names."""


class Anything(type):
    """Classes of which every attribute is another one: bases, exceptions, decorators' sources."""

    def __getattr__(cls, name: str) -> Anything:
        return anything(name)


def anything(name: str) -> Anything:
    """The attribute ``name`` of something that is not there."""
    if name.startswith("__"):
        raise AttributeError(name)
    # An instance serves as a decorator that changes nothing.
    return Anything(name, (Exception,), {"__call__": lambda self, what: what})


class Empty(types.ModuleType):
    """A module of which every attribute is anything."""

    def __getattr__(self, name: str) -> Anything:
        return anything(name)


class Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules for the libraries of storage vendors, which are not installed.

    cinder lists the options of all its drivers in one module, which imports
    them all. Only names that were missing are answered for.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass

    def load(self, entry: Any) -> Any:
        while True:
            try:
                return entry.load()
            except ModuleNotFoundError as error:
                name = (error.name or "").partition(".")[0]
                if not name or name in self.names or name == entry.module.partition(".")[0]:
                    raise
                self.names.add(name)


@dataclass
class Options:
    """Section -> option name -> option; and names that are no longer the right ones."""

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    renamed: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, section: str, options: list[Any]) -> None:
        known = self.sections.setdefault(section, {})
        for option in options:
            known[option.dest] = option
            for old in option.deprecated_opts or ():
                where = old.group or section
                name = (old.name or option.dest).replace("-", "_")
                self.renamed[(where, name)] = f"[{section}] {option.dest}"


def options_of(namespaces: list[str], finder: Missing) -> Options:
    entries = {entry.name: entry for entry in entry_points(group="oslo.config.opts")}
    found = Options()
    for namespace in namespaces:
        if namespace.startswith(STANDS_ALONE):
            continue
        for group, options in finder.load(entries[namespace])():
            found.add(str(getattr(group, "name", group) or "DEFAULT"), list(options))
    return found


def value(sections: dict[str, dict[str, str]], section: str, option: str) -> str:
    return sections.get(section, {}).get(option, "")


def add_dynamic(  # noqa: C901 - a paragraph for each of upstream's ways
    options: Options, sections: dict[str, dict[str, str]], privsep: list[str]
) -> None:
    """Sections whose names, or whose options, follow from other options' values."""
    # cinder: a section per backend, with the shared options and the driver's own.
    if "backend_defaults" in options.sections:
        for name in value(sections, "DEFAULT", "enabled_backends").split(","):
            options.add(name, list(options.sections["backend_defaults"].values()))
            module, _, driver = value(sections, name, "volume_driver").rpartition(".")
            if module:
                importlib.import_module("cinder.objects").register_all()
                found = getattr(importlib.import_module(module), driver)
                # One that only chooses among others has none of its own.
                if hasattr(found, "get_driver_options"):
                    options.add(name, found.get_driver_options())
    # glance: a section per store, and two for places that are reserved.
    if "glance_store" in options.sections:
        pairs = [
            pair.split(":") for pair in value(sections, "DEFAULT", "enabled_backends").split(",")
        ]
        reserved = [["os_glance_staging_store", "file"], ["os_glance_tasks_store", "file"]]
        for name, kind in [*(pair for pair in pairs if len(pair) == 2), *reserved]:
            # Upstream lists some stores by their kind and others by their class.
            listed = options.sections.get(kind) or options.sections[f"glance.store.{kind}.Store"]
            options.add(name, list(listed.values()))
    # oslo.privsep: a section per context.
    if privsep:
        from oslo_privsep import priv_context

        for name in privsep:
            module, _, attribute = name.rpartition(".")
            context = getattr(importlib.import_module(module), attribute)
            options.add(context.cfg_section, priv_context.OPTS)
    # keystoneauth: the options of the plugin that auth_type names.
    from keystoneauth1 import loading

    for name, section in sections.items():
        known = options.sections.get(name, {})
        # Some services list a plugin's options without the one that chooses the plugin.
        if "auth_url" in known:
            options.add(name, loading.get_auth_common_conf_options())
        if "auth_type" in section and "auth_type" in known:
            plugin: loading.BaseLoader[Any] = loading.get_plugin_loader(section["auth_type"])
            options.add(name, [option._to_oslo_opt() for option in plugin.get_options()])


def complaints(file: dict[str, Any], finder: Missing) -> list[str]:
    sections: dict[str, dict[str, str]] = file["sections"]
    options = options_of(file["namespaces"], finder)
    add_dynamic(options, sections, file["privsep"])
    found = []
    for section, written in sections.items():
        for name, text in written.items():
            where = f"{file['path']}: [{section}] {name}"
            option = options.sections.get(section, {}).get(name)
            if option is None:
                new = options.renamed.get((section, name))
                if new:
                    found.append(f"{where} is called {new} now")
                elif section not in options.sections:
                    found.append(f"{where}: there is no section [{section}]")
                else:
                    found.append(f"{where}: there is no such option")
                continue
            if option.deprecated_for_removal:
                found.append(f"{where} is deprecated: {option.deprecated_reason or 'no reason'}")
            try:
                option.type(text)
            except ValueError as error:
                found.append(f"{where} = {text} is no value for it: {error}")
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    files = json.load(sys.stdin)
    # What upstream prints while it is imported is not the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    finder = Missing()
    sys.meta_path.append(finder)
    found = [complaint for file in files for complaint in complaints(file, finder)]
    json.dump(found, answer)
    answer.close()


if __name__ == "__main__":
    main()
