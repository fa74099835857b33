"""Channels of what no sensor gives a reading of: modelled, or present and unmeasured."""

from __future__ import annotations

from pyprof import _native
from pyprof.bus import PciGpu
from pyprof.model import Estimate

MODELLED = "modelled"
UNMEASURED = "unmeasured"
_MILLIWATT = 1e-3


def modelled(estimate: Estimate) -> _native.Channel:
    """A channel of power whose readings are estimated."""
    return _native.Channel(
        id=estimate.id,
        domain=estimate.domain,
        device=estimate.device,
        source=MODELLED,
        quality=MODELLED,
        method="model",
        reason=estimate.reason,
        kind="gauge",
        unit=_MILLIWATT,
        limit_w=max(estimate.design_w, estimate.idle_w),
        low_ratio=estimate.range.low,
        high_ratio=estimate.range.high,
    )


def unmeasured(estimate: Estimate) -> _native.Channel:
    """The same where models are not used: present, without a reading."""
    return _native.Channel(
        id=estimate.id,
        domain=estimate.domain,
        device=estimate.device,
        quality=UNMEASURED,
        reason="no energy counter can be read, and models are not used",
    )


def on_bus(gpu: PciGpu, nvml_reason: str | None) -> _native.Channel:
    """A GPU that only the bus lists; ``nvml_reason``: why its driver gives nothing, if known."""
    if gpu.driver == "vfio-pci":
        reason = "it is handed to a virtual machine (driver vfio-pci)"
    elif gpu.vendor == "NVIDIA":
        reason = nvml_reason or "the NVIDIA driver's library does not list it"
    elif gpu.vendor in ("AMD", "Intel"):
        reason = f"no driver shows the power of this {gpu.vendor} GPU"
    else:
        reason = f"this version of pyprof reads no {gpu.vendor} GPU"
    return _native.Channel(
        id=f"pci-{gpu.address}",
        domain="gpu",
        device=f"{gpu.vendor} GPU {gpu.device_id:04x}",
        scope="devices",
        quality=UNMEASURED,
        reason=reason,
    )
