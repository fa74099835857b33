import pyprof as package

VERSION = f"pyprof {package.__version__}"


class Meter:
    def __init__(self, device, channels, windows):
        self.profiler = package.Profiler(model=False, baseline="none")
        self.profiler.start()

    def begin(self, name):
        self.open = self.profiler.stage(name).__enter__()

    def end(self, name):
        self.open.__exit__(None, None, None)

    def close(self):
        self.profiler.stop()
        rows = [row for row in self.profiler.report().stage_rows if row.path]
        return {row.path: self.told(row) for row in rows}

    def told(self, row):
        if row.solved:  # known from its repeats, with an interval of their own
            parts = [(each.energy_j, each.low_j, each.high_j) for each in row.solved]
            return [*map(sum, zip(*parts, strict=False)), True]
        return None if row.energy_j is None else [row.energy_j, row.low_j, row.high_j, row.resolved]
