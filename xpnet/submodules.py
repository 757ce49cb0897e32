"""Submodules that are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

__all__ = ["submodules_of"]


def submodules_of(package: str) -> Callable[[str], ModuleType]:
    """Return the `__getattr__` of a package: ``import xpnet`` then suffices for ``xpnet.training.trainer``."""

    def find(name: str) -> ModuleType:
        full_name = f"{package}.{name}"
        try:
            return import_module(full_name)
        except ModuleNotFoundError as exc:
            if exc.name != full_name:  # the submodule needs a library that is not installed
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None

    return find
