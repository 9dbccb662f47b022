// The genres of a song over time, with the position of the player, which clicks and keys move.

import { byId, clock } from "./api.js";

const STEP_SECONDS = 5;
const track = byId("track"), player = byId("player"), canvas = track.querySelector("canvas");
let shown = null;

export function showTimeline(timeline) {
  shown = timeline;
  byId("timeline").hidden = !timeline;
  if (!timeline) return;
  byId("timeline_labels").replaceChildren(...timeline.labels.map((label) => {
    const item = document.createElement("li");
    item.textContent = item.title = label;
    return item;
  }));
  byId("end").textContent = clock(timeline.seconds);
  track.setAttribute("aria-valuemax", Math.round(timeline.seconds));
  draw();
  move();
}

function draw() {
  const ratio = window.devicePixelRatio || 1, box = track.getBoundingClientRect();
  canvas.width = Math.max(1, box.width * ratio);
  canvas.height = Math.max(1, box.height * ratio);
  const context = canvas.getContext("2d");
  const color = getComputedStyle(document.body).getPropertyValue("--cell");
  const height = canvas.height / shown.labels.length, width = canvas.width / shown.seconds;
  for (const span of shown.spans) {
    span.probabilities.forEach((value, row) => {
      context.fillStyle = `rgba(${color}, ${value})`;
      const left = Math.floor(span.start * width);
      context.fillRect(left, row * height + 1, Math.ceil(span.end * width) - left, height - 2);
    });
  }
}

function genreAt(seconds) {
  return shown.spans.find((span) => seconds < span.end)?.genre ?? "";
}

function move() {
  if (!shown) return;
  const now = Math.min(player.currentTime || 0, shown.seconds);
  byId("cursor").style.left = `${(100 * now) / shown.seconds}%`;
  const text = `${clock(now)} ${genreAt(now)}`;
  byId("heard").textContent = text;
  track.setAttribute("aria-valuenow", Math.round(now));
  track.setAttribute("aria-valuetext", text);
}

function seek(seconds) {
  player.currentTime = Math.max(0, Math.min(seconds, shown.seconds - 0.05));
  move();
}

track.addEventListener("pointerdown", (event) => {
  const box = track.getBoundingClientRect();
  seek((shown.seconds * (event.clientX - box.left)) / box.width);
});
track.addEventListener("keydown", (event) => {
  const now = player.currentTime;
  const places = {
    ArrowLeft: now - STEP_SECONDS, ArrowRight: now + STEP_SECONDS, Home: 0, End: shown.seconds,
  };
  if (event.key in places) {
    seek(places[event.key]);
    event.preventDefault();
  }
});
player.addEventListener("timeupdate", move);
player.addEventListener("seeked", move);
new ResizeObserver(() => shown && draw()).observe(track);
