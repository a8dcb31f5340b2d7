"""modules.json: the modules of a sentence-transformers checkpoint, in order. In the place of a Router, which has other
modules for queries than for documents, are those of the route that a role takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bertcli.errors import ModelError, quoted
from bertcli.models.jsonfile import CORRECT_FILE, read_optional

if TYPE_CHECKING:
    from bertcli.models.prompts import Role

ROUTERS = ("Router", "Asym")
LONGEST_NAME = 250  # of a file, in letters


class ListedModule(NamedTuple):
    """`kind` is the class without its package, which moved between versions. `folder` is inside the checkpoint."""

    kind: str
    folder: Path


def read_modules(directory: Path, role: Role | None) -> list[ListedModule]:
    """The modules for texts of a role, none where there is no modules.json. Raises ModelError for a file that does not
    list modules, and for a Router without a route for the role."""
    modules: list[ListedModule] = []
    for module in _listed(directory):
        modules += _Router(module.folder).modules(role) if module.kind in ROUTERS else [module]
    return modules


def is_routed(directory: Path) -> bool:
    """Whether a Router has other modules for one role than for another."""
    routers = (_Router(module.folder) for module in _listed(directory) if module.kind in ROUTERS)
    return any(len({str(route) for route in router.routes.values()}) > 1 for router in routers)


class _Router:
    """router_config.json: lists of modules, by route, and the types of all modules."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "router_config.json"
        config = read_optional(self._path, dict) or {}
        types, routes = config.get("types"), config.get("structure")
        parameters = config.get("parameters") or {}
        if not routes or not all(isinstance(part, dict) for part in (types, routes, parameters)):
            raise _damaged("names no routes and the types of their modules", self._path)
        self._types: dict[str, Any] = types or {}
        self.routes: dict[str, Any] = routes
        self._parameters: dict[str, Any] = parameters

    def modules(self, role: Role | None) -> list[ListedModule]:
        """The modules for a role, as sentence-transformers chooses them for texts."""
        name = self._route(role)
        if not isinstance(self.routes.get(name), list):
            raise ModelError(
                f"has no route for {f'the role {role}' if role else 'texts without a role'}",
                where=str(self._path),
                hint=f"its routes: {quoted(self.routes)}; give a --role",
            )
        listed = [{"type": self._types.get(one), "path": str(one)} for one in self.routes[name]]
        return list(_checked(listed, self._folder, self._path))

    def _route(self, role: Role | None) -> Any:
        mapped = self._parameters.get("route_mappings") or {}
        keys = [str(key) for key in ((role, "text"), (role, None), (None, "text"), (None, None))]
        name = next((mapped[key] for key in keys if isinstance(mapped, dict) and key in mapped), None)
        if name is None:
            name = next((known for known in (role, "text") if known in self.routes), None)
        if name is None and role is None:
            name = self._parameters.get("default_route")
            if name is None and self._parameters.get("allow_empty_key", True):
                name = next(iter(self.routes))
        return name


def _listed(directory: Path) -> list[ListedModule]:
    path = directory / "modules.json"
    return list(_checked(read_optional(path, list) or [], directory, path))


def _checked(modules: list[Any], parent: Path, path: Path) -> Iterator[ListedModule]:
    """The modules that the file at `path` lists, with their folders in `parent`."""
    for module in modules:
        if not isinstance(module, Mapping) or not isinstance(module.get("type"), str):
            raise _damaged("is not a list of modules with a type", path)
        folder = module.get("path", "")
        if not isinstance(folder, str) or Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise _damaged(f"names a folder outside the checkpoint: {folder}", path)
        if len(folder) > LONGEST_NAME or not folder.isprintable():
            raise _damaged(f"names a folder that cannot be: {folder[:40]!r}", path)
        yield ListedModule(module["type"].rpartition(".")[2], parent / folder)


def _damaged(message: str, path: Path) -> ModelError:
    return ModelError(message, where=str(path), hint=CORRECT_FILE)
