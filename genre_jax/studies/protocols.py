"""The protocols of RESULTS.md: what each measures, and of which runs it is made.

A protocol is a list of entries, each a sweep over seeds and folds (`sweep_runs.py`) of one network
under one recipe; `protocol_tables.py` makes lines of finished runs, `protocol_runs.py` makes runs.
"""

import dataclasses
import importlib
import pathlib

from ml_collections import ConfigDict

from genre_jax.studies import sweep_runs
from genre_jax.studies.sweep_tables import Member

OWN = "own recipe"


@dataclasses.dataclass(frozen=True)
class Entry:
  """A network under a recipe: a line of RESULTS.md.

  Attributes:
    name: of the line and of the folder.
    experiment: file of experiments/, without '.py'.
    seeds: how many.
    folds: of a k-fold split; () without.
    fields: config values, as flags give them.
  """

  name: str
  experiment: str
  seeds: int
  folds: tuple[int, ...] = ()
  fields: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A way to measure.

  Attributes:
    title: of its part of RESULTS.md.
    description: sentences on data, split and what the figures are.
    data: file or folder beneath the corpus; '' for the whole of it.
    side: 'valid' or 'test'.
    unit: 'segment' or 'track'.
    entries: its lines; the first is what the others are compared with.
    primary: name of the entry of the comparison that was stated before any was run, or ''.
    corpus: where the corpus is, unless said otherwise.
    groups: what intervals draw whole, in the plural; '' where each row stands for itself.
  """

  title: str
  description: str
  data: str
  split: str
  unit: str
  entries: tuple[Entry, ...]
  primary: str = ""
  corpus: str = "../shared/gtzan"
  groups: str = "artists"


NETWORKS = (
  "axis_features",
  "axis_features_2d",
  "axis_features_time",
  "axis_features_frequency",
  "baseline",
  "published_baseline",
  "split_cnn",
  "square_cnn",
)
FEW_NETWORKS = ("axis_features", "axis_features_2d", "baseline", "split_cnn", "square_cnn")


def _same_recipe(
  experiment: str, seeds: int, folds=(), networks=NETWORKS, **fields
) -> tuple[Entry, ...]:
  """Networks under the recipe of one experiment."""
  fields = {name.replace("__", "."): value for name, value in fields.items()}
  return tuple(
    Entry(name, experiment, seeds, folds, {"model.name": name, **fields}) for name in networks
  )


def _learning_curve(experiment: str, epochs: int, parts=(1, 2, 4, 8)) -> tuple[Entry, ...]:
  """Two networks on a part of the training clips, with as many updates on each."""
  return tuple(
    Entry(
      f"{name}, 1 in {part} clips" if part > 1 else f"{name}, all clips",
      experiment,
      3,
      (),
      {"model.name": name, "split.train_share": str(1 / part), "train.epochs": str(epochs * part)},
    )
    for name in ("axis_features", "baseline")
    for part in parts
  )


PROTOCOLS = {
  "P1": Protocol(
    "P1 coursework: four genres, segments of one song on both sides",
    "Data: `log_mel.npz`, 15 segments of 2 s a song. Split: `leaky_segments`, which is the"
    " published study's: the accuracy says how well songs are recognized again, not how well"
    " genres are. Unit: segments of the test side. Published, on 400 songs at 40 frames a second:"
    " 92.66 (split network) and 87.37 (traditional CNN).",
    "log_mel.npz",
    "test",
    "segment",
    _same_recipe("leaky_tf_split", 5)
    + (
      Entry(f"published_baseline, {OWN}", "coursework_published_baseline", 5),
      Entry(f"published_tf_split, {OWN}", "coursework_published_tf_split", 3),
    ),
  ),
  "P2": Protocol(
    "P2: four genres, artists apart",
    "Data: `log_mel.npz`, the clips with an artist id. Split: `artist_kfold`, 5 folds; each clip"
    " is asked once a seed, by a network that has not heard its artist; no checkpoint is chosen"
    " on the fold that is asked. The recipe, though, was compared by cross-validation over the same"
    " clips in other folds (docs/results/notebook.md), which flatters."
    " Unit: tracks. The primary comparison, stated before it was run: axis_features minus"
    " axis_features_2d; all others are exploratory.",
    "log_mel.npz",
    "test",
    "track",
    _same_recipe("axis_features", 3, (0, 1, 2, 3, 4), split__name="artist_kfold")
    + (
      Entry(
        f"published_baseline, {OWN}, fold 0",
        "coursework_published_baseline",
        3,
        (0,),
        {"split.name": "artist_kfold"},
      ),
      Entry(
        f"published_tf_split, {OWN}, fold 0",
        "coursework_published_tf_split",
        1,
        (0,),
        {"split.name": "artist_kfold"},
      ),
    ),
    "axis_features_2d",
  ),
  "P3": Protocol(
    "P3: ten genres, the fault-filtered lists",
    "Data: `log_mel.npz`. Split: `fault_filtered`, trained on its train list. Unit: tracks of the"
    " **valid list, which is the development set**: recipes were compared on these clips too, and"
    " the figures flatter. The finding is the test list, measured apart.",
    "log_mel.npz",
    "validation",
    "track",
    _same_recipe("axis_features_10", 5),
  ),
  "P4": Protocol(
    "P4: ten genres, real audio",
    "Data: the excerpts of `audio/`, most of 2 to 3 s, with windows of 2 s so that none is padded"
    " (`frontend.num_frames=26`). Split: `fault_filtered`. Unit: tracks of the **valid list, the"
    " development set**.",
    "audio",
    "validation",
    "track",
    _same_recipe("axis_features_10", 5, frontend__num_frames="26"),
  ),
  "four": Protocol(
    "Four genres, the fault-filtered lists",
    "`experiments/tf_split.py` as it stands, on `log_mel.npz`. Unit: tracks of the **valid list,"
    " the development set**. The finding is the test list, measured apart.",
    "log_mel.npz",
    "validation",
    "track",
    _same_recipe("axis_features", 5, networks=("axis_features", "axis_features_2d", "baseline")),
  ),
  "learning": Protocol(
    "Learning curve: ten genres, how many songs are trained on",
    "P3 with a share of each genre's training clips, and as many updates whatever the share."
    " Unit: tracks of the **valid list, the development set**.",
    "log_mel.npz",
    "validation",
    "track",
    _learning_curve("axis_features_10", 30),
  ),
  "digits": Protocol(
    "Spoken digits: new takes of known speakers",
    "Data: Free Spoken Digit Dataset, 8 kHz. Split: `takes`, trained on takes 10 to 49. Unit:"
    " recordings of **takes 5 to 9, the development set**; takes 0 to 4 are measured apart.",
    "",
    "validation",
    "track",
    _same_recipe("spoken_digits", 3, networks=FEW_NETWORKS),
    corpus="../shared/fsdd",
    groups="",
  ),
  "speakers": Protocol(
    "Spoken digits: speakers who were never heard",
    "Data: Free Spoken Digit Dataset. Split: `speaker_kfold`; each of the six speakers is asked"
    " once a seed, by a network that has heard the others. Unit: recordings; the interval is over"
    " six speakers, and wide.",
    "",
    "test",
    "track",
    _same_recipe(
      "spoken_digits", 2, (0, 1, 2, 3, 4, 5), networks=FEW_NETWORKS, split__name="speaker_kfold"
    ),
    corpus="../shared/fsdd",
    groups="speakers",
  ),
  "mixtures": Protocol(
    "Several genres at once: mixtures of two songs",
    "Data: pairs of excerpts of `audio/` of different genres, mixed at random gains or joined end"
    " to end, labels united. Split: the fault-filtered lists, so that no artist is on both sides."
    " Unit: mixtures of two **valid** clips. Both found: the share of mixtures for which the genres"
    " above the thresholds, which were chosen on these same clips, are exactly the two that sound;"
    " both lead: the two genres have the two highest probabilities, which needs no threshold. The"
    " number of epochs was chosen on these clips too. All seeds and networks share the mixtures."
    " The valid side is few songs: blues 13 (of 2 artists), classical 11 (of 1), country 23,"
    " disco 15, jazz 17 (of 2), metal 15, rock 3 (of 2) and pop 1, so that one song is in every"
    " mixture with pop; hip-hop and reggae are absent.",
    "audio",
    "validation",
    "track",
    _same_recipe("mixtures", 3, networks=FEW_NETWORKS),
  ),
}


def fields_of(entry: Entry, data: pathlib.Path) -> dict[str, str]:
  """The values that are set in an entry's experiment, seed and fold apart."""
  return {"dataset.path": str(data), "train.report": "False", **entry.fields}


def config_of(entry: Entry, data: pathlib.Path) -> ConfigDict:
  """What all runs of an entry share."""
  config = importlib.import_module(f"experiments.{entry.experiment}").get_config()
  return ConfigDict(sweep_runs.resolve(config, fields_of(entry, data)))


def members(entry: Entry, data: pathlib.Path) -> list[Member]:
  """All runs of an entry, seed by seed."""
  fields = {"seed": [str(seed) for seed in range(entry.seeds)]}
  if entry.folds:
    fields["split.fold"] = [str(fold) for fold in entry.folds]
  return sweep_runs.plan(config_of(entry, data), fields)


def entry_folder(folder: pathlib.Path, entry: Entry) -> pathlib.Path:
  """Where an entry's runs lie."""
  return folder / entry.name.replace(", ", "-").replace(" ", "_")
