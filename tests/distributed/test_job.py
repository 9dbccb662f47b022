"""Test jobs: equal to `predict`, resumed, refused if changed, damaged files, a full disk."""

import json
import resource

import pytest

from genre_jax.distributed import manifest, partitions
from genre_jax.distributed.merge import merge
from genre_jax.distributed.tries import MOST_TRIES, Tries
from genre_jax.errors import UserError
from genre_jax.inference import load, predict_files
from genre_jax.inference.lines_writer import LinesWriter
from genre_jax.inference.model_dir import model_hash
from genre_jax.inference.output_lock import OutputLock
from genre_jax.inference.prediction_rows import columns
from tests.inference.conftest import write_small_model


class Death(BaseException):
  """Stands for the end of the process."""


def interrupted(engine, after):
  """Return an engine that ends after some partitions."""

  def predict_some(work, rest):
    for done, number in enumerate(engine(work, rest), 1):
      yield number
      if done == after:
        raise Death

  return predict_some


def test_a_resumed_job_equals_predict(tmp_path, run, songs, model, calls):
  (songs / "bad.wav").write_text("words")
  (songs / "empty").mkdir()
  paths = songs, songs / "absent.mp3", songs / "empty"
  with pytest.raises(Death):
    run(*paths, engine=interrupted(run.engine, 2), timeline=True)
  first = {path: path.stat() for path in (tmp_path / "work" / "partitions").iterdir()}
  assert len(first) == 2
  (tmp_path / "work" / "partitions" / ".000009.jsonl.host.1.tmp").write_text("half")
  summary = run(timeline=True)  # the files of the manifest
  assert (summary.files, summary.partitions, summary.earlier, summary.failed) == (7, 4, 2, 3)
  reasons = {file.rpartition("/")[2]: error for file, error in summary.failures}
  assert "no such file" in reasons["absent.mp3"] and "without music" in reasons["empty"]
  assert len(list((tmp_path / "work" / "partitions").iterdir())) == 4
  assert all(path.stat() == stat for path, stat in first.items())
  assert not list((tmp_path / "work" / "tries").iterdir())

  names = columns(model.classes, True)
  found = predict_files.find_files(paths)
  expected = predict_files.predict_found(found, model, workers=1, timeline=True, calls=calls)
  expected = sorted(expected, key=lambda prediction: prediction.path)
  for kind in ("csv", "jsonl"):
    writer = LinesWriter(tmp_path / f"expected.{kind}", kind, names, True)
    for prediction in expected:
      writer.write(prediction)
    writer.close()
    assert merge(tmp_path / "work", tmp_path / f"a.{kind}", num_failures=2).failed == 3
    merged = (tmp_path / f"a.{kind}").read_text()
    assert merged == (tmp_path / f"expected.{kind}").read_text() and merged.count("songs/") >= 7
  assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_failed_files_are_tried_again(tmp_path, run, songs):
  sound = (songs / "b.flac").read_bytes()
  (songs / "b.flac").write_text("words")
  assert run(songs).failed == 1
  (songs / "b.flac").write_bytes(sound)
  before = partitions.partition_path(tmp_path / "work", 1).stat()
  assert run(songs).failed == 1
  summary = run(songs, retry=True)
  assert (summary.partitions, summary.earlier, summary.failed) == (2, 1, 0)
  assert partitions.partition_path(tmp_path / "work", 1).stat() == before
  assert run(songs, retry=True).earlier == 2


def test_merge_writes_parquet(tmp_path, run, songs, model):
  parquet = pytest.importorskip("pyarrow.parquet")
  run(songs, partition_files=9)
  merge(tmp_path / "work", tmp_path / "a.parquet", num_failures=2)
  rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
  assert len(rows) == 4 and list(rows[0]) == columns(model.classes, False)


def test_a_changed_manifest_is_refused(tmp_path, run, songs):
  run(songs / "a.wav", songs / "b.flac")
  before = (tmp_path / "work" / "manifest.jsonl").read_bytes()
  other = load(str(write_small_model(tmp_path, "other", classes=("x", "y"))))
  for arguments, settings, words in (
    ([songs / "a.wav"], {}, ["1 files missing (", "b.flac"]),
    ([songs], {}, ["2 files added (", "c.wav", "d.wav"]),
    ([], {"partition_files": 3}, ["partition_files is 2, now 3"]),
    ([], {"segments": 1}, ["segments is not given, now 1"]),
    ([], {"chosen": other}, ["model is small, now other", "another model (sha256 ", "classes"]),
  ):
    with pytest.raises(UserError) as error:
      run(*arguments, **settings)
    assert all(word in str(error.value) for word in ["manifest.jsonl was made from", *words])
  assert (tmp_path / "work" / "manifest.jsonl").read_bytes() == before
  assert run(songs / "b.flac", songs / "a.wav").earlier == 1


def test_a_hash_of_a_model_names_its_weights_and_its_front_end(tmp_path, model):
  assert model_hash(model) == model_hash(model)
  warmer = load(str(write_small_model(tmp_path, "warmer", temperature=2.0)))
  assert model_hash(warmer) != model_hash(model)


def test_one_command_at_a_time(tmp_path, run, songs):
  (tmp_path / "work").mkdir()
  lock = OutputLock(tmp_path / "work" / manifest.NAME)
  with pytest.raises(UserError, match="being written by another command"):
    run(songs)
  lock.release()


@pytest.mark.parametrize(
  ("name", "change", "words"),
  [
    ("manifest.jsonl", lambda text: "", "damaged"),
    ("manifest.jsonl", lambda text: "[1]\n", "damaged"),
    ("manifest.jsonl", lambda text: text.rpartition("[")[0], "damaged"),
    ("manifest.jsonl", lambda text: text.replace('"files": 2', '"files": 1'), "damaged"),
    ("manifest.jsonl", lambda text: text.replace('"segments": null', '"segments": "x"'), "x"),
    (
      "manifest.jsonl",
      lambda text: text.replace('"format_version": 1', '"format_version": 9'),
      "9",
    ),
    ("partitions/000000.jsonl", lambda text: "", "damaged"),
    ("partitions/000000.jsonl", lambda text: "null\n", "damaged"),
    ("partitions/000000.jsonl", lambda text: "[" * 100_000, "damaged"),
    ("partitions/000000.jsonl", lambda text: text.rpartition("\n{")[0], "1 of 2 rows"),
    ("partitions/000000.jsonl", lambda text: text.replace("a.wav", "z.wav"), "a.wav is missing"),
    ("partitions/000000.jsonl", lambda text: text.replace("sha256", "sha"), "damaged"),
    ("partitions/000000.jsonl", lambda text: text.replace('"p_calm"', '"q"'), "damaged"),
  ],
)
def test_damaged_files_are_named(tmp_path, run, songs, name, change, words):
  def write_made_up_rows(work, rest):
    for number, files in rest:
      header = {"manifest_sha256": work.manifest_sha256, "partition": number}
      values = {"status": "ok", "model": "small", "genre": "calm", "confidence": 1}
      values |= {"p_calm": 1, "p_loud": 0, "p_odd": 0, "error": None, "note": None}
      lines = [header | {"files": len(files), "failed": 0}]
      lines += [{"file": path, **values} for path, _ in files]
      text = "".join(json.dumps(line) + "\n" for line in lines)
      partitions.partition_path(work.directory, number).write_text(text)
      yield number

  run(songs / "a.wav", songs / "b.flac", engine=write_made_up_rows)
  path = tmp_path / "work" / name
  path.write_text(change(path.read_text()))
  with pytest.raises(UserError, match=words) as error:
    merge(tmp_path / "work", tmp_path / "a.csv", num_failures=2)
  assert str(path) in str(error.value) and not (tmp_path / "a.csv").exists()


def test_merge_refuses(tmp_path, run, songs):
  with pytest.raises(UserError, match="is not a job"):
    merge(tmp_path, tmp_path / "a.csv", num_failures=2)
  with pytest.raises(UserError, match="there is no job"):
    run()
  assert not (tmp_path / "work").exists()
  with pytest.raises(Death):
    run(songs, engine=interrupted(run.engine, 1))
  with pytest.raises(UserError, match="1 of 2 partitions are missing, as number 1"):
    merge(tmp_path / "work", tmp_path / "a.csv", num_failures=2)
  with pytest.raises(UserError, match="a.txt: end the name in"):
    merge(tmp_path / "work", tmp_path / "a.txt", num_failures=2)
  (tmp_path / "a.csv").write_text("mine")
  with pytest.raises(UserError, match="a.csv exists"):
    merge(tmp_path / "work", tmp_path / "a.csv", num_failures=2)
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="file is a file: give the folder of the job"):
    merge(tmp_path / "file", tmp_path / "b.csv", num_failures=2)


def test_two_merges_into_one_file(tmp_path, run, songs):
  run(songs)
  lock = OutputLock(tmp_path / "a.csv")
  (tmp_path / ".a.csv.tmp").write_text("of the other command")
  with pytest.raises(UserError, match=r"/a\.csv is being written by another command"):
    merge(tmp_path / "work", tmp_path / "a.csv", num_failures=2)
  assert (tmp_path / ".a.csv.tmp").read_text() == "of the other command"
  lock.release()
  merge(tmp_path / "work", tmp_path / "a.csv", num_failures=2)
  assert (tmp_path / "a.csv").exists()


def test_a_lost_manifest_is_written_again(run, songs, tmp_path):
  run(songs)
  path = tmp_path / "work" / "manifest.jsonl"
  before = path.read_bytes()
  path.write_bytes(before[:-5])
  with pytest.raises(UserError, match="is damaged .*: delete it, then repeat the first command"):
    run(songs)
  path.unlink()
  summary = run(songs)
  assert path.read_bytes() == before and summary.earlier == summary.partitions == 2
  path.unlink()
  with pytest.raises(UserError, match="manifest_sha256"):  # another job
    run(songs, min_confidence=0.5)


def test_a_file_that_ends_the_process_costs_one_row(run, songs, monkeypatch):
  """Two tries of the partition, two of the file alone, then a failure."""
  tried = []

  def deadly(files, *arguments, **keywords):
    tried.append([path.rpartition("/")[2] for path, _ in files])
    if any(path.endswith("b.flac") for path, _ in files):
      raise Death
    return real(files, *arguments, **keywords)

  real = partitions.predict_found
  monkeypatch.setattr(partitions, "predict_found", deadly)
  for _ in range(2 * MOST_TRIES):
    with pytest.raises(Death):
      run(songs, partition_files=9)
  summary = run(songs, partition_files=9)
  assert summary.failed == 1 and summary.failures[0][0].endswith("b.flac")
  assert "ended the process" in summary.failures[0][1]
  alone = [["a.wav"], ["b.flac"]]
  assert tried[2:] == [*alone, *alone, ["a.wav"], ["c.wav"], ["d.wav"]] and len(tried[1]) == 4


def test_an_interruption_is_no_try(tmp_path, run, songs, monkeypatch):
  def interrupt(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(partitions, "predict_found", interrupt)
  for _ in range(MOST_TRIES + 1):
    with pytest.raises(KeyboardInterrupt):
      run(songs)
    assert not list((tmp_path / "work" / "tries").iterdir())


def test_notes_on_tries_can_be_anything(tmp_path):
  (tmp_path / "000000").write_bytes(b"7\n\xff\nstart\nx\n99999999999\n3\nstart\n3\nsta")
  tries = Tries(tmp_path / "000000")
  assert tries.file_by_file and tries.deadly == {3}


def test_a_full_disk(tmp_path, run, songs):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  with pytest.raises(Death):
    run(songs, engine=interrupted(run.engine, 1))

  def on_a_full_disk(work, rest):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
      yield from run.engine(work, rest)
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, limits)

  with pytest.raises(UserError, match="000001.jsonl: cannot be written .*: make space"):
    run(songs, engine=on_a_full_disk)
  assert len(list((tmp_path / "work" / "partitions").iterdir())) == 1
  assert run(songs).earlier == 1
