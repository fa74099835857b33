from collections import defaultdict
from importlib.metadata import version

from codecarbon import OfflineEmissionsTracker

VERSION = f"codecarbon {version('codecarbon')}"


class Meter:
    def __init__(self, device, channels, windows):
        self.key = f"{device}_energy"
        self.tracker = OfflineEmissionsTracker(
            country_iso_code="FRA", save_to_file=False, log_level="error"
        )
        self.joules, self.tasks = defaultdict(float), 0
        self.tracker.start_task("first")  # it looks for the hardware at its first task
        self.tracker.stop_task()

    def begin(self, name):
        self.tasks += 1
        self.tracker.start_task(f"{name} {self.tasks}")

    def end(self, name):
        said = self.tracker.stop_task()
        self.joules[name] += getattr(said, self.key) * 3.6e6

    def close(self):
        self.tracker.stop()
        return dict(self.joules)
