"""Loading the handler that a listener's `handler` names. It is the operator's code: it is run."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from mta.errors import ConfigError


def load(spec: str) -> Any:
    """The handler of `package.module:Class` or `/path/file.py:Class`; ConfigError without one.

    A class is called without arguments. A file is read anew each time, a module is not.
    """
    source, _, name = spec.rpartition(":")
    try:
        module = _file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
        found = getattr(module, name)
        return found() if isinstance(found, type) else found
    except FileNotFoundError:
        raise _error(spec, "there is no such file") from None
    except AttributeError as error:
        raise _error(spec, str(error)) from error
    except Exception as error:
        raise _error(spec, f"{type(error).__name__}: {error}") from error


def _file(path: Path) -> ModuleType:
    """The module in a file, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"mta_handler_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _error(spec: str, problem: str) -> ConfigError:
    return ConfigError(f'"{spec}" cannot be loaded: {problem}', key="listener.handler")
