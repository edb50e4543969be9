"""eventlet's pool of threads stays out of cinder's processes, or images hang."""

from __future__ import annotations

import ast
from pathlib import Path

import onestack.components.cinder as cinder


def test_the_variable_comes_before_the_first_import() -> None:
    tree = ast.parse((Path(cinder.__file__).parent / "inside" / "preload.py").read_text())
    names = [ast.unparse(node) for node in tree.body]
    place = names.index("os.environ['EVENTLET_THREADPOOL_SIZE'] = '0'")
    assert place < next(i for i, name in enumerate(names) if name.startswith("from cinder"))
