"""Convert predictions to rows of JSON, CSV and Parquet files, and check rows of earlier runs."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from genre_jax.errors import UserError
from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import Prediction, Span
from genre_jax.old_names import MODEL_DIRECTORIES

Row = dict[str, Any]


def columns(classes: Iterable[str], timeline: bool) -> list[str]:
  """Return the column names of CSV and Parquet files.

  Args:
    classes: The classes of the model.
    timeline: Whether predictions have a timeline.
  """
  span = ["start", "end"] if timeline else []
  return [
    "file",
    *span,
    "status",
    "model",
    "genre",
    "confidence",
    *(f"p_{name}" for name in classes),
    "error",
    "note",
  ]


def flat_rows(prediction: Prediction, timeline: bool) -> list[Row]:
  """Return the CSV or Parquet rows of a prediction: the track, then each span of its timeline."""
  common = {
    "file": prediction.file,
    "status": prediction.status,
    "model": prediction.model,
    "error": prediction.error or None,
    "note": prediction.note or None,
  }
  rows: list[Row] = []
  parts: tuple[Prediction | Span, ...] = (
    prediction,
    *(prediction.timeline if timeline else ()),
  )
  for part in parts:
    row = {
      **common,
      "genre": part.genre or None,
      "confidence": _rounded(part.confidence),
      **_probability_columns(part.probabilities),
    }
    if isinstance(part, Span):
      row |= {"start": round(part.start, 3), "end": round(part.end, 3)}
    rows.append(row)
  return rows


def json_row(prediction: Prediction, timeline: bool) -> Row:
  """Return a prediction as one JSON object, which contains its timeline as a list."""
  row = {
    "file": prediction.file,
    "status": prediction.status,
    "model": prediction.model,
    "genre": prediction.genre or None,
    "confidence": _rounded(prediction.confidence),
    **_probability_columns(prediction.probabilities),
    "error": prediction.error or None,
    "note": prediction.note or None,
  }
  if timeline:
    row["timeline"] = [
      {
        "start": round(span.start, 3),
        "end": round(span.end, 3),
        "genre": span.genre,
        "confidence": _rounded(span.confidence),
        **_probability_columns(span.probabilities),
      }
      for span in prediction.timeline
    ]
  return row


def embedding_rows(prediction: Prediction) -> list[Row]:
  """Return the row of a track's embedding; [] for a failed prediction."""
  if prediction.embedding is None:
    return []
  return [
    {
      "file": prediction.file,
      "model": prediction.model,
      "embedding": prediction.embedding.tolist(),
    }
  ]


def _probability_columns(probabilities):
  return {f"p_{name}": _rounded(value) for name, value in probabilities.items()}


def _rounded(value):
  return None if value is None else round(value, 6)


def track_rows(rows: Iterable[Row]) -> dict[str, Row]:
  """Return {file: row of the track}; the rows of a timeline come after it and are left out."""
  tracks: dict[str, Row] = {}
  for row in rows:
    tracks.setdefault(row["file"], row)
  return tracks


def _current_name(model: str) -> str:
  """Return the name of a model, the present one if it is a packaged model's earlier name."""
  return MODEL_DIRECTORIES.get(model, model)


def check_continued(existing: dict[str, Row], model: Model, min_confidence: float) -> None:
  """Check that the rows of an earlier run have the same model and --min_confidence.

  Args:
    existing: The rows of tracks in a file that is to be continued.
    model: The model of this run.
    min_confidence: The --min_confidence of this run.

  Raises:
    UserError: If a row has another model, or a label that these flags would not give.
  """
  for row in existing.values():
    if _current_name(row["model"]) != _current_name(model.name):
      raise UserError(
        f"--out or --embeddings contains predictions of the model {row['model']}: give another file"
        f" for those of {model.name}"
      )
    if "genre" in row and row["status"] == "ok":
      probabilities = np.array([float(row[f"p_{name}"]) for name in model.classes])
      # Files contain six decimals: allow for rounding in either direction.
      labels = {
        model.decide_label(probabilities + change, min_confidence)[0] for change in (-1e-6, 0, 1e-6)
      }
      if row["genre"] not in labels:
        raise UserError(
          f"--out contains the prediction {row['genre']} with confidence {row['confidence']:.2f},"
          f" which --min_confidence={min_confidence:g} does not give: give the value of the earlier"
          " run, or another file"
        )
