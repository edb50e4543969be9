"""Files of sections and options, as services and systemd read them."""

from __future__ import annotations

import configparser


class Parser(configparser.RawConfigParser):
    """One to which an option's name is what was written, not its lower case."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr
