"""Builds the compiled hot path: every mta/_speedups/*.pyx, warnings as errors.

MTA_DEBUG_BUILD=1 builds with bounds checks, assertions and no optimisation.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

DEBUG = os.environ.get("MTA_DEBUG_BUILD") == "1"
Options.warning_errors = True

FLAGS = ["-Wall", "-Werror", "-Wno-unused-function", "-Wno-unreachable-code"]
FLAGS += ["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O3"]

extensions = [
    Extension(f"mta._speedups.{path.stem}", [str(path)], extra_compile_args=FLAGS)
    for path in sorted(Path("mta/_speedups").glob("*.pyx"))
]
setup(
    ext_modules=cythonize(
        extensions,
        nthreads=0 if len(extensions) < 2 else os.cpu_count() or 1,
        compiler_directives={
            "language_level": "3",
            "boundscheck": DEBUG,
            "wraparound": False,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": False,
        },
    )
    if extensions
    else [],
)
