"""Stages as a tree: paths taken apart, siblings by energy, the small ones left out on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyprof.energy import Stage


@dataclass(frozen=True, slots=True)
class Node:
    """A row with its last name and its depth below the root."""

    row: Stage
    name: str
    depth: int


def split_path(path: str) -> list[str]:
    r"""Names of a path; inside a name ``/`` and ``\`` are escaped with ``\``."""
    if not path:
        return []
    names, name, escaped = [], "", False
    for character in path:
        if character == "/" and not escaped:
            names.append(name)
            name = ""
        elif character == "\\" and not escaped:
            escaped = True
            continue
        else:
            name += character
        escaped = False
    return [*names, name]


def stage_tree(rows: Sequence[Stage], most: int | None) -> tuple[list[Node], int]:
    """Rows in tree order, the ``most`` with the largest energy and their ancestors; the rest
    only as a number.
    """
    kept = _largest(rows, most)
    nodes = [node for node in _walk(rows) if (node.row.path, node.row.phase) in kept]
    return nodes, len(rows) - len(nodes)


def _largest(rows: Sequence[Stage], most: int | None) -> set[tuple[str, str]]:
    """Keys of the rows to show: an ancestor of a row that is shown is shown as well."""
    ranked = sorted(rows, key=lambda row: -(row.energy_j or 0.0))
    named = [row for row in ranked if row.path]
    shown = named if most is None else named[:most]
    paths = {""} | {path for row in shown for path in _ancestors(row.path)}
    keys = {(row.path, row.phase) for row in shown}
    return keys | {(row.path, row.phase) for row in rows if row.path in paths}


def _ancestors(path: str) -> Iterator[str]:
    """Every path that contains ``path``, as written."""
    escaped = False
    for index, character in enumerate(path):
        if character == "/" and not escaped:
            yield path[:index]
        escaped = character == "\\" and not escaped


def _walk(rows: Sequence[Stage]) -> Iterator[Node]:
    """Depth first; among siblings the one with most energy first."""
    names = {row.path: split_path(row.path) for row in rows}
    energy: dict[tuple[str, ...], float] = {}
    for row in rows:
        key = tuple(names[row.path])
        energy[key] = energy.get(key, 0.0) + (row.energy_j or 0.0)

    def order(row: Stage) -> list[tuple[float, str]]:
        path = tuple(names[row.path])
        return [(-energy.get(path[: depth + 1], 0.0), path[depth]) for depth in range(len(path))]

    for row in sorted(rows, key=order):
        path = names[row.path]
        yield Node(row, path[-1] if path else "", len(path))
