"""packstack's command line, carried out by onestack.

``--gen-answer-file``, ``--answer-file``, ``--allinone``, ``--install-hosts``, ``--dry-run``
and ``--validate-answer-file`` do what they did there, with packstack's own defaults
(`onestack.answers.stock`), and every key of the answer file is an option, by packstack's own
names for it.
"""

from __future__ import annotations

import argparse
import datetime
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from onestack.answers import packstack_file, stock, table
from onestack.answers.registry import registry
from onestack.cli import main as program
from onestack.cli import output
from onestack.cli.options import cloud_options
from onestack.model import errors
from onestack.model.key import Class

MAIN_OPTIONS = """\
usage: packstack [OPTION]...

Carried out by onestack; the cloud is OpenStack 2026.2. `onestack up` makes a leaner
one: what is not asked for is not there.

  -h, --help                    this text; --help-keys adds an option for each key
  --gen-answer-file FILE        write an answer file with every key, packstack's
                                defaults and a random password for each service;
                                values that FILE already has are kept
  -a, --answer-file FILE        make the cloud that FILE describes; a key that FILE
                                lacks has packstack's default
  --validate-answer-file FILE   only say what is wrong with FILE
  --allinone                    make a cloud on this machine with the defaults, and
                                leave ~/packstack-answers-DATE-TIME.txt for the
                                next run (packstack --answer-file)
  --install-hosts HOST[,...]    the same; the first HOST must be this machine
  --release RELEASE             whose defaults: latest (the usual) or mitaka
  -y, --dry-run                 say what would be done, and do nothing
  -o, --options                 list all keys and their options
  -d, --debug                   the same as CONFIG_DEBUG_MODE=y
  -t, --timeout SECONDS         no effect: it was for puppet
  --version                     which program this is
  --name, --root, --netns       which cloud (as with onestack)

A second run keeps the passwords that the first one made.

Exit: 0 done, 1 failed, 2 bad usage or answers, 3 refused by the preflight checks."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Without the usage, which would be four hundred options long."""
        raise errors.BadAnswers(
            f"packstack: {message}", "", "see packstack --help; packstack --options lists all keys"
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, strange = super().parse_known_args(args, namespace)
        if strange:
            word = strange[0].partition("=")[0]
            near = difflib.get_close_matches(word, self._option_string_actions, 1, 0.7)
            raise errors.BadAnswers(
                f"packstack has no option {word}"
                if word.startswith("-")
                else f"packstack does not know what to do with {word}",
                "",
                f"did you mean {near[0]}?"
                if near
                else "see packstack --help; packstack --options lists all keys",
            )
        return known, strange


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="packstack", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--help-keys", action="store_true")
    parser.add_argument("-o", "--options", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--gen-answer-file", type=_path, metavar="FILE")
    parser.add_argument("-a", "--answer-file", type=_path, metavar="FILE")
    parser.add_argument("--validate-answer-file", type=_path, metavar="FILE")
    parser.add_argument("--allinone", action="store_true")
    parser.add_argument("--install-hosts", metavar="HOST")
    parser.add_argument("-y", "--dry-run", action="store_true")
    parser.add_argument("-d", "--debug", action="store_true")
    parser.add_argument("-t", "--timeout", metavar="SECONDS")
    parser.add_argument("--release", choices=table.RELEASES, default=stock.LATEST)
    cloud_options(parser, netns=True)
    for name, options in key_options().items():
        words = [f"--{option}" for option in options]
        parser.add_argument(*words, dest=name, metavar="VALUE")
    return parser


def _path(text: str) -> Path:
    """As packstack read it: ``--answer-file=~/a`` reaches us with the tilde in it."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text.partition("/")[0]
        raise argparse.ArgumentTypeError(f"{user} is no user's home on this machine") from None


def key_options() -> dict[str, tuple[str, ...]]:
    """Key name -> options, without dashes: packstack's own, else one made of the name."""
    rows = table.rows()
    found = {}
    for name in sorted({*registry().keys, *rows}):
        if name in rows:
            options = rows[name].options
        else:
            options = (name.removeprefix("CONFIG_").lower().replace("_", "-"),)
        if options:
            found[name] = options
    return found


def key_help() -> str:
    """One line for each key: its option, name, default."""
    keys = registry().keys
    lines = []
    for name, options in sorted(key_options().items(), key=lambda pair: pair[1]):
        key = keys[name]
        fate = "" if key.outcome is Class.IMPLEMENTED else f"  [{key.outcome.value}]"
        lines.append(f"  --{options[0]}=VALUE  ({name}, default {key.default or 'empty'}){fate}")
    return "\n".join(lines)


def translate(argv: Sequence[str], now: datetime.datetime | None = None) -> list[list[str]]:
    """``argv`` as onestack's own commands; none when only a text was wanted, and printed."""
    args = _parser().parse_args(list(argv))
    if told(args):
        return []
    check_mode(args)
    which = ["--name", args.name]
    if args.root:
        which += ["--root", str(args.root)]
    defaults = ["--defaults", args.release]
    given = given_answers(args)
    asking = ["answers", *which, *defaults]
    up = ["up", *which, *(["--netns"] if args.netns else []), *defaults]
    dry = ["--dry-run"] if args.dry_run else []
    if args.gen_answer_file:
        return [[*asking, *given, "--passwords", "--write", str(args.gen_answer_file)]]
    if args.validate_answer_file:
        return [[*asking, *given, "--check", "--answer-file", str(args.validate_answer_file)]]
    if args.answer_file:
        return [[*up, *given, "--answer-file", str(args.answer_file), *dry]]
    # As packstack: the answers are written down, and then carried out.
    file = Path.home() / f"packstack-answers-{now or datetime.datetime.now():%Y%m%d-%H%M%S}.txt"
    return [
        [*asking, *given, "--passwords", "--write", str(file)],
        [*up, *given, "--answer-file", str(file), *dry],
    ]


def told(args: argparse.Namespace) -> bool:
    """Whether only a text was wanted: it is printed."""
    if args.help or args.help_keys or args.options:
        if not args.options:
            print(MAIN_OPTIONS)
        if args.options or args.help_keys:
            print(key_help())
    elif args.version:
        print(f"packstack, carried out by onestack {program.VERSION}")
    else:
        return False
    return True


def check_mode(args: argparse.Namespace) -> None:
    """Raises `BadAnswers` unless exactly one thing is to be done."""
    modes = [
        o
        for o in ("gen_answer_file", "answer_file", "validate_answer_file", "allinone")
        if getattr(args, o)
    ]
    if args.install_hosts:
        modes.append("install_hosts")
    if len(modes) != 1:
        names = ", ".join("--" + mode.replace("_", "-") for mode in modes)
        raise errors.BadAnswers(
            f"packstack cannot do {names} at once"
            if modes
            else "packstack was not told what to do",
            "" if modes else "it has no questions to ask; it works from answers",
            "packstack --gen-answer-file FILE, edit FILE, packstack --answer-file FILE; "
            "or packstack --allinone",
        )


def given_answers(args: argparse.Namespace) -> list[str]:
    """What the command line says of answers, as options of onestack's."""
    # argparse takes the value "--", packstack's for a part of a certificate's name, as none.
    values = {
        name: "--" if value == [] else value
        for name in key_options()
        if (value := getattr(args, name)) is not None
    }
    given = [f"--set={name}={value}" for name, value in values.items()]
    if args.install_hosts:
        given += [f"--set={name}={text}" for name, text in hosts(args.install_hosts).items()]
    if args.debug:
        given.append("--set=CONFIG_DEBUG_MODE=y")
    return given


def hosts(text: str) -> dict[str, str]:
    """packstack made the first a controller and the others compute hosts."""
    named = [host.strip() for host in text.split(",") if host.strip()]
    if not named:
        raise errors.BadAnswers("--install-hosts names no machine", "", "packstack --allinone")
    found = {"CONFIG_CONTROLLER_HOST": named[0]}
    if named[1:]:
        found["CONFIG_COMPUTE_HOSTS"] = ",".join(named[1:])
    return found


def checked_commands(argv: Sequence[str]) -> list[list[str]]:
    """`translate`, with an answer file that is there. Raises `BadAnswers`."""
    commands = translate(argv)
    for words in commands[:1]:
        if "--answer-file" not in words:
            continue
        file = Path(words[words.index("--answer-file") + 1])
        if not packstack_file.is_there(file):
            raise errors.BadAnswers(
                f"the answer file {file} is not there",
                "",
                f"make one: packstack --gen-answer-file {file}",
            )
    return commands


def first_look(argv: Sequence[str]) -> list[str]:
    """What the launcher looks at before the program's environment is there; none: all is done."""
    commands = checked_commands(argv)
    words = commands[-1] if commands else []
    if len(commands) > 1:
        # The answer file is not written yet; the options say all that it will, but passwords.
        at = words.index("--answer-file")
        words = words[:at] + words[at + 2 :]
    return words


def run(argv: Sequence[str]) -> int:
    code = 0
    if any(word.startswith(("-t", "--timeout")) for word in argv):
        output.note("note: --timeout has no effect: it was for puppet")
    for words in checked_commands(argv):
        if code := program.run(words):
            break
    return code


def main() -> int:
    argv = sys.argv[1:]
    return program.guarded(lambda: run(argv), " ".join(["packstack", *argv]))


if __name__ == "__main__":
    sys.exit(main())
