"""Packages whose submodules are imported by their own paths, without what their `__init__` brings along."""

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from threading import RLock
from types import ModuleType
from typing import Any

_LOCK = RLock()


class _Deferred(ModuleType):
    """A package that has not run its `__init__`: its submodules are there, and whatever else is asked for runs it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import machinery looks for
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        with _LOCK:
            if type(self) is _Deferred:
                self.__class__ = ModuleType
                self.__spec__.loader.own.exec_module(self)
        return getattr(self, name)


class _DeferringLoader(Loader):
    """Gives a `_Deferred` and keeps the package's own loader for later."""

    def __init__(self, own: Loader) -> None:
        self.own = own

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if "." not in module.__name__:  # submodules of some packages ask for it before all else
            with suppress(importlib.metadata.PackageNotFoundError):
                module.__version__ = importlib.metadata.version(module.__name__)


class _DeferringFinder(MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self.packages:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferringLoader(spec.loader)
        return spec


@contextmanager
def deferred(*packages: str) -> Iterator[None]:
    """Within it, those of `packages` that are not imported yet are, when first met, without running their `__init__`.

    They stay so until something is asked of them that is no submodule of theirs; then they are as if imported as ever.
    """
    finder = _DeferringFinder(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
