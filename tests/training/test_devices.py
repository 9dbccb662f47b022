"""Test that the number of devices does not change a training."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

EIGHT = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
FIFTY_LOSSES = """
import jax, jax.numpy as jnp, ml_collections, numpy as np, optax
from genre_jax.models.registry import build_model
from genre_jax.training import steps
from genre_jax.errors import UserError

rng = np.random.default_rng(0)
labels = rng.integers(0, 2, 64)
batch = {"log_mel": rng.normal(size=(64, 24, 16, 1)) + labels[:, None, None, None],
         "num_frames": np.full(64, 24), "labels": np.eye(2)[labels],
         "label_mask": np.ones((64, 2)), "mask": np.ones(64, bool)}
model = build_model({"name": "baseline", "channels": (4, 8)}, 2, "float64")
tx = optax.adamw(1e-2)
config = ml_collections.ConfigDict({"seed": 0, "augment": {"mixup_alpha": 0.3}, "train": {
  "label_smoothing": 0.1, "ema_decay": 0.9}})
eight = steps.device_mesh()
one = jax.sharding.Mesh(eight.devices[:1], eight.axis_names)
sample = jnp.asarray(batch["log_mel"][:1])
initial = jax.tree.map(np.array, steps.create_state(model, tx, sample, 0, ema=True))
step = steps.make_train_step(model, tx, config)
for mesh in (one, eight):
  state = steps.replicate(initial, mesh)
  for _ in range(50):
    state, metrics = step(state, steps.shard_batch(batch, mesh))
    print(mesh.size, float(metrics["loss"]).hex())
"""


def test_eight_devices_and_one_give_the_same_losses(tmp_path):
  environment = {"JAX_ENABLE_X64": "1", "XLA_FLAGS": EIGHT}
  done = subprocess.run(
    [sys.executable, "-c", FIFTY_LOSSES],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
  )
  assert done.returncode == 0, done.stderr
  losses: dict[int, list[float]] = {1: [], 8: []}
  for line in done.stdout.splitlines():
    devices, loss = line.split()
    losses[int(devices)].append(float.fromhex(loss))
  assert len(losses[1]) == len(losses[8]) == 50
  assert losses[1][-1] < 0.9 * losses[1][0]
  np.testing.assert_allclose(losses[1], losses[8], rtol=0, atol=1e-8)
