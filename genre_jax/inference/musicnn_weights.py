"""Convert the published musicnn weights.

The package musicnn cannot be installed beside current NumPy and TensorFlow. Its wheel contains
TensorFlow 1 checkpoints, which are read as data.
"""

import ast
import zipfile
from typing import Any

import numpy as np

from genre_jax.errors import UserError
from genre_jax.files import archive_member
from genre_jax.inference.model_dir import sizes_of
from genre_jax.inference.published import PUBLISHED
from genre_jax.inference.tf_checkpoint import read_checkpoint, to_flax
from genre_jax.models.musicnn import FRONTEND, Musicnn

# Probability from which a tag counts. Most tags are rare and seldom reach 0.5. The package musicnn
# itself returns the three most probable tags of a track, whatever their probabilities.
THRESHOLD = 0.2

CITATION = (
  "Jordi Pons and Xavier Serra (2019): musicnn: Pre-trained convolutional neural networks"
  " for music audio tagging. Late-breaking/demo session of ISMIR 2019, arXiv 1909.06654."
)


def convert(
  archive: zipfile.ZipFile, name: str
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, bytes]]:
  """Read the weights of a wheel.

  Args:
    archive: The wheel.
    name: Name of the model in PUBLISHED.

  Returns:
    Description, weights and further files of a model directory.

  Raises:
    KeyError: If the wheel lacks a file.
    UserError: If a file is damaged.
  """
  published = PUBLISHED[name]
  version = published.wheel.requirement.split("==")[1]
  tags = read_tags(archive_member(archive, "musicnn/configuration.py"), published.tags)
  license = archive_member(archive, f"musicnn-{version}.dist-info/LICENSE.md")
  variables = read_checkpoint(
    *(
      archive_member(archive, f"musicnn/{published.folder}/{part}")
      for part in (".index", ".data-00000-of-00001")
    )
  )
  model = Musicnn(num_classes=len(tags))
  metadata = {
    "model": {"name": "musicnn", **sizes_of(model)},
    "frontend": FRONTEND.to_dict(),
    "classes": tags,
    "thresholds": [THRESHOLD] * len(tags),
    "provenance": {
      "source": "the Python package musicnn",
      "version": version,
      "checkpoint": published.folder,
      "license": "ISC",
      "license_file": "LICENSE",
      "citation": CITATION,
    },
  }
  return metadata, to_flax(variables, model, FRONTEND), {"LICENSE": license}


def read_tags(source: bytes, variable: str) -> list[str]:
  """Return the list of strings that Python source assigns to a variable, without executing it."""
  try:
    for node in ast.parse(source).body:
      if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [variable]:
        tags = ast.literal_eval(node.value)
        if isinstance(tags, list) and tags and all(isinstance(tag, str) for tag in tags):
          return tags
  except (SyntaxError, ValueError):
    pass
  raise UserError(f"the wheel's configuration contains no list of tags named {variable}")
