"""Reading TOML so that every complaint names the file, the key and the remedy."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pyprof.carbon.table import read_text
from pyprof.carbon.units import require_number
from pyprof.errors import NewerSchemaError, UsageError

SCHEMA = 1
# The parser of newer Pythons, and its back-port for 3.10.
_PARSER = "tomllib" if sys.version_info >= (3, 11) else "tomli"


def read_toml(path: str) -> dict[str, Any]:
    """A whole TOML file, or one sentence that says why not."""
    return parse_toml(read_text(path), path)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """TOML given as text; ``where`` is for complaints."""
    try:
        table: dict[str, Any] = importlib.import_module(_PARSER).loads(text)
    except ModuleNotFoundError:
        remedy = "reading TOML needs Python 3.11, or: pip install tomli"
        raise UsageError(f"{where}: {remedy}") from None
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{where}: not valid TOML: {_one_line(str(error))}") from None
    return table


def check_schema(table: Mapping[str, Any], where: str) -> None:
    """Refuse a file that was written for a later version."""
    schema = table.get("schema", SCHEMA)
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise UsageError(f"{where}: schema must be the number {SCHEMA}, not {schema!r}")
    if schema > SCHEMA:
        raise NewerSchemaError(
            f"{where}: written for schema {schema}, and this pyprof knows {SCHEMA}: update pyprof"
        )


def refuse_unknown(names: Iterable[str], known: Iterable[str], where: str, what: str) -> None:
    """Refuse the first name that is not known, with the nearest one that is."""
    import difflib

    allowed = list(known)
    for name in names:
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"{where}: unknown {what} {name!r}{hint}")


class Section:
    """One table of a TOML file, read key by key; :meth:`finish` refuses what nobody read."""

    def __init__(self, table: object, where: str) -> None:
        """Take ``table``, which must be one."""
        if not isinstance(table, Mapping):
            raise UsageError(f"{where} must be a table, not {_short(table)}")
        self.table: Mapping[str, Any] = table
        self.where = where
        self._read: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self.table

    def get(self, key: str) -> Any:
        """The raw value; None where it is absent."""
        self._read.append(key)
        return self.table.get(key)

    def number(
        self, key: str, *, low: float = 0.0, high: float = float("inf"), above: bool = False
    ) -> float | None:
        """The value as a number in the range; None where it is absent."""
        value = self.get(key)
        if value is None:
            return None
        return require_number(value, f"{self.where}: {key}", low=low, high=high, above=above)

    def text(self, key: str) -> str | None:
        """The value as text that is not empty; None where it is absent."""
        value = self.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise UsageError(f"{self.where}: {key} must be a text, not {_short(value)}")
        return value

    def needed_text(self, key: str) -> str:
        """The value as text; its absence is refused."""
        value = self.text(key)
        if value is None:
            raise UsageError(f"{self.where}: {key} is missing")
        return value

    def flag(self, key: str) -> bool:
        """The value as true or false; absent is false."""
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            raise UsageError(f"{self.where}: {key} must be true or false, not {_short(value)}")
        return bool(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """The value as a list of texts; absent is empty."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{self.where}: {key} must be a list of texts, not {_short(value)}")
        return tuple(value)

    def sections(self, key: str) -> list[Section]:
        """The value as a list of tables, ``[[key]]``; absent is empty."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise UsageError(f"{self.where}: {key} must be written as [[{key}]]")
        return [
            Section(item, f"{self.where}, [[{key}]] {index}")
            for index, item in enumerate(value, start=1)
        ]

    def section(self, key: str) -> Section | None:
        """The value as a table, ``[key]``; None where it is absent."""
        value = self.get(key)
        return None if value is None else Section(value, f"{self.where}, [{key}]")

    def finish(self) -> None:
        """Refuse keys that nobody asked for, by name."""
        refuse_unknown(self.table, self._read, self.where, "key")


def _one_line(text: str) -> str:
    """A message of a parser without line breaks and control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _short(value: object) -> str:
    """A value in a complaint, cut where it is long."""
    text = _one_line(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
