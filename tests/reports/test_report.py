"""Test that the report is one complete file and that its failure does not fail the run."""

import base64
import re
import xml.etree.ElementTree

import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.evaluation.metrics import Predictions
from genre_jax.experiments import base
from genre_jax.reports import examples, plots, report
from genre_jax.studies import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  """Return the report of a run of two epochs on an archive of louder low or louder high bands."""
  folder = tmp_path_factory.mktemp("data")
  rng = np.random.default_rng(0)
  names = [f"{genre}.{4 * i:05d}" for genre in ("disco", "metal") for i in range(24)]
  level = rng.integers(0, 120, (48, 16, 40))
  level[:24, :8] += 40
  level[24:, 8:] += 40
  np.savez(folder / "archive.npz", log_mel=level.astype(np.uint8), names=np.array(names))
  config = base.get_config()
  config.dataset.path = str(folder / "archive.npz")
  config.dataset.prepared_dir = str(folder / "prepared")
  config.dataset.clip_seconds = 40 / 12.9
  config.dataset.genres = "all"
  config.dataset.workers = 1
  config.frontend.n_mels = 16
  config.frontend.num_frames = 16
  config.split.name = "random_tracks"
  config.split.num_folds = 4
  config.model.name = "baseline"
  with config.unlocked():
    config.model.channels = (4, 8)
  config.train.batch_size = 16
  config.train.epochs = 2
  workdir = tmp_path_factory.mktemp("run<1>&")
  run.train_and_evaluate(config, str(workdir))
  return (workdir / "eval" / "report.html").read_text(encoding="utf-8")


def test_the_page_has_no_external_resources(page):
  assert not re.search(r"<script|<link|<iframe|@import|url\(", page)
  sources = re.findall(r'<img src="([^"]*)" alt="([^"]+)"', page)
  assert len(sources) == page.count("<img") > 15
  for source, _ in sources:
    kind, _, content = source.partition(";base64,")
    assert kind == "data:image/svg+xml"
    picture = base64.b64decode(content).decode()
    assert xml.etree.ElementTree.fromstring(picture).tag.endswith("svg")
    assert not re.search(r'href="(?!data:|#)', picture), "a picture refers to another file"
  assert len(page) < 6_000_000


def test_the_page_contains_every_chapter(page):
  for words in (
    "Learning curves",
    "Validation split",
    "Test split",
    "Confusion matrices",
    "Calibration",
    "Most confused tracks",
    "<h3>Grad-CAM</h3>",
    "Brier",
    "ECE",
    "NLL",
    "95&nbsp;%",
    "By genre",
    "random_tracks",
    "recall %",
    "Grad-CAM of ",
  ):
    assert words in page, words
  assert "run<1>" not in page, "names are escaped"
  pictures = [
    base64.b64decode(source).decode() for source in re.findall(r"svg\+xml;base64,([^\"]*)", page)
  ]
  assert any(">Hz<" in picture and ">seconds<" in picture for picture in pictures)
  assert len({re.sub(r"\s", "", picture) for picture in pictures}) == len(pictures)


def test_the_same_numbers_give_the_same_picture():
  counts = np.array([[3, 1], [0, 4]])
  first = plots.confusion(counts, ("a", "b"), "tracks")
  assert plots.confusion(counts, ("a", "b"), "tracks") == first


def test_a_failure_prints_a_notice_and_keeps_the_results(tmp_path, capsys):
  results = tmp_path / "eval" / "test.json"
  results.parent.mkdir()
  results.write_text("{}")
  predictions = Predictions(("a",), ("a",), np.zeros(1, int), np.ones((1, 1)), ("x",))
  report.write_report(None, tmp_path, None, {"test": predictions}, None, None)
  out = capsys.readouterr().out
  assert (
    "no report: AttributeError at report.py" in out
    and "the metrics and predictions are written" in out
  )
  assert [path.name for path in results.parent.iterdir()] == ["test.json"]


def test_choice_of_tracks_and_segments():
  probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.4, 0.6], [0.3, 0.7]])
  labels = np.array([0, 0, 0, 1, 1])
  tracks = Predictions(tuple("abcde"), tuple("abcde"), labels, probabilities, ("x", "y"))
  assert examples.most_confused(tracks).tolist() == [1, 2, 3, 4, 0]
  assert examples.most_confident(tracks) == [
    (0, True, 0),
    (0, False, 1),
    (1, True, 4),
    (1, False, None),
  ]
  segments = Predictions(
    tuple("aabb"),
    tuple("aabb"),
    np.zeros(4, int),
    np.array([[0.8, 0.2], [1.0, 0.0], [0.3, 0.7], [0.1, 0.9]]),
    ("x", "y"),
  )
  name, label, prediction, start, probabilities = examples.segment_for(
    segments, np.array([0, 64, 0, 64]), tracks, 1
  )
  assert (name, label, prediction, start, probabilities.tolist()) == ("b", 0, 1, 64, [0.1, 0.9])


def test_curves_without_validation_and_log_mels_without_bounds_can_be_drawn():
  lines = [{"step": 5, "epoch": 1, "train/loss": 1.0, "train/accuracy": 0.5}]
  assert len(plots.learning_curves(lines, 5)) == 2
  frontend = FrontendConfig(compression="log10_10000", frame_stride=1.0)
  assert plots.scale_of(frontend) == (None, None)
  assert plots.scale_of(FrontendConfig()) == (-80.0, 0.0)
  example = examples.Example(
    "a" * 200,
    0,
    0,
    np.array([1.0, 0.0]),
    np.random.default_rng(0).random((50, 128)),
    times=np.array([1.0]),
    along=np.array([[1.0, 0.0]]),
    heats={"time": np.zeros((50, 128))},
  )
  assert plots.track(example, ("a", "b"), frontend).startswith("data:image/svg+xml")
  assert plots.heat(example, frontend).startswith("data:image/svg+xml")
