from collections import defaultdict

import joules

VERSION = f"landauer-gap {joules.__version__}"


class Meter:
    def __init__(self, device, channels, windows):
        self.session = joules.Session(cpu=device == "cpu")
        self.word = "GPU" if device == "gpu" else "CPU"
        self.joules = defaultdict(float)

    def begin(self, name):
        self.open = self.session.phase(name)
        self.phase = self.open.__enter__()

    def end(self, name):
        self.open.__exit__(None, None, None)
        told = self.phase.devices or {}
        self.joules[name] += sum(j for device, j in told.items() if device.startswith(self.word))

    def close(self):
        self.session.close()
        return dict(self.joules)
