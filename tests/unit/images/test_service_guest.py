"""Recipes of service guests: what their digest stands for, and the steps that need no package."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from onestack.cli.image import guest_images
from onestack.components import ALL
from onestack.host.command import run
from onestack.images import debian_root, kernel, service_guest
from onestack.images.disk import MIB
from onestack.images.service_guest import Recipe
from onestack.model.errors import OnestackError
from tests.support.needs import needs_root


def finish(root: Path) -> None:
    (root / "finished").touch()


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/file").write_text("one")
    (tree / "etc/link").symlink_to("file")
    return Recipe("toy", "a toy", ("bash",), tree, ("octavia",))


def test_the_digest_changes_with_anything_that_counts(recipe: Recipe) -> None:
    tree = recipe.tree / "etc"
    seen = {recipe.digest}

    def changed(other: Recipe) -> None:
        assert len(other.digest) == 12
        assert other.digest not in seen
        seen.add(other.digest)

    changed(dataclasses.replace(recipe, packages=("dash",)))
    changed(dataclasses.replace(recipe, distributions=("aodh",)))
    changed(dataclasses.replace(recipe, left_out=("pbr",)))
    changed(dataclasses.replace(recipe, units=("a.service",)))
    changed(dataclasses.replace(recipe, root_mib=1001))
    changed(dataclasses.replace(recipe, finish=finish))
    (tree / "file").write_text("two")
    changed(recipe)
    (tree / "file").chmod(0o755)
    changed(recipe)
    (tree / "link").unlink()
    (tree / "link").symlink_to("other")
    changed(recipe)
    (tree / "more").touch()
    changed(recipe)


def test_the_digest_does_not_change_with_what_does_not_count(recipe: Recipe) -> None:
    before = recipe.digest
    (recipe.tree / "__pycache__").mkdir()
    (recipe.tree / "__pycache__/file.pyc").touch()
    os.utime(recipe.tree / "etc/file", (1, 1))
    assert recipe.digest == before
    assert dataclasses.replace(recipe, title="another").digest == before


def test_where_things_are_kept(recipe: Recipe, tmp_path: Path) -> None:
    image = recipe.image(tmp_path)
    assert image.name == f"toy-{recipe.digest}.qcow2"
    assert not recipe.fetched(tmp_path)
    assert [change.what for change in recipe.ensure_fetched(tmp_path)]
    image.touch()
    assert recipe.fetched(tmp_path)
    assert recipe.build(tmp_path) == image
    assert not list(recipe.ensure_fetched(tmp_path))


def test_nothing_is_left_of_a_run_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / ".toy-build-abc/root").mkdir(parents=True)
    (tmp_path / ".toy-build-abc/root/file").touch()
    with service_guest.scratch(tmp_path, ".toy-build-") as work:
        assert os.listdir(tmp_path) == [work.name]
        (work / "file").touch()
    assert os.listdir(tmp_path) == []


# -- the root ----------------------------------------------------------------------


@needs_root
def test_own_files_replace_what_is_there(recipe: Recipe, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "etc").mkdir()
    (root / "etc/file").symlink_to("/etc/passwd")
    (recipe.tree / "bin").mkdir()
    (recipe.tree / "bin/program").write_text("#!/bin/sh\n")
    debian_root.copy_tree(recipe.tree, root)
    assert (root / "etc/file").read_text() == "one"
    assert (root / "etc/file").stat().st_mode & 0o777 == 0o644
    assert os.readlink(root / "etc/link") == "file"
    assert (root / "usr/bin/program").stat().st_mode & 0o777 == 0o755


def test_pruning(tmp_path: Path) -> None:
    for name in ("a/doc/x", "a/keep/x", "b/doc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a/link").symlink_to("keep")
    debian_root.prune(tmp_path, ("*/doc", "a/link", "nothing/*"))
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    assert left == {"a", "a/keep", "a/keep/x", "b"}


def test_modules_by_pattern(tmp_path: Path) -> None:
    for name in ("nft-ct", "nft_nat", "other"):
        (tmp_path / f"{name}.ko").write_bytes(b"\0depends=\0")
    assert kernel.matching(tmp_path, ("nft_*", "other")) == ["nft_ct", "nft_nat", "other"]
    with pytest.raises(OnestackError, match="no module like absent_"):
        kernel.matching(tmp_path, ("absent_*",))


# -- what the rooms declare --------------------------------------------------------


def declared() -> Mapping[str, Recipe]:
    return {n: image for n, image in guest_images().items() if isinstance(image, Recipe)}


def test_names_are_one_guests_alone() -> None:
    names = [image.name for room in ALL for image in room.guest_images]
    assert sorted(names) == sorted(set(names))
    assert {"test-guest", "amphora"} <= set(names)


@pytest.mark.parametrize("name", declared())
def test_a_recipe_is_one(name: str) -> None:
    recipe = declared()[name]
    assert recipe.tree.is_dir()
    assert recipe.requirements or not recipe.distributions
    units = {p.name for p in recipe.tree.rglob("*") if p.parent.name == "system"}
    own = [unit for unit in recipe.units if unit in units]
    for unit in own:
        text = (recipe.tree / f"usr/lib/systemd/system/{unit}").read_text()
        assert "[Install]" in text, f"{unit} is to be enabled, and does not say where"
    assert recipe.root_mib * MIB < recipe.min_disk_gib << 30


def test_what_is_installed_is_told_whole(tmp_path: Path) -> None:
    """Long records of many packages, which programs at work at the same time would mix."""
    debs = tmp_path / "debs"
    debs.mkdir()
    for number in range(24):
        control = tmp_path / f"p{number}" / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        lines = "".join(f" line {n} of a description that is long\n" for n in range(200))
        control.write_text(
            f"Package: p{number}\nVersion: {number}\nArchitecture: all\n"
            f"Maintainer: a test <a@b.c>\nDescription: one\n{lines}"
        )
        run(["dpkg-deb", "-Znone", "--build", str(control.parents[1]), str(debs)])
    debian_root._status(tmp_path / "root", sorted(debs.glob("*.deb")))
    admin = f"--admindir={tmp_path}/root/var/lib/dpkg"
    shown = run(["dpkg-query", admin, "-W", "-f=${Package} ${Version} ${Status}\n"]).out
    assert sorted(shown.splitlines()) == sorted(f"p{n} {n} install ok installed" for n in range(24))
