"""Functions of the user's own: found in a file beside the pipeline, looked at without running it, then imported.

A module is imported under a name of its own, so that two pipelines may each have a `clean.py`. Its folder is at the
beginning of Python's search path while it is imported, so that its `import rules` finds `rules.py` beside it, and at
the end afterwards, so that nothing there gets in the way of installed packages.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from penstock.errors import InputError

_importing = threading.RLock()
_imported: dict[Path, tuple[int, ModuleType]] = {}


def module_file(folder: Path, module: str) -> Path:
    """The file of a module below `folder`: ``clean`` is ``clean.py``, ``text.clean`` is ``text/clean.py``.

    Raises:
        InputError: there is none.
    """
    base = folder.joinpath(*module.split("."))
    found = [path for path in (base.with_name(f"{base.name}.py"), base / "__init__.py") if path.is_file()]
    if not found:
        raise InputError(f"there is no {'/'.join(module.split('.'))}.py in {folder}; `path` says where to look")
    return found[0]


def check_function(file: Path, name: str) -> None:
    """Make sure that a module defines a function, without running it.

    Raises:
        InputError: it is no Python, or defines no such name.
    """
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise InputError(f"{file.name}{line} is not Python: {getattr(error, 'msg', error)}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    names = list(_names(tree.body))
    if name not in names and "*" not in names:
        functions = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
        raise InputError(f"{file.name} has no function `{name}`; it has: {', '.join(functions) or 'none'}")


def load_function(folder: Path, module: str, name: str) -> Callable[..., Any]:
    """The function, from a module that is imported once, and again when its file has changed.

    Raises:
        InputError: the file is gone, or `name` is nothing that can be called.
    """
    file = module_file(folder, module).resolve()
    with _importing:
        changed = file.stat().st_mtime_ns
        known = _imported.get(file)
        if known is None or known[0] != changed:
            known = _imported[file] = (changed, _import(file, folder.resolve()))
    function = getattr(known[1], name, None)
    if not callable(function):
        raise InputError(f"{file.name} has no function `{name}`")
    return function  # type: ignore[no-any-return]  # whatever the user's module holds


class _FromSource(SourceFileLoader):
    """Without `__pycache__`, which stands in the user's folder and knows a change within a second only by its size."""

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        # What Python's loader takes for "no compiled file can be used here".
        raise OSError(f"{path} is always compiled anew")


def _import(file: Path, folder: Path) -> ModuleType:
    name = f"penstock_function_{hashlib.blake2b(str(file).encode(), digest_size=8).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_FromSource(name, str(file)))
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    return module


def _names(body: Sequence[ast.stmt]) -> Iterator[str]:
    """What a module's own statements define, whatever the branch."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
        else:
            for field in ("body", "orelse", "handlers", "finalbody"):
                inner = getattr(statement, field, [])
                yield from _names([part for each in inner for part in getattr(each, "body", None) or [each]])
