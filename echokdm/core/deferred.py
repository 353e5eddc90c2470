"""Packages whose submodules are imported by their own paths, without what their `__init__` brings along."""

import ast
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from threading import RLock
from types import ModuleType
from typing import Any

_LOCK = RLock()


class _Deferred(ModuleType):
    """A package that has not run its `__init__`: its submodules are there, and the names that it takes from them; all
    else runs it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import machinery looks for
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        if name in self._origins:
            module, own = self._origins[name]
            found = getattr(importlib.import_module(module, self.__name__), own)
            setattr(self, name, found)
            return found
        self._run()
        return getattr(self, name)

    def _run(self) -> None:
        """Its `__init__`, after those of the packages that it lies in, by whose order circles of imports come out."""
        above = sys.modules.get(self.__name__.rpartition(".")[0])
        if isinstance(above, _Deferred):
            above._run()
        with _LOCK:
            if type(self) is _Deferred:
                spec = self.__spec__
                assert spec is not None and isinstance(spec.loader, _DeferringLoader)
                self.__class__ = ModuleType  # type: ignore[assignment]  # of modules Python allows it
                spec.loader.own.exec_module(self)

    @cached_property
    def _origins(self) -> dict[str, tuple[str, str]]:
        """Name -> (module, name there), by the `from ... import ...` at the top of its `__init__`."""
        assert self.__spec__ is not None and isinstance(self.__spec__.loader, _DeferringLoader)
        own = self.__spec__.loader.own
        source = own.get_source(self.__name__) if isinstance(own, InspectLoader) else None
        return {
            alias.asname or alias.name: ("." * line.level + (line.module or ""), alias.name)
            for line in ast.parse(source or "").body
            if isinstance(line, ast.ImportFrom)
            for alias in line.names
        }


class _DeferringLoader(Loader):
    """Gives a `_Deferred` and keeps the package's own loader for later."""

    def __init__(self, own: Loader) -> None:
        self.own = own

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if "." not in module.__name__:  # submodules of some packages ask for it before all else
            with suppress(importlib.metadata.PackageNotFoundError):
                module.__dict__["__version__"] = importlib.metadata.version(module.__name__)


class _DeferringFinder(MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.packages:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferringLoader(spec.loader)
        return spec


@contextmanager
def deferred(*packages: str) -> Iterator[None]:
    """Within it, those of `packages` that are not imported yet are, when first met or at its end, without running their
    `__init__`.

    They stay so until something is asked of them that is neither a submodule of theirs nor imported from one at the top
    of their `__init__`; then they are as if imported as ever.
    """
    finder = _DeferringFinder(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
        # one imported later, in the midst of others that have not run, could be in a circle with them
        for name in packages:
            importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
