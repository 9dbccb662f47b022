"""Write the sections of the results page that programs in benchmarks/ compute.

`benchmarks/musicnn.py` stores results/musicnn.json, `benchmarks/transfer.py` results/transfer.json.
"""

from collections.abc import Callable
from typing import Any

from genre_jax.studies.markdown import paragraphs, percent, table

PARITY_KEYS = ("same_input", "waveform", "waveform_float16")
PARITY = (
  "`python -m benchmarks.musicnn` computes this section: the largest difference of 50 tags between"
  " the Flax network and the original TensorFlow 1 graph on {clips} real clips, 3 s of each. The"
  " original rounds mel power to float16 before the logarithm, and this project does not. The last"
  " column shows the effect of this rounding. `classical` is not one of the 50 tags of the Million"
  " Song Dataset."
)
TRANSFER = (
  "`python -m benchmarks.transfer` computes this section. Data: the excerpts of `audio/`. Trained"
  " on {train} clips of the `fault_filtered` train list, evaluated on its validation list, the"
  " development set. {long} of its {validation} clips are 15 s or longer, the others 2 to 3 s.",
  "musicnn was trained on the Million Song Dataset, which may contain GTZAN's recordings. These"
  " accuracies measure what transfer gives here, not how well it classifies unknown tracks."
  " Published on the official test list with full clips, ten genres: 77.2 % (musicnn features,"
  " SVM). The validation list was used twelve times to choose features and penalties, which biases"
  " the accuracies of the probes upward.",
  "Interval of an accuracy: Wilson's at the effective number of artists, of the mean over seeds."
  " Interval of a difference: bootstrap over artists and seeds.",
  "Length and genre are related: the longer excerpts are of six genres. The first probe is"
  " evaluated on the unchanged clip. The second probe, and what builds on it, is evaluated on five"
  " versions of a clip, with changed gain and speed. Both use all half-overlapping segments. The"
  " validation list has eight of the ten genres here: blues 13 tracks, classical 11 (of 1 artist),"
  " country 23, disco 15, jazz 17, metal 15, rock 3, pop 1.",
)


def musicnn_section(results: dict[str, Any]) -> str:
  """Return the section on parity with the original musicnn.

  Args:
    results: Content of results/musicnn.json: clips (number), parity (list of weights,
      same_input, waveform and waveform_float16, largest differences), tags ({clip: {tag:
      probability}}).
  """
  parity = [
    (row["weights"], *(f"{row[key]:.1e}" for key in PARITY_KEYS)) for row in results["parity"]
  ]
  tags = [
    (clip, ", ".join(f"{tag} {probability:.2f}" for tag, probability in found.items()))
    for clip, found in results["tags"].items()
  ]
  parts = [
    "## musicnn: parity and tags",
    paragraphs(PARITY.format(clips=results["clips"])),
    table(
      ("weights", "same input", "waveform, no rounding", "waveform, original rounding"), parity
    ),
    paragraphs(
      "Highest tags of `predict --model=musicnn_msd` for the first longer clip of five genres:"
    ),
    table(("clip", "tags"), tags),
  ]
  return "\n\n".join(parts) + "\n"


def transfer_section(results: dict[str, Any]) -> str:
  """Return the section on transfer from musicnn.

  Args:
    results: Content of results/transfer.json: clips (numbers of train, validation, long and
      short), rows (entry, seeds and metrics accuracy, accuracy_long, accuracy_short) and
      differences (reference, entry, metrics).
  """
  clips = results["clips"]
  rows = [
    (
      row["entry"],
      row["seeds"],
      *(percent(row["metrics"][key]) for key in ("accuracy", "accuracy_long", "accuracy_short")),
    )
    for row in results["rows"]
  ]
  parts = [
    "## Transfer from another dataset",
    paragraphs(*(text.format(**clips) for text in TRANSFER)),
    table(
      (
        "network",
        "seeds",
        f"validation n = {clips['validation']}",
        f"15 s and longer, n = {clips['long']}",
        f"2 to 3 s, n = {clips['short']}",
      ),
      rows,
    ),
  ]
  for reference in dict.fromkeys(item["reference"] for item in results["differences"]):
    parts.append(
      table(
        (f"{reference} minus", "points [95 %]"),
        [
          (item["entry"], percent(item["metrics"]["accuracy"], "+"))
          for item in results["differences"]
          if item["reference"] == reference
        ],
      )
    )
  return "\n\n".join(parts) + "\n"


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
  "musicnn": musicnn_section,
  "transfer": transfer_section,
}
