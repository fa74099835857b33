"""Trains a small network on the handwritten digits that scikit-learn ships, in marked stages.

Run it under the profiler: ``pyprof run --zone FR -- python tools/demo/train_digits.py``. Without
the profiler the marks do nothing. ``--seconds`` says about how long it trains.
"""

from __future__ import annotations

import argparse
import time
import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import pyprof


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="time for training (default: 6)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)

    with pyprof.stage("load", phase="development"):
        images, labels = load_digits(return_X_y=True)
        train_x, test_x, train_y, test_y = train_test_split(images, labels, random_state=0)
        scaler = StandardScaler().fit(train_x)
        train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)

    model = MLPClassifier((128, 64), max_iter=1, warm_start=True, random_state=0)
    epochs, accuracy = 0, 0.0
    deadline = time.monotonic() + arguments.seconds
    with pyprof.stage("train"):
        while time.monotonic() < deadline:
            with pyprof.stage("epochs"):
                for _ in range(20):
                    model.fit(train_x, train_y)
                    epochs += 1
            with pyprof.stage("validate"):
                accuracy = max(accuracy, float(model.score(test_x, test_y)))

    with pyprof.stage("serve", phase="deployment"):
        for _ in range(200):
            model.predict(test_x[:64])
    print(f"{epochs} epochs, accuracy {accuracy:.3f} on {len(test_y)} unseen digits")


if __name__ == "__main__":
    main()
