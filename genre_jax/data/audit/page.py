"""Write the report of the audit as one self-contained page.

The page shows the spectrograms of the first pairs next to each other. It contains no script and no
audio, and needs no other file and no network.
"""

import base64
import html
import io
from collections.abc import Callable, Sequence

import numpy as np

from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.mel import mel_frequencies
from genre_jax.data.source import SPLITS, Clip, Reader

# Pairs with pictures, about 110 kB and a third of a second each, and largest length of a table.
MAX_PICTURES, MAX_ROWS = 60, 2000
# Range of the colors below the maximum, dB.
RANGE_DB = 70.0
TICKS_HZ = (100, 500, 1000, 2000, 5000, 10000)

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 72rem;
  color: #1b1b1b; background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .2rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } ul { padding-left: 1.2rem; }
.tiles { display: grid; gap: .5rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.tile { border: 1px solid #ccc; border-radius: .4rem; padding: .5rem .7rem; }
.tile b { display: block; font-size: 1.5rem; }
.found { background: #fff3d6; border-color: #b98900; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; overflow-wrap: break-word; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; }
.pair { border: 1px solid #bbb; border-radius: .4rem; padding: .7rem; margin: .8rem 0; }
.two { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
figure { margin: 0; } figcaption { font-size: .92rem; } img { width: 100%; height: auto; }
.badge { display: inline-block; border: 1px solid #777; border-radius: .3rem; padding: 0 .4rem;
  margin-right: .3rem; font-size: .85rem; } .warn { background: #b3361b; color: #fff; border: 0; }
.quiet { color: #555; font-size: .9rem; }
"""


def write_page(
  report: dict,
  title: str,
  reader: Reader,
  clips: Sequence[Clip],
  frontend: FrontendConfig,
  progress: Callable = iter,
) -> str:
  """Return the page as HTML.

  Args:
    report: Result of `report.make_report`.
    title: Name of the collection.
    reader: Reader of the source, for the pictures.
    clips: Clips of the source.
    frontend: Front end of the audit; see `clip_facts.analysis_config`.
    progress: Wraps the pairs that are drawn, as tqdm does.
  """
  by_track = {clip.track: clip for clip in clips}
  pairs = report["pairs"]
  parts = [
    "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
    "<meta name='viewport' content='width=device-width, initial-scale=1'>",
    f"<title>Audit of {_text(title)}</title><style>{STYLE}</style></head><body>",
    f"<h1>Audit of {_text(title)}</h1>",
    _summary(report),
  ]
  parts.append("<h2>Pairs of clips with the same recording</h2>")
  if not pairs:
    parts.append("<p>None.</p>")
  else:
    parts.append(
      "<p class='quiet'>Score: share of the peaks in the overlap that match within one frame and"
      " one mel band. The pictures of a pair are aligned in time; a positive shift means"
      " that the recording is later in the second clip.</p>"
    )
  for pair in progress(pairs[:MAX_PICTURES]):
    parts.append(_pair(pair, by_track, reader, frontend))
  if len(pairs) > MAX_PICTURES:
    parts.append(
      f"<p>The next {min(len(pairs), MAX_ROWS) - MAX_PICTURES} of {len(pairs)} pairs, without"
      " pictures; audit.json contains all.</p>"
    )
    parts.append(
      _table(
        ("first", "second", "kind", "score", "shift s", "splits"),
        [
          (
            pair["a"],
            pair["b"],
            pair["kind"],
            f"{pair['score']:.2f}",
            f"{pair['offset_seconds']:+.2f}",
            _splits(pair),
          )
          for pair in pairs[MAX_PICTURES:MAX_ROWS]
        ],
        (3, 4),
      )
    )
  larger = [group for group in report["sets"] if len(group) > 2]
  if larger:
    parts.append("<h2>Sets of more than two</h2>" + _list(", ".join(group) for group in larger))
  parts.append("<h2>Groups in more than one split</h2>")
  parts.append(_groups(report))
  for name, heading in (
    ("unreadable", "Unreadable clips"),
    ("truncated", "Truncated clips"),
    ("silent", "Silent clips"),
    ("clipped", "Clipped clips"),
  ):
    rows = [(row["clip"], row["reason"]) for row in report[name]]
    parts.append(f"<h2>{heading}</h2>")
    if name == "clipped" and not report["has_samples"]:
      parts.append("<p>Unknown: clipping is visible in samples only, not in spectrograms.</p>")
    else:
      parts.append(_table(("clip", "reason"), rows[:MAX_ROWS]) if rows else "<p>None.</p>")
      if len(rows) > MAX_ROWS:
        parts.append(f"<p>{len(rows) - MAX_ROWS} more are in audit.json.</p>")
  parts.append(
    "<h2>Classes</h2>"
    + _table(
      ("class", "clips", "usable", "hours", "groups", *SPLITS),
      [
        tuple(
          row[key] if key != "hours" else f"{row[key]:.2f}"
          for key in ("class", "clips", "usable", "hours", "groups", *SPLITS)
        )
        for row in report["classes"]
      ],
      range(1, 8),
    )
  )
  if report["notes"]:
    parts.append("<h2>Notes</h2>" + _list(report["notes"]))
  return "\n".join([*parts, "</body></html>"])


def _text(value):
  """Return a value as escaped text."""
  return html.escape(str(value))


def _list(lines):
  """Return lines as an HTML list."""
  return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _table(heads, rows, numbers=()):
  """Return a table that scrolls on a narrow screen; the columns `numbers` are right-aligned."""

  def cells(row, tag):
    return "".join(
      f"<{tag}{' class=n' if place in numbers else ''}>{_text(value)}</{tag}>"
      for place, value in enumerate(row)
    )

  return (
    "<div class='scroll'><table><tr>"
    + cells(heads, "th")
    + "</tr>"
    + "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    + "</table></div>"
  )


def _summary(report):
  """Return the totals, and a tile for each kind of finding."""
  counts = report["counts"]
  split = f"split {report['split']}" if report["split"] else "no split"
  tiles = [("clips read", f"{report['usable']} of {report['clips']}", False)]
  for key, name in (
    ("exact_pairs", "exact pairs"),
    ("near_pairs", "near pairs"),
    ("pairs_across_splits", "pairs across splits"),
    ("pairs_of_two_labels", "pairs with two labels"),
    ("groups_across", "groups across splits"),
    ("unreadable", "unreadable"),
    ("truncated", "truncated"),
    ("silent", "silent"),
    ("clipped", "clipped"),
  ):
    if key == "clipped" and not report["has_samples"]:
      continue
    tiles.append((name, counts[key], counts[key] > 0))
  return (
    f"<p class='quiet'>{_text(report['source'])}, {report['hours']:.2f} h,"
    f" {report['frames_per_second']:g} frames per second, {_text(split)}.</p>"
    "<div class='tiles'>"
    + "".join(
      f"<div class='tile{' found' if found else ''}'><b>{_text(value)}</b>{_text(name)}</div>"
      for name, value, found in tiles
    )
    + "</div>"
  )


def _groups(report):
  """Return the groups across splits, or the reason why they are unknown."""
  if report["split"] is None:
    return "<p>There is no split; see the notes.</p>"
  rows = [
    (row["group"], ", ".join(f"{clip['clip']} ({clip['split']})" for clip in row["clips"]))
    for row in report["groups_across"]
  ]
  return _table(("group", "clips"), rows[:MAX_ROWS]) if rows else "<p>None.</p>"


def _splits(pair):
  """Return the splits of a pair as text."""
  return f"{pair['split_a'] or 'no split'} / {pair['split_b'] or 'no split'}"


def _pair(pair, by_track, reader, frontend):
  """Return two clips next to each other, with their facts."""
  level = pair["level_change_db"]
  facts = [
    pair["kind"],
    *(change for change in pair["changes"] if change != "identical"),
    f"score {pair['score']:.2f}",
  ]
  if pair["offset_seconds"]:
    facts.append(f"shift {pair['offset_seconds']:+.2f} s")
  if level:
    facts.append(f"level {level:+.1f} dB")
  if pair["overlap_seconds"] is not None:
    facts.append(f"overlap {pair['overlap_seconds']:.1f} s")
  badges = "".join(f"<span class='badge'>{_text(fact)}</span>" for fact in facts)
  for key, text in (("across_splits", "across splits"), (None, "two labels")):
    if pair[key] if key else not pair["same_label"]:
      badges += f"<span class='badge warn'>{text}</span>"
  levels_of_both = [_levels(reader, by_track[pair[name]], frontend) for name in "ab"]
  lengths = [
    0.0 if isinstance(levels, str) else len(levels) * frontend.seconds_per_frame
    for levels in levels_of_both
  ]
  # Both axes span the same time, shifted by the offset, so that the recordings are aligned.
  offset = pair["offset_seconds"]
  begin, end = min(0.0, -offset), max(lengths[0], lengths[1] - offset)
  pictures = []
  for name, levels, shift in zip("ab", levels_of_both, (0.0, offset), strict=True):
    caption = [
      f"<b>{_text(pair[name])}</b>",
      _text(", ".join(pair[f"labels_{name}"])),
      _text(pair[f"split_{name}"] or "no split"),
    ]
    if pair[f"group_{name}"]:
      caption.append(_text(pair[f"group_{name}"]))
    picture = (
      f"<p>{_text(levels)}</p>"
      if isinstance(levels, str)
      else _picture(
        levels, frontend, (begin + shift, end + shift), f"log-mel spectrogram of {pair[name]}"
      )
    )
    pictures.append(f"<figure><figcaption>{' · '.join(caption)}</figcaption>{picture}</figure>")
  return f"<div class='pair'><p>{badges}</p><div class='two'>{''.join(pictures)}</div></div>"


def _levels(reader, clip, frontend):
  """Return the log-mel of a clip, or the reason why it cannot be read."""
  try:
    return reader.log_mel(clip, frontend)
  except UnreadableAudio as error:
    return error.reason


def _picture(levels, frontend, span, alt):
  """Return a spectrogram as an <img>; `span` is the range of the time axis in seconds."""
  # Here: only pages with pairs need it. Without pyplot, which would look for a display.
  from matplotlib.figure import Figure

  seconds = len(levels) * frontend.seconds_per_frame
  # More frames than pixels would only cost time.
  step = max(1, len(levels) // 900)
  figure = Figure(figsize=(4.8, 2.3), dpi=110)
  axes = figure.add_axes((0.12, 0.21, 0.86, 0.74))
  axes.imshow(
    levels[::step].T - levels.max(),
    origin="lower",
    aspect="auto",
    cmap="magma",
    vmin=-RANGE_DB,
    vmax=0,
    extent=(0, seconds, 0, frontend.n_mels),
  )
  axes.set_xlim(span)
  axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= min(seconds, span[1])])
  centers = mel_frequencies(frontend)
  ticks = [hz for hz in TICKS_HZ if centers[0] <= hz <= centers[-1]]
  axes.set_yticks(
    np.interp(ticks, centers, np.arange(len(centers)) + 0.5), [f"{hz / 1000:g}" for hz in ticks]
  )
  axes.set_ylabel("kHz")
  axes.set_xlabel("seconds")
  stream = io.BytesIO()
  # A fifth of the size of PNG at the same quality.
  figure.savefig(stream, format="webp", pil_kwargs={"quality": 75})
  data = base64.b64encode(stream.getvalue()).decode()
  return f"<img alt='{_text(alt)}' src='data:image/webp;base64,{data}'>"
