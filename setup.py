"""Builds the compiled hot path: every .pyx, and every .py with a .pxd beside it.

Warnings are errors. MTA_DEBUG_BUILD=1 builds without optimisation and with bounds checks, overflow
checks, C assertions and the undefined-behaviour sanitizer, which aborts (`make test-debug`).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

DEBUG = os.environ.get("MTA_DEBUG_BUILD") == "1"
Options.warning_errors = True

FLAGS = ["-Wall", "-Werror", "-Wno-unused-function", "-Wno-unreachable-code"]
SANITIZER = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined"] if DEBUG else []
FLAGS += ["-O0", "-g", "-UNDEBUG", *SANITIZER] if DEBUG else ["-O2", "-fno-plt", "-g0"]
KERNELS = {"boundscheck": DEBUG, "wraparound": False, "initializedcheck": DEBUG, "cdivision": True}
# Python that is compiled stays Python: what would raise there raises here.
MODULES = {"annotation_typing": False, "nonecheck": True, "overflowcheck": DEBUG}


def built(paths, directives):
    """The extensions of the sources."""
    names = [".".join(path.with_suffix("").parts) for path in paths]
    return cythonize(
        [
            Extension(name, [str(path)], extra_compile_args=FLAGS, extra_link_args=SANITIZER)
            for name, path in zip(names, paths, strict=True)
        ],
        nthreads=os.cpu_count() or 1,
        compiler_directives={"language_level": "3", "embedsignature": True, **directives},
    )


kernels = sorted(Path("mta").rglob("*.pyx"))
modules = [path.with_suffix(".py") for path in sorted(Path("mta").rglob("*.pxd"))]
setup(
    ext_modules=[
        *built(kernels, KERNELS),
        *built([path for path in modules if path.exists()], MODULES),
    ]
)
