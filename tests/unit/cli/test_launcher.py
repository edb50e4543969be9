"""The launcher, on a copy of the checkout: its environment, and what needs none."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.needs import needs_root

REPOSITORY = Path(__file__).resolve().parents[3]
LOCK = "# A lock of nothing: the environment is quick to make.\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    place = tmp_path / "check out"
    place.mkdir()
    for name in ("onestack", "packstack"):
        shutil.copy2(REPOSITORY / name, place)
    shutil.copytree(
        REPOSITORY / "src",
        place / "src",
        symlinks=True,
        ignore=shutil.ignore_patterns("__pycache__", ".*"),
    )
    (place / "requirements.lock").write_text(LOCK)
    return place


def launch(
    checkout: Path, *words: str, program: str = "onestack", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / program), *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, **env},
        timeout=120,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"HTTP_PROXY": "http://a:1"}, {"http_proxy": "http://a:1"}),
        ({"HTTPS_PROXY": "b", "NO_PROXY": "c"}, {"https_proxy": "b", "no_proxy": "c"}),
        ({"http_proxy": "a", "HTTP_PROXY": "b"}, {"http_proxy": "a"}),
        # "none", though there is one for all
        ({"http_proxy": "", "ALL_PROXY": "http://a:1"}, {"https_proxy": "http://a:1"}),
        ({"http_proxy": "", "HTTP_PROXY": "http://a:1"}, {}),
        ({"no_proxy": "", "NO_PROXY": "c"}, {}),
        ({"all_proxy": "http://a:1"}, dict.fromkeys(("http_proxy", "https_proxy"), "http://a:1")),
        ({"ALL_PROXY": "a:1"}, dict.fromkeys(("http_proxy", "https_proxy"), "http://a:1")),
        ({"ALL_PROXY": ""}, {"ALL_PROXY": ""}),
        # what uv may know
        ({"ALL_PROXY": "socks5://a:1"}, {"ALL_PROXY": "socks5://a:1"}),
    ],
)
def test_proxies_get_the_names_that_all_programs_read(
    checkout: Path, given: dict[str, str], expected: dict[str, str]
) -> None:
    program = checkout / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexec env\n")
    program.chmod(0o755)
    (checkout / ".venv" / "complete").write_text(hashlib.sha256(LOCK.encode()).hexdigest())
    env = {"PATH": os.environ["PATH"], **given}
    done = subprocess.run(
        [str(checkout / "onestack"), "status"], capture_output=True, text=True, env=env, check=True
    )
    lines = (line.partition("=") for line in done.stdout.splitlines())
    assert {k: v for k, _, v in lines if k.lower().endswith("_proxy")} == expected


def test_help_and_answers_need_no_environment(checkout: Path, tmp_path: Path) -> None:
    done = launch(checkout, "--help")
    assert done.returncode == 0 and "usage: onestack" in done.stdout, done.stderr
    file = tmp_path / "answers.txt"
    done = launch(checkout, "--gen-answer-file", str(file), program="packstack")
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    done = launch(checkout, "--validate-answer-file", str(file), program="packstack")
    assert done.returncode == 0, done.stderr
    assert not (checkout / ".venv").exists()


def test_bad_usage_and_bad_answers_touch_nothing(checkout: Path) -> None:
    for words in (
        ("upp",),
        ("up", "--no-such-option"),
        ("up", "--root", "/nonexistent/cloud", "--set", "CONFIG_NO_SUCH=1"),
    ):
        assert launch(checkout, *words).returncode == 2, words
    assert not (checkout / ".venv").exists()


@needs_root
def test_the_checks_come_first_and_without_an_environment(checkout: Path) -> None:
    """Not root: refused with all that is wrong, and nothing made."""
    with tempfile.TemporaryDirectory(prefix="onestack-", dir="/tmp") as place:
        os.chmod(place, 0o755)
        subprocess.run(["cp", "-r", f"{checkout}/.", place], check=True)
        done = subprocess.run(
            [f"{place}/onestack", "up", "--name", "nobodys"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd="/",
            user=65534,
            timeout=120,
        )
        assert done.returncode == 3, done.stderr
        assert "not run by root" in done.stderr and "sudo ./onestack up" in done.stderr
        assert "Traceback" not in done.stderr
        assert not Path(place, ".venv").exists()


def test_python_variables_of_the_caller_do_not_matter(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit(9)")
    done = launch(checkout, "--help", PYTHONPATH=str(tmp_path), PYTHONHOME="/nonexistent")
    assert done.returncode == 0, done.stderr


def test_started_through_a_link(checkout: Path, tmp_path: Path) -> None:
    for name in ("onestack", "packstack"):
        (tmp_path / name).symlink_to(checkout / name)
        assert launch(tmp_path, "--help", program=name).returncode == 0


def environment(checkout: Path, place: Path) -> subprocess.CompletedProcess[str]:
    return launch(checkout, "--environment", str(place), str(checkout / "requirements.lock"))


def test_an_environment_is_whole_or_made_again(checkout: Path, tmp_path: Path) -> None:
    place = tmp_path / "env"
    # Two at once make one.
    words = [str(checkout / "onestack"), "--environment", str(place)]
    words.append(str(checkout / "requirements.lock"))
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("making" in text for text in said) == 1
    assert (place / "complete").read_text().strip() == hashlib.sha256(LOCK.encode()).hexdigest()
    assert (place / "bin" / "python").exists() and not (place / "begun").exists()

    before = (place / "complete").stat().st_mtime_ns
    assert environment(checkout, place).returncode == 0
    assert (place / "complete").stat().st_mtime_ns == before

    # Another lock, and killed while it was being made: the leftovers go.
    (checkout / "requirements.lock").write_text(LOCK + "# more\n")
    (place / "begun").touch()
    (place / "leftover").touch()
    assert environment(checkout, place).returncode == 0
    assert (place / "complete").stat().st_mtime_ns != before
    assert not (place / "leftover").exists()


def test_a_lock_that_cannot_be_satisfied_is_a_clear_refusal(checkout: Path, tmp_path: Path) -> None:
    (checkout / "requirements.lock").write_text("rich==15.0.0\n")  # without its hash
    done = environment(checkout, tmp_path / "env")
    assert done.returncode == 3
    assert "cure:" in done.stderr
    assert not (tmp_path / "env" / "complete").exists()


def test_what_is_found_out_first_is_handed_over_and_leaves_nothing(
    checkout: Path, tmp_path: Path
) -> None:
    cli = checkout / "src" / "onestack" / "cli"
    (cli / "bootstrap.py").write_text(
        "import os\nos.write(int(os.environ['ONESTACK_HANDOVER']), b'found')\n"
    )
    (cli / "main.py").write_text(
        "import os\nfile = int(os.environ['ONESTACK_HANDOVER'])\n"
        "print(os.pread(file, 99, 0).decode(), os.fstat(file).st_nlink)\n"
    )
    folder = tmp_path / "temporary"
    folder.mkdir()
    done = launch(checkout, "up", TMPDIR=str(folder), ONESTACK_HANDOVER="1")
    assert done.stdout == "found 0\n", done.stderr
    assert not list(folder.iterdir())


def test_nothing_is_handed_over_where_no_first_look_was(checkout: Path) -> None:
    assert environment(checkout, checkout / ".venv").returncode == 0
    (checkout / "src" / "onestack" / "cli" / "main.py").write_text(
        "import os\nprint(os.environ.get('ONESTACK_HANDOVER'))\n"
    )
    done = launch(checkout, "up", ONESTACK_HANDOVER="1")
    assert done.stdout == "None\n", done.stderr


def test_without_a_place_for_temporary_files_it_goes_on(checkout: Path) -> None:
    cli = checkout / "src" / "onestack" / "cli"
    (cli / "bootstrap.py").write_text("import os\nassert 'ONESTACK_HANDOVER' not in os.environ\n")
    (cli / "main.py").write_text("print('went on')\n")
    done = launch(checkout, "up", TMPDIR="/nonexistent")
    assert "went on" in done.stdout, done.stderr
