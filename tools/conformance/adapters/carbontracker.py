import tempfile
from importlib.metadata import version

from carbontracker import constants, parser
from carbontracker.tracker import CarbonTracker

VERSION = f"carbontracker {version('carbontracker')}"
TELLS_STAGES = False  # an epoch has no name


class Meter:  # its unit of work is an epoch; PUE is taken out of what it says again
    def __init__(self, device, channels, windows):
        self.folder = tempfile.mkdtemp()
        self.tracker = CarbonTracker(
            epochs=windows,
            epochs_before_pred=0,
            monitor_epochs=-1,
            log_dir=self.folder,
            components=device,
            verbose=0,
            decimal_precision=9,
        )

    def begin(self, name):
        self.tracker.epoch_start()

    def end(self, name):
        self.tracker.epoch_end()

    def close(self):
        self.tracker.stop()
        (log,) = parser.parse_all_logs(self.folder)
        return {"all": log["actual"]["energy (kWh)"] * 3.6e6 / constants.PUE_2023}
