from collections import defaultdict
from importlib.metadata import version

from pyJoules.device import DeviceFactory
from pyJoules.device.nvidia_device import NvidiaGPUDomain
from pyJoules.device.rapl_device import RaplPackageDomain
from pyJoules.energy_meter import EnergyMeter

VERSION = f"pyJoules {version('pyJoules')}"


class Meter:
    def __init__(self, device, channels, windows):
        domain, self.unit_j = (
            (NvidiaGPUDomain, 1e-3) if device == "gpu" else (RaplPackageDomain, 1e-6)
        )
        numbers = [int(name.lstrip("gpuacke-")) for name in channels]
        self.meter = EnergyMeter(DeviceFactory.create_devices([domain(n) for n in numbers]))
        self.joules = defaultdict(float)

    def begin(self, name):
        self.meter.start(tag=name)

    def end(self, name):
        self.meter.stop()
        for sample in self.meter.get_trace():
            self.joules[name] += sum(sample.energy.values()) * self.unit_j

    def close(self):
        return dict(self.joules)
