"""The build backend: setuptools, and Cython only where the C it makes is not there yet (an sdist holds it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the other hooks of PEP 517 and PEP 660

CYTHON = "cython>=3.1"
_Settings = dict[str, Any] | None


def _needed(found: list[str]) -> list[str]:
    return found if Path("generated").is_dir() else [*found, CYTHON]


def get_requires_for_build_wheel(config_settings: _Settings = None) -> list[str]:
    """PEP 517."""
    return _needed(build_meta.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings: _Settings = None) -> list[str]:
    """PEP 660."""
    return _needed(build_meta.get_requires_for_build_editable(config_settings))


def get_requires_for_build_sdist(config_settings: _Settings = None) -> list[str]:
    """PEP 517."""
    return _needed(build_meta.get_requires_for_build_sdist(config_settings))
