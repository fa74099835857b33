"""Compiles the native parts once, and keeps them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent.parent / "csrc"
SIGNAL = (CSRC / "core/signal.cpp", CSRC / "core/sensor.cpp")
HEADERS = (CSRC / "core/signal.h", CSRC / "core/sensor.h", HERE / "spec.h")
_ABI = (CSRC / "sources/amd_smi.h", CSRC / "sources/level_zero.h")
FLAGS = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-pthread")
SHARED = ("-fPIC", "-shared", "-fvisibility=hidden")


class BuildError(RuntimeError):
    """A native part could not be compiled; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to compile."""

    name: str
    sources: tuple[Path, ...]
    flags: tuple[str, ...] = ()
    needs_nvml: bool = False


_NVML = (HERE / "nvml/library.cpp", HERE / "nvml/device.cpp", HERE / "spec.cpp", *SIGNAL)
_SONAME = ("-Wl,-soname,libnvidia-ml.so.1",)
NVML = Part("libnvidia-ml.so.1", _NVML, (*SHARED, *_SONAME), True)
NVML_OLD = Part("libnvidia-ml-old.so.1", _NVML, (*SHARED, *_SONAME, "-DSIM_OLD_DRIVER"), True)
TREE = Part("sim-tree", (HERE / "tree/main.cpp", HERE / "spec.cpp", *SIGNAL))
_ACCELERATOR = (HERE / "accelerators/accelerator.cpp", HERE / "spec.cpp", *SIGNAL)
AMD_SMI = Part("libamd_smi.so", (HERE / "accelerators/amd_smi.cpp", *_ACCELERATOR), SHARED)
LEVEL_ZERO = Part(
    "libze_loader.so.1", (HERE / "accelerators/level_zero.cpp", *_ACCELERATOR), SHARED
)
PROBE = Part("libsim-probe.so", (HERE / "probe/probe.cpp", *SIGNAL), SHARED)


def compiler() -> list[str]:
    if named := os.environ.get("CXX"):
        return shlex.split(named)
    for candidate in ("c++", "g++", "clang++"):
        if found := shutil.which(candidate):
            return [found]
    raise BuildError("no C++ compiler was found: install g++ or clang, or name one in CXX")


def nvml_include() -> Path:
    """The folder of the vendor's own nvml.h, from nvidia-nvml-dev or a CUDA toolkit."""
    try:
        files = importlib.metadata.files("nvidia-nvml-dev") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name == "nvml.h"]
    for header in (*found, Path("/usr/local/cuda/include/nvml.h")):
        if header.is_file():
            return header.parent
    raise BuildError("nvml.h was not found: install it with `pip install nvidia-nvml-dev`")


def cache_folder() -> Path:
    named = os.environ.get("SIM_BUILD_DIR")
    default = Path(tempfile.gettempdir()) / f"pyprof-sim-{os.getuid()}"
    folder = Path(named) if named else default
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise BuildError(f"{folder} belongs to somebody else: name a folder in SIM_BUILD_DIR")
    return folder


def _command(part: Part) -> list[str]:
    include = [f"-I{CSRC}", f"-I{HERE}"]
    if part.needs_nvml:
        include += ["-isystem", str(nvml_include())]
    return [*compiler(), *FLAGS, *part.flags, *include, *(str(each) for each in part.sources)]


def _key(part: Part, command: list[str]) -> str:
    digest = hashlib.sha256("\0".join(command).encode())
    for path in (*part.sources, *HEADERS, *sorted(HERE.glob("*/*.h")), *_ABI):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def native(part: Part) -> Path:
    """The compiled part, from the cache if nothing that goes into it has changed."""
    command = _command(part)
    target = cache_folder() / _key(part, command) / part.name
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    # Under another name first: a second process may be compiling the same part.
    draft = target.with_name(f".{part.name}.{os.getpid()}")
    result = subprocess.run([*command, "-o", str(draft)], capture_output=True, text=True)
    if result.returncode != 0:
        raise BuildError(f"{part.name} does not compile:\n{result.stderr}")
    draft.replace(target)
    return target
