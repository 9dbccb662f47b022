"""Run the published split network in Keras: logits, and seconds of training steps.

    .venv-bench/bin/python -m benchmarks.keras_original FOLDER BATCH STEPS

Reads FOLDER/weights.npz ('time_0/kernel' ...) and FOLDER/log_mel.npy, standardized segments. Writes
their logits to FOLDER/logits.npy and prints the seconds of each step as JSON. The suite
`time_to_accuracy` runs it.
"""

import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras  # noqa: E402
import numpy as np  # noqa: E402


def network(frames: int, bands: int, classes: int) -> keras.Model:
  """Return the network as the published notebook describes it."""
  layers = keras.layers
  x = start = keras.Input((frames, bands, 1))
  branches = []
  for name, kernel in (("time", (5, 1)), ("frequency", (1, 5))):
    y = x
    for i, channels in enumerate((64, 128)):
      y = layers.Conv2D(channels, kernel, padding="same", activation="relu", name=f"{name}_{i}")(y)
    branches.append(layers.Dropout(0.25)(layers.MaxPooling2D()(y)))
  x = layers.Concatenate()(branches)
  for i in range(2):
    x = layers.Conv2D(256, (5, 5), padding="same", activation="relu", name=f"merged_{i}")(x)
  x = layers.Flatten()(layers.Dropout(0.25)(layers.MaxPooling2D()(x)))
  x = layers.Dropout(0.5)(layers.Dense(50, activation="relu", name="hidden")(x))
  return keras.Model(start, layers.Dense(classes, name="logits")(x))


def main(folder: pathlib.Path, batch: int, steps: int) -> None:
  """Write the logits of the segments, then time training steps on copies of them."""
  log_mel = np.load(folder / "log_mel.npy")
  with np.load(folder / "weights.npz") as weights:
    model = network(*log_mel.shape[1:3], len(weights["logits/bias"]))
    for layer in model.layers:
      if layer.weights:
        layer.set_weights([weights[f"{layer.name}/{kind}"] for kind in ("kernel", "bias")])
  np.save(folder / "logits.npy", model.predict_on_batch(log_mel))
  model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  x = np.resize(log_mel, (batch, *log_mel.shape[1:]))
  labels, seconds = np.arange(batch) % 4, []
  for _ in range(steps + 1):
    begun = time.perf_counter()
    model.train_on_batch(x, labels)
    seconds.append(time.perf_counter() - begun)
  print(json.dumps(seconds[1:]))  # the first step compiles


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
