"""The audit: facts of clips, the report and the page."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from genre_jax.data.audit import clip_facts, clip_survey
from genre_jax.data.audit import page as audit_page
from genre_jax.data.audit import report as audit_report
from genre_jax.data.audit.clip_facts import ClipFacts, examine
from genre_jax.data.audit.landmarks import DENSE, VERSION
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.source import AudioFileReader, Clip, Source
from genre_jax.data.sources.registry import open_source
from genre_jax.data.sources.synthetic import synthesize
from genre_jax.data.split_assignment import SplitAssignment

RATE = 22050


def facts_of(path, samples=None, rate=RATE, **options):
  """Return the facts of a file, which is written first if samples are given."""
  if samples is not None:
    soundfile.write(path, samples, rate, **options)
  return examine(AudioFileReader(), Clip("x", "g", ("x",), str(path)), DENSE)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
  """DIR/GENRE/FILE of generated music with copies and damaged files."""
  folder = tmp_path_factory.mktemp("audit") / "songs"
  for genre in ("samba", "tango"):
    (folder / genre).mkdir(parents=True)
    for number in range(4):
      samples = synthesize(number * 9 + (100 if genre == "tango" else 0), RATE)
      soundfile.write(folder / genre / f"{number}.flac", samples, RATE)
  samples = synthesize(0, RATE)
  same, rate = soundfile.read(folder / "samba" / "0.flac", dtype="int16")
  soundfile.write(folder / "tango" / "same.wav", same, rate)
  soundfile.write(folder / "tango" / "later.ogg", 0.25 * samples[2 * RATE :], RATE)
  (folder / "tango" / "<b>broken.mp3").write_bytes(b"no music at all")
  (folder / "samba" / "empty.wav").write_bytes(b"")
  soundfile.write(folder / "samba" / "silent.wav", np.zeros(RATE), RATE)
  return folder


@pytest.fixture(scope="module")
def report(songs, tmp_path_factory):
  """(report, source) of `songs`."""
  source = open_source("audio_folder", str(songs), "all")
  facts = clip_survey.examine_source(
    source, FrontendConfig(), tmp_path_factory.mktemp("out"), workers=1
  )
  config = ConfigDict({"name": "random_tracks", "num_folds": 2, "fold": 0, "seed": 0})
  assignment, note = audit_report.assignment_of(source, facts, config, 15)
  return audit_report.make_report(source, facts, assignment, DENSE.frame_rate, True, note), source


def test_flat_peaks_are_found_at_any_level(tmp_path):
  clean = 0.9 * synthesize(5, RATE)
  clean = clean / np.max(np.abs(clean)) * 0.9
  assert facts_of(tmp_path / "a.wav", clean).flat_share < audit_report.CLIPPED_SHARE
  clipped = np.clip(3 * clean, -1, 1)
  loud = facts_of(tmp_path / "b.wav", clipped)
  lowered = facts_of(tmp_path / "c.wav", 0.5 * clipped)
  assert loud.flat_share > 10 * audit_report.CLIPPED_SHARE
  assert lowered.flat_share == pytest.approx(loud.flat_share, rel=0.05)
  assert lowered.peak == pytest.approx(0.5, abs=1e-3)


def test_flat_peaks_of_a_quiet_beginning_do_not_count(tmp_path):
  quiet = np.clip(synthesize(5, RATE), -0.01, 0.01)
  samples = np.concatenate([np.tile(quiet, 2), synthesize(6, RATE)])  # more than one block
  assert facts_of(tmp_path / "a.wav", samples).flat_share < audit_report.CLIPPED_SHARE


def test_content_is_that_of_the_decoded_samples(tmp_path):
  samples = np.int16(32767 * synthesize(0, RATE))
  wav = facts_of(tmp_path / "a.wav", samples)
  flac = facts_of(tmp_path / "a.flac", samples)
  other = facts_of(tmp_path / "b.flac", samples // 2)
  assert wav.content == flac.content != other.content


def test_silence_within_and_at_the_end(tmp_path):
  sound, silence = synthesize(0, RATE)[: 3 * RATE], np.zeros(2 * RATE)
  facts = facts_of(tmp_path / "a.wav", np.concatenate([silence, sound, silence]), 44100)
  assert facts.seconds == pytest.approx(3.5)
  assert facts.silent_seconds == pytest.approx(2.0, abs=0.21)
  assert facts.silent_end_seconds == pytest.approx(1.0, abs=0.11)


@pytest.mark.parametrize("content", [b"", b"noise", b"RIFF\x24\x00\x00\x00WAVEfmt "])
def test_an_unreadable_file_has_a_reason(tmp_path, content):
  (tmp_path / "a.wav").write_bytes(content)
  assert facts_of(tmp_path / "a.wav").reason


def test_one_sample_does_not_stop_the_audit(tmp_path):
  facts = facts_of(tmp_path / "a.wav", np.array([0.5]))
  assert not facts.reason and facts.landmarks.num_frames == 1


def test_a_reader_that_fails_does_not_stop_the_audit():
  class Broken:
    def log_mel(self, clip, frontend):
      raise RuntimeError("the disk is on fire")

  facts = examine(Broken(), Clip("x", "g", ("x",)), DENSE)
  assert "RuntimeError: the disk is on fire" in facts.reason


def test_facts_survive_storage(tmp_path):
  stored = [
    facts_of(tmp_path / "a.wav", synthesize(0, RATE)),
    ClipFacts("broken", "is odd"),
    facts_of(tmp_path / "b.wav", synthesize(1, RATE)[:100]),
  ]
  clip_survey.save_facts(tmp_path / "facts.npz", stored)
  loaded = clip_survey.load_facts(tmp_path / "facts.npz")
  for one, other in zip(stored, loaded, strict=True):
    plain = dataclasses.replace(one, landmarks=None)
    assert plain == dataclasses.replace(other, landmarks=None)
    if one.landmarks is None:
      assert other.landmarks is None
      continue
    assert one.landmarks.num_frames == other.landmarks.num_frames
    for name in clip_survey.ARRAYS:
      here, there = getattr(one.landmarks, name), getattr(other.landmarks, name)
      assert here.dtype == there.dtype
      np.testing.assert_array_equal(here, there)


def test_an_interrupted_survey_resumes(songs, tmp_path, monkeypatch):
  monkeypatch.setattr(clip_survey, "CLIPS_PER_CHUNK", 4)
  source = open_source("audio_folder", str(songs), "all")
  whole = clip_survey.examine_source(source, FrontendConfig(), tmp_path / "whole", workers=1)
  calls = []

  def stops(reader, clips, frontend):
    if len(calls) == 1:
      raise KeyboardInterrupt
    calls.append(clips)
    return clip_facts.examine_all(reader, clips, frontend)

  monkeypatch.setattr(clip_survey, "examine_all", stops)
  with pytest.raises(KeyboardInterrupt):
    clip_survey.examine_source(source, FrontendConfig(), tmp_path / "out", workers=1)
  kept = len(list((tmp_path / "out" / "partial").glob("*.npz")))
  assert kept == 2  # a task of 8 clips, in chunks of 4
  examined = []

  def counts(reader, clips, frontend):
    examined.extend(clips)
    return clip_facts.examine_all(reader, clips, frontend)

  monkeypatch.setattr(clip_survey, "examine_all", counts)
  again = clip_survey.examine_source(source, FrontendConfig(), tmp_path / "out", workers=1)
  assert len(examined) == len(source.clips) - 8
  assert [fact.content for fact in again] == [fact.content for fact in whole]
  clip_survey.remove_chunks(tmp_path / "out")
  assert not (tmp_path / "out" / "partial").exists()
  assert VERSION == 1


def test_the_report_finds_copies_and_faults(report):
  found = report[0]
  pairs = {(pair["a"], pair["b"]): pair for pair in found["pairs"]}
  assert set(pairs) == {("samba/0.flac", "tango/same.wav"), ("samba/0.flac", "tango/later.ogg")}
  exact = pairs["samba/0.flac", "tango/same.wav"]
  assert exact["kind"] == "exact" and exact["score"] == 1 and not exact["same_label"]
  near = pairs["samba/0.flac", "tango/later.ogg"]
  assert near["kind"] == "near"
  assert near["offset_seconds"] == pytest.approx(-2.0, abs=0.05)
  assert near["level_change_db"] == pytest.approx(-12.0, abs=1.0)
  assert near["changes"][:2] == ["shifted in time", "changed in level"]
  assert near["across_splits"] == (near["split_a"] != near["split_b"])
  assert found["sets"] == [["samba/0.flac", "tango/later.ogg", "tango/same.wav"]]
  assert [row["clip"] for row in found["unreadable"]] == ["samba/empty.wav", "tango/<b>broken.mp3"]
  assert [row["clip"] for row in found["silent"]] == ["samba/silent.wav"]
  assert {row["class"]: (row["clips"], row["usable"]) for row in found["classes"]} == {
    "samba": (6, 4),
    "tango": (7, 6),
  }
  for row in found["classes"]:
    assert row["train"] + row["validation"] + row["test"] == row["usable"]
  assert json.loads(json.dumps(found)) == found


def test_the_summary_names_the_pairs(report):
  text = "\n".join(audit_report.summary(report[0]))
  assert "1 exact, 1 near" in text and "samba/0.flac = tango/same.wav" in text


def test_the_page_is_self_contained(report):
  found, source = report
  page = audit_page.write_page(found, "songs & more", source.reader, source.clips, DENSE)
  assert "songs &amp; more" in page and "&lt;b&gt;broken.mp3" in page and "<b>broken" not in page
  assert page.count("<img ") == 4
  assert not re.search(r"<script|<link|https?://|src='(?!data:image/webp;base64,)", page)
  assert "name='viewport'" in page


def test_the_page_of_nothing_found():
  source = Source("none", ("x",), (), AudioFileReader(), "")
  found = audit_report.make_report(source, [], None, 12.9, False)
  page = audit_page.write_page(found, "nothing", source.reader, source.clips, FrontendConfig())
  recordings = page.split("same recording</h2>")[1]
  assert recordings.lstrip().startswith("<p>None.</p>")
  assert "There is no split" in page and "not in spectrograms" in page


def test_pairs_beyond_the_pictures_are_rows(report, monkeypatch):
  found, source = report
  monkeypatch.setattr(audit_page, "MAX_PICTURES", 1)
  page = audit_page.write_page(found, "songs", source.reader, source.clips, DENSE)
  assert page.count("<img ") == 2 and "The next 1 of 2 pairs" in page


def _facts(names, content=None):
  return [ClipFacts(name, seconds=1.0, content=content or name, reason="") for name in names]


def test_groups_in_two_splits_are_named():
  clips = tuple(
    Clip(name, group, ("x",), has_group=known)
    for name, group, known in (
      ("a", "one", True),
      ("b", "one", True),
      ("c", "two", True),
      ("d", "track:d", False),
    )
  )
  assignment = SplitAssignment("made", {"a": "train", "b": "test", "c": "train", "d": "test"})
  splits = {clip.track: audit_report.split_of_clip(assignment, clip) for clip in clips}
  assert audit_report.groups_across(clips, splits) == [
    {"group": "one", "clips": [{"clip": "a", "split": "train"}, {"clip": "b", "split": "test"}]}
  ]


def test_many_identical_clips_do_not_make_all_pairs():
  facts = _facts([f"{number}" for number in range(audit_report.ALL_PAIRS_OF + 5)], "same")
  pairs = list(audit_report.exact_pairs(facts, range(len(facts))))
  assert pairs == [(0, number) for number in range(1, len(facts))]
  few = list(audit_report.exact_pairs(facts[:3], range(3)))
  assert few == [(0, 1), (0, 2), (1, 2)]


def test_a_leaky_split_puts_a_clip_in_several_splits():
  assignment = SplitAssignment(
    "leaky_segments", {}, leaky=True, segments={"a": ("train", "test", "train")}
  )
  assert audit_report.split_of_clip(assignment, Clip("a", "g", ("x",))) == "train+test"
  assert audit_report.split_of_clip(None, Clip("a", "g", ("x",))) == ""


def test_a_split_that_cannot_be_made_is_a_note(songs):
  source = open_source("audio_folder", str(songs), "all")
  facts = _facts([clip.track for clip in source.clips])
  config = ConfigDict({"name": "fault_filtered", "num_folds": 5, "fold": 0, "seed": 0})
  assignment, note = audit_report.assignment_of(source, facts, config, 15)
  assert assignment is None and "fault_filtered" in note


def run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "genre_jax.audit", *arguments], capture_output=True, text=True
  )


@pytest.mark.slow
def test_the_command_writes_both_files(songs, tmp_path):
  done = run(
    "--config=experiments/base.py",
    f"--config.dataset.path={songs}",
    "--config.dataset.workers=1",
    f"--out={tmp_path}/found",
  )
  assert done.returncode == 0, done.stderr
  assert "1 exact, 1 near" in done.stdout
  assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
    "audit.html",
    "audit.json",
  ]


@pytest.mark.parametrize(
  "arguments,names", [(("--out=x",), "--config"), (("--config=experiments/base.py",), "--out")]
)
def test_the_command_names_a_missing_flag(arguments, names):
  done = run(*arguments)
  assert done.returncode == 2 and names in done.stderr and "Traceback" not in done.stderr
