"""Which of the machine's NVIDIA GPUs a job may use, by the rules of CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_WHOLE_NUMBER = re.compile(r"\d+\Z", re.ASCII)
_MIG_IN_GPU = re.compile(r"MIG-(GPU-[0-9a-f-]+)(/\d+){0,2}\Z", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver lists it.

    ``bus_id`` is (domain, bus, device) or None if unknown; ``split``: it is in MIG mode.
    """

    id: str
    uuid: str
    name: str
    bus_id: tuple[int, int, int] | None = None
    split: bool = False


@dataclass(frozen=True, slots=True)
class Owned:
    """Ids of the GPUs that are the job's, and why not fewer if that could not be told."""

    ids: frozenset[str]
    doubt: str | None = None


class _DoubtError(Exception):
    """It can't be told for certain which GPU an entry names."""


def owned_gpus(
    gpus: Sequence[Gpu],
    environ: Mapping[str, str],
    mig_owner: Callable[[str], str | None] | None = None,
) -> Owned:
    """The GPUs that CUDA would show to a process with this environment.

    ``mig_owner`` gives the UUID of the board that holds a MIG device. Where the variable can't be
    followed for certain, all GPUs are owned and ``doubt`` says why.
    """
    everything = frozenset(gpu.id for gpu in gpus)
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return Owned(everything)
    resolver = _Resolver(gpus, environ.get("CUDA_DEVICE_ORDER", ""), mig_owner)
    try:
        return Owned(resolver.resolve(listed))
    except _DoubtError as doubt:
        return Owned(
            everything,
            f"CUDA_VISIBLE_DEVICES={listed} can't be followed for certain ({doubt}), so all "
            f"{len(gpus)} GPUs are counted: list GPU UUIDs instead",
        )


class _Resolver:
    """Follows one list of devices."""

    def __init__(
        self,
        gpus: Sequence[Gpu],
        order: str,
        mig_owner: Callable[[str], str | None] | None,
    ) -> None:
        self._gpus = gpus
        self._order = order
        self._mig_owner = mig_owner

    def resolve(self, listed: str) -> frozenset[str]:
        """Ids named by ``listed``. CUDA stops at the first entry that names no device."""
        entries = [entry.strip() for entry in listed.split(",")]
        numbers = self._leading_numbers(entries)
        if numbers is not None:
            return self._by_numbers(numbers)
        ids: set[str] = set()
        for entry in entries:
            gpu = self._by_name(entry)
            if gpu is None:
                break
            ids.add(gpu.id)
        return frozenset(ids)

    def _leading_numbers(self, entries: Sequence[str]) -> list[int] | None:
        """The indices before the first invalid entry; None if the list is one of names."""
        if entries[0].upper().startswith(("GPU-", "MIG-")):
            return None
        numbers: list[int] = []
        for entry in entries:
            if not _WHOLE_NUMBER.match(entry) or int(entry) >= len(self._gpus):
                break
            numbers.append(int(entry))
        return numbers

    def _by_numbers(self, numbers: Sequence[int]) -> frozenset[str]:
        wanted = set(numbers)
        if not wanted:
            return frozenset()
        if len(wanted) == len(self._gpus):
            return frozenset(gpu.id for gpu in self._gpus)
        in_order = self._in_cuda_order()
        return frozenset(in_order[number].id for number in wanted)

    def _in_cuda_order(self) -> list[Gpu]:
        """The GPUs as CUDA numbers them: by bus, unless it would sort unlike ones by speed."""
        if any(gpu.split for gpu in self._gpus):
            raise _DoubtError("CUDA numbers the instances of a GPU that is split by MIG")
        if self._order != "PCI_BUS_ID" and len({gpu.name for gpu in self._gpus}) > 1:
            raise _DoubtError(
                "the GPUs are of different models and CUDA_DEVICE_ORDER is not PCI_BUS_ID"
            )
        if any(gpu.bus_id is None for gpu in self._gpus):
            raise _DoubtError("the driver does not tell the GPUs' places on the bus")
        return sorted(self._gpus, key=lambda gpu: gpu.bus_id or (0, 0, 0))

    def _by_name(self, entry: str) -> Gpu | None:
        if entry.upper().startswith("MIG-"):
            return self._by_mig(entry)
        if not entry.upper().startswith("GPU-"):
            return None
        if any(not gpu.uuid for gpu in self._gpus):
            raise _DoubtError("the driver does not tell the UUID of every GPU")
        return self._by_prefix(entry)

    def _by_prefix(self, entry: str) -> Gpu | None:
        """The one GPU whose UUID begins so; CUDA takes an ambiguous prefix for invalid."""
        matches = [gpu for gpu in self._gpus if gpu.uuid.lower().startswith(entry.lower())]
        return matches[0] if len(matches) == 1 else None

    def _by_mig(self, entry: str) -> Gpu | None:
        """The board that holds a MIG device: energy is known for the whole board only."""
        inside = _MIG_IN_GPU.match(entry)
        if inside:
            return self._by_prefix(inside[1])
        owner = self._mig_owner(entry) if self._mig_owner else None
        if owner is None:
            raise _DoubtError(f"the driver does not tell which GPU holds {entry}")
        return self._by_prefix(owner)
