from collections import defaultdict
from importlib.metadata import version

from zeus.monitor import ZeusMonitor

VERSION = f"zeus {version('zeus')}"


class Meter:
    def __init__(self, device, channels, windows):
        gpus = [int(name[3:]) for name in channels] if device == "gpu" else []
        self.monitor = ZeusMonitor(gpu_indices=gpus, sync_execution_with="torch")
        self.device, self.joules = device, defaultdict(float)

    def begin(self, name):
        self.monitor.begin_window(name, sync_execution=False)

    def end(self, name):
        said = self.monitor.end_window(name, sync_execution=False)
        told = said.gpu_energy if self.device == "gpu" else said.cpu_energy
        if told is None:
            self.joules[name] = None
        elif self.joules[name] is not None:
            self.joules[name] += sum(told.values())

    def close(self):
        return dict(self.joules)
