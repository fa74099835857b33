from collections import defaultdict
from importlib.metadata import version

import codegreen

VERSION = f"codegreen {version('codegreen')}"


class Meter:
    def __init__(self, device, channels, windows):
        self.session = codegreen.Session("kit", save_to_file=False)
        self.session.start()
        self.word = "gpu" if device == "gpu" else "package"

    def begin(self, name):
        self.open = self.session.task(name)
        self.open.__enter__()

    def end(self, name):
        self.open.__exit__(None, None, None)

    def close(self):
        self.session.stop()
        joules = defaultdict(float)
        for task in self.tasks():
            told = [j for domain, j in task.domains.items() if self.word in domain.lower()]
            joules[task.name] += sum(told)
        return dict(joules)

    def tasks(self):
        tasks = self.session.tasks
        return tasks() if callable(tasks) else tasks
