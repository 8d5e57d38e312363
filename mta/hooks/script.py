"""The hook file: its text becomes functions, or an error that names file and line."""

from __future__ import annotations

import difflib
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any

from mta.errors import ConfigError
from mta.hooks.spec import HOOKS

MODULE = "mailrace_hooks"  # what the file's code sees as its __name__
NEAR = 0.8  # likeness from which a function's name is taken for a slip

Functions = dict[str, Callable[[Any], Any]]


def load(path: str, text: str, tables: Mapping[str, Any]) -> Functions:
    """The hooks of a file, by name; `tables` is a global of its code. ConfigError."""
    module = types.ModuleType(MODULE)
    module.__file__ = path
    module.__dict__["tables"] = tables
    sys.modules[MODULE] = module  # dataclasses and pickling look a class's module up there
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    except SyntaxError as error:
        raise ConfigError(f"not Python: {error.msg}", where=f"{path}:{error.lineno or 1}") from None
    except (Exception, SystemExit) as error:
        where = f"{path}:{line_of(error, path)}"
        raise ConfigError(f"{type(error).__name__}: {error}", where=where) from error
    functions = {name: module.__dict__[name] for name in HOOKS if name in module.__dict__}
    for name, function in functions.items():
        _check(path, name, function)
    _check_names(path, module)
    if not functions:
        raise ConfigError("has no hook", where=path, hint=f"hooks are {', '.join(HOOKS)}")
    return functions


def line_of(error: BaseException, path: str) -> int:
    """The last line of the file that an exception went through; 1 if it did not."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno or 1 for f in reversed(frames) if f.filename == path), 1)


def _line(function: Any) -> int:
    code = getattr(function, "__code__", None)
    return code.co_firstlineno if code is not None else 1


def _check(path: str, name: str, function: Any) -> None:
    """A hook can be called with one argument."""
    where = f"{path}:{_line(function)}"
    if not callable(function):
        raise ConfigError("is no function", key=name, where=where)
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        [parameter] = list(inspect.signature(HOOKS[name].signature.__call__).parameters)[1:]
        raise ConfigError(
            "cannot be called with one argument", key=name, where=where,
            hint=f"write def {name}({parameter})",
        ) from None  # fmt: skip


def _check_names(path: str, module: types.ModuleType) -> None:
    """No function of the file has a name that is nearly a hook's: it would never be called."""
    for name, value in list(module.__dict__.items()):
        own = isinstance(value, types.FunctionType) and value.__module__ == MODULE
        if not own or name in HOOKS or name.startswith("_"):
            continue
        found = difflib.get_close_matches(name, HOOKS, n=1, cutoff=NEAR)
        if found:
            raise ConfigError(
                "is no hook", key=name, where=f"{path}:{_line(value)}",
                hint=f"did you mean {found[0]}? Helpers may begin with _",
            )  # fmt: skip
