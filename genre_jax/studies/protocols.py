"""Define the protocols: what each measures, and the runs that it consists of.

A protocol is a list of entries. Each entry is a sweep over seeds and folds (`sweep_runs.py`) of one
network under one recipe. `protocol_runs.py` makes the runs, `results_single_label.py` and
`results_multi_label.py` compute the results, `results_page.py` writes the page.
"""

import dataclasses
import importlib
import pathlib

from ml_collections import ConfigDict

from genre_jax.studies import mfcc_reference, sweep_runs
from genre_jax.studies.sweep_tables import Member

OWN = "own recipe"


@dataclasses.dataclass(frozen=True)
class Entry:
  """A network under a recipe: one row of the results.

  Attributes:
    name: Name of the row; the folder of its runs is named after it.
    experiment: File of experiments/, without '.py'.
    seeds: Number of seeds.
    folds: Folds of a k-fold split; () without folds.
    fields: Config values, as flags give them.
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
    title: Title of its section of the page.
    description: Sentences on data, split and unit.
    data: File or folder in the corpus; '' for the whole corpus.
    split: Split that is evaluated, 'validation' or 'test'.
    unit: 'segment' or 'track'.
    entries: Its rows; the others are compared with the first.
    pairs: Further comparisons, (name of an entry, name of its control).
    primary: Comparisons that were planned before they were run, as in `pairs`.
    corpus: Name of the corpus, 'gtzan' or 'fsdd'.
    groups: Plural of what the bootstrap draws whole; '' if each row is its own group.
  """

  title: str
  description: str
  data: str
  split: str
  unit: str
  entries: tuple[Entry, ...]
  pairs: tuple[tuple[str, str], ...] = ()
  primary: tuple[tuple[str, str], ...] = ()
  corpus: str = "gtzan"
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
LEARNED_PAIR = ("split_cnn", "square_cnn")
FEW_NETWORKS = ("axis_features", "axis_features_2d", "baseline", "split_cnn", "square_cnn")


def _same_recipe(
  experiment: str, seeds: int, folds=(), networks=NETWORKS, **fields
) -> tuple[Entry, ...]:
  """Return entries of several networks under the recipe of one experiment."""
  fields = {name.replace("__", "."): value for name, value in fields.items()}
  return tuple(
    Entry(name, experiment, seeds, folds, {"model.name": name, **fields}) for name in networks
  )


def _learning_curve(experiment: str, epochs: int, parts=(1, 2, 4, 8)) -> tuple[Entry, ...]:
  """Return entries of two networks on parts of the training tracks, with equal updates."""
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


def _mfcc(experiment: str, folds=(), **fields) -> tuple[Entry, ...]:
  """Return the entry of the reference without a network, on the data of one experiment."""
  return _same_recipe(experiment, 1, folds, (mfcc_reference.NAME,), **fields)


PROTOCOLS = {
  "P1": Protocol(
    "P1: four genres, leaky split by segment",
    "Data: `log_mel.npz`, 15 segments of 2 s from each track. Split: `leaky_segments`, as in the"
    " published study: segments of one track are in train and in test. The accuracy measures how"
    " well a network recognizes tracks that it was trained on, not how well it classifies genres."
    " Unit: segments of the test split. Published, on 400 tracks at 40 frames a second: 92.66 %"
    " (split network) and 87.37 % (traditional CNN).",
    "log_mel.npz",
    "test",
    "segment",
    _same_recipe("leaky_tf_split", 3)
    + (
      Entry(f"published_baseline, {OWN}", "leaky_published_baseline", 5),
      Entry(f"published_tf_split, {OWN}", "leaky_published_tf_split", 3),
    ),
    pairs=(LEARNED_PAIR,),
  ),
  "P2": Protocol(
    "P2: four genres, no artist in two splits",
    "Data: `log_mel.npz`, the clips with an artist id. Split: `artist_kfold`, 5 folds. Each seed"
    " evaluates each clip once, with a network that was not trained on its artist. No checkpoint is"
    " chosen on the evaluated fold. The recipe, however, was chosen by cross-validation over the"
    " same clips in other folds, which biases these accuracies upward. Unit: tracks. The"
    " primary comparisons, planned before they were run, are those of a split by axis with its"
    " control: axis_features minus axis_features_2d, and split_cnn minus square_cnn. All other"
    " comparisons are exploratory.",
    "log_mel.npz",
    "test",
    "track",
    _same_recipe("axis_features", 5, (0, 1, 2, 3, 4), split__name="artist_kfold")
    + _mfcc("axis_features", (0, 1, 2, 3, 4), split__name="artist_kfold")
    + (
      Entry(
        f"published_baseline, {OWN}, fold 0",
        "leaky_published_baseline",
        3,
        (0,),
        {"split.name": "artist_kfold"},
      ),
      Entry(
        f"published_tf_split, {OWN}, fold 0",
        "leaky_published_tf_split",
        3,
        (0,),
        {"split.name": "artist_kfold"},
      ),
    ),
    primary=(("axis_features", "axis_features_2d"), LEARNED_PAIR),
  ),
  "P3": Protocol(
    "P3: ten genres, the fault-filtered lists",
    "Data: `log_mel.npz`. Split: `fault_filtered`, trained on its train list. Unit: tracks of the"
    " **validation list, which is the development set**: recipes were also compared on these"
    " tracks, which biases the accuracies upward. The test list is the final measure and is"
    " evaluated separately.",
    "log_mel.npz",
    "validation",
    "track",
    _same_recipe("axis_features_10", 5) + _mfcc("axis_features_10"),
    pairs=(LEARNED_PAIR,),
  ),
  "P4": Protocol(
    "P4: ten genres, real audio",
    "Data: the excerpts of `audio/`, most of 2 to 3 s. Segments are 2 s long, so that none is"
    " padded (`frontend.num_frames=26`). Split: `fault_filtered`. Unit: tracks of the"
    " **validation list, the development set**.",
    "audio",
    "validation",
    "track",
    _same_recipe("axis_features_10", 5, frontend__num_frames="26"),
    pairs=(LEARNED_PAIR,),
  ),
  "four": Protocol(
    "Four genres, the fault-filtered lists",
    "`experiments/axis_features.py` without changes, on `log_mel.npz`. Unit: tracks of the"
    " **validation list, the development set**. The test list is the final measure and is evaluated"
    " separately.",
    "log_mel.npz",
    "validation",
    "track",
    _same_recipe("axis_features", 5, networks=("axis_features", "axis_features_2d", "baseline")),
  ),
  "learning": Protocol(
    "Learning curve: ten genres, number of training tracks",
    "P3 with a share of the training clips of each genre, and the same number of updates for every"
    " share. Unit: tracks of the **validation list, the development set**.",
    "log_mel.npz",
    "validation",
    "track",
    _learning_curve("axis_features_10", 30),
  ),
  "digits": Protocol(
    "Spoken digits: new takes of known speakers",
    "Data: Free Spoken Digit Dataset, 8 kHz. Split: `takes`, trained on takes 10 to 49. Unit:"
    " recordings of **takes 5 to 9, the development set**. Takes 0 to 4 are evaluated separately.",
    "",
    "validation",
    "track",
    _same_recipe("spoken_digits", 3, networks=FEW_NETWORKS),
    corpus="fsdd",
    groups="",
  ),
  "speakers": Protocol(
    "Spoken digits: new speakers",
    "Data: Free Spoken Digit Dataset. Split: `speaker_kfold`. Each seed evaluates each of the six"
    " speakers once, with a network that was trained on the others. Unit: recordings. The interval"
    " is over six speakers, and therefore wide.",
    "",
    "test",
    "track",
    _same_recipe(
      "spoken_digits", 2, (0, 1, 2, 3, 4, 5), networks=FEW_NETWORKS, split__name="speaker_kfold"
    ),
    pairs=(LEARNED_PAIR,),
    corpus="fsdd",
    groups="speakers",
  ),
  "mixtures": Protocol(
    "Several genres in one clip: mixtures of two tracks",
    "Data: pairs of excerpts of `audio/` of different genres, mixed at random gains or joined end"
    " to end; a mixture has the labels of both. Split: the fault-filtered lists, so that no artist"
    " is in two splits. Unit: mixtures of two **validation** clips. Exact match: share of mixtures"
    " for which the labels above the thresholds are exactly the two true ones; the thresholds were"
    " chosen on these same clips. Top-2 match: share of mixtures for which the two true labels have"
    " the two highest probabilities, which needs no threshold. The number of epochs was chosen on"
    " these clips, too. All seeds and networks use the same mixtures. The validation split has few"
    " tracks: blues 13 (of 2 artists), classical 11 (of 1), country 23, disco 15, jazz 17 (of 2),"
    " metal 15, rock 3 (of 2) and pop 1, so that one track is in every mixture with pop. Hip-hop"
    " and reggae are absent.",
    "audio",
    "validation",
    "track",
    _same_recipe("mixtures", 3, networks=FEW_NETWORKS),
  ),
}


def fields_of(entry: Entry, data: pathlib.Path) -> dict[str, str]:
  """Return the values that an entry sets in its experiment, except seed and fold."""
  return {"dataset.path": str(data), "train.report": "False", **entry.fields}


def config_of(entry: Entry, data: pathlib.Path) -> ConfigDict:
  """Return the config that all runs of an entry share."""
  config = importlib.import_module(f"genre_jax.experiments.{entry.experiment}").get_config()
  return ConfigDict(sweep_runs.resolve(config, fields_of(entry, data)))


def members(entry: Entry, data: pathlib.Path) -> list[Member]:
  """Return all runs of an entry, ordered by seed, then by fold."""
  fields = {"seed": [str(seed) for seed in range(entry.seeds)]}
  if entry.folds:
    fields["split.fold"] = [str(fold) for fold in entry.folds]
  return sweep_runs.plan(config_of(entry, data), fields)


def entry_folder(folder: pathlib.Path, entry: Entry) -> pathlib.Path:
  """Return the folder of an entry's runs.

  Args:
    folder: Folder of the protocol.
    entry: One of the protocol's entries.
  """
  return folder / entry.name.replace(", ", "-").replace(" ", "_")
