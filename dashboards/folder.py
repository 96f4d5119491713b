"""The dashboards of a folder: which there are, and which one an address names."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from dashboards.model import Dashboard, load
from schemas.errors import Misconfigured


class Folder:
    """``first``, which is shown when an address names none, and the YAML files next to it. Reloads changed files."""

    def __init__(self, first: Path) -> None:
        self._first = first

    @property
    def names(self) -> tuple[str, ...]:
        """Of all, the first one first and the others by their ``place``, then by their names."""
        others = sorted(path.stem for path in self._first.parent.glob("*.yaml") if path.stem != self._first.stem)
        return (self._first.stem, *sorted(others, key=self._place))

    def chosen(self, asked: str | None) -> str:
        """The name that an address asks for. Raises Misconfigured when there is no such dashboard."""
        if asked and asked not in self.names:
            raise Misconfigured(f"no dashboard is named {asked!r}; there are: {', '.join(self.names)}")
        return asked or self._first.stem

    def dashboard(self, name: str) -> Dashboard:
        """One of ``names``. Raises Misconfigured when its file can't be read."""
        path = self._first.with_name(f"{name}.yaml")
        return _loaded(path, path.stat().st_mtime_ns if path.exists() else 0)

    def titles(self) -> dict[str, str]:
        """Name to title, in order. If a file has a mistake, its name is listed; opening it shows the mistake."""
        return {name: self._title(name) for name in self.names}

    def _place(self, name: str) -> int:
        try:
            return self.dashboard(name).place
        except Misconfigured:
            return Dashboard.model_fields["place"].default  # type: ignore[no-any-return]

    def _title(self, name: str) -> str:
        try:
            return self.dashboard(name).title
        except Misconfigured:
            return name.replace("_", " ").capitalize()


@lru_cache(maxsize=64)
def _loaded(path: Path, modified_at_ns: int) -> Dashboard:
    return load(path)
