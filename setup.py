"""Compiles `ovng/_fast`. Everything else about the package is in pyproject.toml.

OVNG_DEBUG=1   bounds checks, Cython assertions, AddressSanitizer and UndefinedBehaviorSanitizer, little optimisation
               (run Python with libasan preloaded)
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.sdist import sdist

DEBUG = os.environ.get("OVNG_DEBUG") == "1"
CORES = os.cpu_count() or 1
BUILD_DIR = "build/cython" + ("-debug" if DEBUG else "")

CFLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
# Cython's own support code, which -Wextra sees in every module.
CFLAGS += ["-Wno-sign-compare", "-Wno-unused-function", "-Wno-cast-function-type"]
CFLAGS += ["-O1", "-g", "-fno-omit-frame-pointer", "-DOVNG_DEBUG=1"] if DEBUG else ["-O3", "-g1"]
# Where a machine has no atomics of 64 bits (MIPS, ARM before 7) they are calls: slower, as clang says, and right.
CFLAGS += ["-Wno-atomic-alignment"]
LDFLAGS: list[str] = []
LIBRARIES = ["dl", "pthread"]
if sysconfig.get_config_var("SIZEOF_VOID_P") == 4:  # of the target
    LDFLAGS += ["-Wl,--as-needed", "-latomic"]
if DEBUG:
    CFLAGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    # GCC 12 loses array bounds behind the sanitizers' checks and then warns of overruns that are none.
    CFLAGS += ["-Wno-stringop-overread", "-Wno-stringop-overflow"]
    LDFLAGS += ["-fsanitize=address,undefined"]

LIMITED_API = "0x030B0000"  # cp311-abi3: one wheel for Python 3.11 and newer
MACROS = [("Py_LIMITED_API", LIMITED_API), ("_GNU_SOURCE", "1")]

SOURCES = sorted(Path("ovng/_fast").glob("*.pyx"))
GENERATED = Path("generated")  # in an sdist: the C that Cython makes of them


def extension(module: str, source: Path) -> Extension:
    return Extension(
        f"ovng._fast.{module}",
        [str(source)],
        include_dirs=["ovng/_fast"],
        define_macros=MACROS,
        extra_compile_args=CFLAGS,
        extra_link_args=LDFLAGS,
        libraries=LIBRARIES,
        py_limited_api=True,
    )


def translated() -> list[Extension]:
    """The extensions, their C made now."""
    from Cython.Build import cythonize
    from Cython.Compiler import Options

    Options.warning_errors = True
    directives = {
        "language_level": 3,
        "boundscheck": DEBUG,
        "wraparound": False,
        "cdivision": True,
        "initializedcheck": DEBUG,
        "embedsignature": False,
        "binding": True,
    }
    extensions = [extension(source.stem, source) for source in SOURCES]
    made: list[Extension] = cythonize(extensions, build_dir=BUILD_DIR, nthreads=CORES, compiler_directives=directives)
    return made


class SdistWithC(sdist):
    """An sdist from which a machine without Cython builds."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        made = Path(base_dir, GENERATED)
        made.mkdir()
        for source in SOURCES:
            self.copy_file(
                str((GENERATED if GENERATED.is_dir() else Path(BUILD_DIR, "ovng/_fast")) / f"{source.stem}.c"),
                str(made),
            )


setup(
    ext_modules=[extension(source.stem, GENERATED / f"{source.stem}.c") for source in SOURCES]
    if GENERATED.is_dir() and not DEBUG
    else translated(),
    cmdclass={"sdist": SdistWithC},
    options={"bdist_wheel": {"py_limited_api": "cp311"}, "build_ext": {"parallel": CORES}},
)
