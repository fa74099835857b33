"""What this machine is made of, for people: processor, memory, driver, GPUs. Nothing is sampled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyprof import host

_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as the driver names it."""

    name: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was found; None is not known. ``notes`` say why something is not."""

    cpu: str | None
    cores: int | None
    threads: int | None
    memory_bytes: int | None
    nvidia_driver: str | None = None
    gpus: tuple[Gpu, ...] = ()
    notes: tuple[str, ...] = ()


def take(*, gpus: bool) -> Inventory:
    """Looks once; ``gpus`` asks the system's NVIDIA library as well."""
    cores, threads, memory_bytes, notes = _machine()
    driver, found, trouble = _nvidia() if gpus else (None, (), None)
    if trouble:
        notes = (*notes, trouble)
    return Inventory(host.cpu_name(), cores, threads, memory_bytes, driver, found, notes)


def _machine() -> tuple[int | None, int | None, int | None, tuple[str, ...]]:
    """Physical cores, threads and memory."""
    try:
        import psutil

        cores, threads = psutil.cpu_count(logical=False), psutil.cpu_count()
        memory_bytes = psutil.virtual_memory().total
    except Exception as error:  # a broken or foreign /proc, or a broken installation
        return None, None, None, (f"cores and memory are not known: {_words(error)}",)
    return cores, threads, memory_bytes if 0 < memory_bytes < _LARGEST else None, ()


def _nvidia() -> tuple[str | None, tuple[Gpu, ...], str | None]:
    """Driver version, GPUs, and what went wrong. No library is no trouble: there is no GPU then."""
    try:
        import pynvml
    except Exception as error:
        return None, (), f"nvidia-ml-py can't be loaded: {_words(error)}"
    try:
        with _opened(pynvml):
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            return driver, tuple(_gpus(pynvml)), None
    except pynvml.NVMLError_LibraryNotFound:
        return None, (), None
    except Exception as error:
        return None, (), f"the NVIDIA driver does not answer nvidia-ml-py: {_words(error)}"


@contextmanager
def _opened(pynvml: Any) -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _gpus(pynvml: Any) -> Iterator[Gpu]:
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        yield Gpu(_text(pynvml.nvmlDeviceGetName(handle)), _text(pynvml.nvmlDeviceGetUUID(handle)))


def _text(value: str | bytes) -> str:
    """Older versions of the package give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
