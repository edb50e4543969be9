"""Commands as the pages print them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^```(?:console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^(?:\[[^\]]*\])?[#$] (?=[./a-z])")


def commands(page: Path, heading: str = "") -> Iterator[str]:
    """What is typed at a prompt, below ``heading`` where one is named; lines go on after a \\."""
    text = page.read_text(encoding="utf-8")
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for block in BLOCK.findall(text):
        lines = iter(block.splitlines())
        for line in lines:
            if not PROMPT.match(line):
                continue
            typed = PROMPT.sub("", line)
            while typed.endswith("\\"):
                typed = typed[:-1] + next(lines).strip()
            yield re.sub(r"\s+# .*$", "", typed).strip()
