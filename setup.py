"""Compiles `ovng/_fast`. Everything else about the package is in pyproject.toml.

OVNG_DEBUG=1      bounds checks, Cython assertions, no optimisation
OVNG_SANITIZE=1   the same with AddressSanitizer and UndefinedBehaviorSanitizer (run Python with libasan preloaded)
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

SANITIZE = os.environ.get("OVNG_SANITIZE") == "1"
DEBUG = SANITIZE or os.environ.get("OVNG_DEBUG") == "1"
CORES = os.cpu_count() or 1
BUILD_DIR = "build/cython" + ("-sanitize" if SANITIZE else "-debug" if DEBUG else "")

CFLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
# Cython's own support code, which -Wextra sees in every module.
CFLAGS += ["-Wno-sign-compare", "-Wno-unused-function", "-Wno-cast-function-type"]
CFLAGS += ["-O1", "-g", "-fno-omit-frame-pointer", "-DOVNG_DEBUG=1"] if DEBUG else ["-O3", "-g1"]
LDFLAGS: list[str] = []
LIBRARIES = ["dl", "pthread"]
if sysconfig.get_config_var("SIZEOF_VOID_P") == 4:  # of the target: 64-bit atomics are calls there (MIPS, ARM before 7)
    LIBRARIES += ["atomic"]
if SANITIZE:
    CFLAGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    # GCC 12 loses array bounds behind the sanitizers' checks and then warns of overruns that are none.
    CFLAGS += ["-Wno-stringop-overread", "-Wno-stringop-overflow"]
    LDFLAGS += ["-fsanitize=address,undefined"]

LIMITED_API = "0x030B0000"  # cp311-abi3: one wheel for Python 3.11 and newer
MACROS = [("Py_LIMITED_API", LIMITED_API), ("_GNU_SOURCE", "1")]

Options.warning_errors = True

extensions = [
    Extension(
        f"ovng._fast.{source.stem}",
        [str(source)],
        define_macros=MACROS,
        extra_compile_args=CFLAGS,
        extra_link_args=LDFLAGS,
        libraries=LIBRARIES,
        py_limited_api=True,
    )
    for source in sorted(Path("ovng/_fast").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        build_dir=BUILD_DIR,
        nthreads=CORES,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "embedsignature": False,
            "binding": True,
        },
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}, "build_ext": {"parallel": CORES}},
)
