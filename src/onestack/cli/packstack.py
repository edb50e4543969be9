"""packstack's command line, carried out by onestack.

``--gen-answer-file``, ``--answer-file``, ``--allinone``, ``--dry-run`` and
``--validate-answer-file`` do what they did there, and every key of the answer
file is an option, by packstack's own name for it.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from onestack.answers import packstack_file, table
from onestack.answers.registry import registry
from onestack.cli import main as program
from onestack.cli.options import cloud_options
from onestack.model import errors
from onestack.model.key import Class

MAIN_OPTIONS = """\
usage: packstack [OPTION]...

Carried out by onestack; the cloud is OpenStack 2026.2.

  -h, --help                    this text; --help-keys adds an option for each key
  --gen-answer-file FILE        write an answer file with every key; values that
                                FILE already has are kept. PW_PLACEHOLDER stands
                                for a random password, made with the cloud
  -a, --answer-file FILE        make the cloud that FILE describes
  --validate-answer-file FILE   only say what is wrong with FILE
  --allinone                    make a cloud on this machine with the defaults
  --install-hosts HOST          the same; HOST must be this machine, and the only one
  -y, --dry-run                 say what would be done, and do nothing
  -o, --options                 list all keys and their options
  -d, --debug                   the same as CONFIG_DEBUG_MODE=y
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
    # packstack's limit for puppet: there is no puppet here.
    parser.add_argument("-t", "--timeout", type=int)
    cloud_options(parser, netns=True)
    for name, option in key_options().items():
        parser.add_argument(f"--{option}", dest=name, metavar="VALUE")
    return parser


def _path(text: str) -> Path:
    """As packstack read it: ``--answer-file=~/a`` reaches us with the tilde in it."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text.partition("/")[0]
        raise argparse.ArgumentTypeError(f"{user} is no user's home on this machine") from None


def key_options() -> dict[str, str]:
    """Key name -> option, without dashes: packstack's own, else one made of the name."""
    rows = table.rows()
    found = {}
    for name in sorted(registry().keys):
        if name in rows:
            option = rows[name].option
        else:
            option = name.removeprefix("CONFIG_").lower().replace("_", "-")
        if option:
            found[name] = option
    return found


def key_help() -> str:
    """One line for each key: its option, name, default."""
    keys = registry().keys
    lines = []
    for name, option in sorted(key_options().items(), key=lambda pair: pair[1]):
        key = keys[name]
        fate = "" if key.outcome is Class.IMPLEMENTED else f"  [{key.outcome.value}]"
        lines.append(f"  --{option}=VALUE  ({name}, default {key.default or 'empty'}){fate}")
    return "\n".join(lines)


def translate(argv: Sequence[str]) -> list[str]:
    """``argv`` as onestack's own; empty when only a text was wanted, and printed."""
    args = _parser().parse_args(list(argv))
    if told(args):
        return []
    check_mode(args)
    which = ["--name", args.name]
    if args.root:
        which += ["--root", str(args.root)]
    if args.netns:
        which.append("--netns")
    given = given_answers(args)
    if args.gen_answer_file:
        return ["answers", *which[:4], *given, "--write", str(args.gen_answer_file)]
    if args.validate_answer_file:
        file = str(args.validate_answer_file)
        return ["answers", *which[:4], *given, "--check", "--answer-file", file]
    words = ["up", *which, *given]
    if args.answer_file:
        words += ["--answer-file", str(args.answer_file)]
    if args.dry_run:
        words.append("--dry-run")
    return words


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
        given.append(f"--set=CONFIG_CONTROLLER_HOST={only_host(args.install_hosts)}")
    if args.debug:
        given.append("--set=CONFIG_DEBUG_MODE=y")
    return given


def only_host(text: str) -> str:
    """packstack made the first a controller and the others compute hosts."""
    hosts = [host.strip() for host in text.split(",") if host.strip()]
    if len(hosts) != 1:
        raise errors.BadAnswers(
            f"--install-hosts {text} names {len(hosts)} machines",
            "onestack makes a cloud on one machine, to which no other can be joined yet",
            "name only this one, or packstack --allinone",
        )
    return hosts[0]


def checked_arguments(argv: Sequence[str]) -> list[str]:
    """`translate`, with an answer file that is there. Raises `BadAnswers`."""
    words = translate(argv)
    if "--answer-file" in words:
        file = Path(words[words.index("--answer-file") + 1])
        if not packstack_file.is_there(file):
            raise errors.BadAnswers(
                f"the answer file {file} is not there",
                "",
                f"make one: packstack --gen-answer-file {file}",
            )
    return words


def run(argv: Sequence[str]) -> int:
    words = checked_arguments(argv)
    return program.run(words) if words else 0


def main() -> int:
    argv = sys.argv[1:]
    return program.guarded(lambda: run(argv), " ".join(["packstack", *argv]))


if __name__ == "__main__":
    sys.exit(main())
