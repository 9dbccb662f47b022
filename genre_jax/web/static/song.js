// The panel of one song: player, genres over time, the word of a human, similar songs.

import { byId, clock, getJson, listLabels, make, request, sendJson, show, shownGenre } from "./api.js";
import { showTimeline } from "./timeline.js";

const LABELS = 9, SIMILAR = 10;
const TIMELINE_DELAY = 400; // ms; songs that are only passed by are not analyzed
const MESSAGE_DELAY = 6000; // ms, until a message of success goes
const player = byId("player");
let current = null; // {id, track, probabilities} of a song of the library
let requested = 0; // number of the last request for a song
let opened = 0; // number of the last opening; older answers are dropped
let changed = () => {};
let objectUrl = "";

// Calls `then(track)` after a human's word was stored or taken back.
export function onChange(then) { changed = then; }

export function close() {
  opened += 1;
  current = null;
  player.pause();
  byId("song").hidden = true;
}

function open(name, facts) {
  const wasPlaying = !player.paused;
  opened += 1;
  byId("song").hidden = false;
  byId("name").textContent = name;
  byId("facts").textContent = facts;
  byId("fault").hidden = true;
  byId("pictures").hidden = true;
  showTimeline(null);
  return wasPlaying;
}

// Shows or hides what only songs of the library have.
function showParts(ofLibrary) {
  byId("close").hidden = !ofLibrary;
  for (const part of document.querySelectorAll(".of-library")) part.hidden = !ofLibrary;
}

function play(source, wasPlaying) {
  if (objectUrl) URL.revokeObjectURL(objectUrl);
  objectUrl = source.startsWith("blob:") ? source : "";
  player.src = source;
  if (wasPlaying) player.play().catch(() => {});
}

export async function openSong(id, back) {
  const request = (requested += 1);
  const details = await getJson("/track", { id });
  if (request !== requested) return;  // another song was opened meanwhile
  const { track } = details;
  const wasPlaying = open(track.artist ? `${track.artist} – ${track.title}` : track.title,
    [track.album, clock(track.seconds), track.path].filter(Boolean).join(" · "));
  const mine = opened;
  current = { id, ...details };
  byId("close").href = back;
  showParts(true);
  byId("correction").value = "";
  play(`/sound?id=${id}`, wasPlaying);
  showWord();
  byId("waiting").textContent = "Reading the song …";
  byId("similar").replaceChildren();
  getJson("/similar", { id, count: SIMILAR }).then(
    (found) => mine === opened && showSimilar(found.sonicMatch, back),
    (error) => mine === opened && byId("similar").replaceChildren(make("li", {}, "", make("small", {}, error.message))));
  await new Promise((done) => setTimeout(done, TIMELINE_DELAY));
  if (mine !== opened) return;
  try {
    const timeline = await getJson("/timeline", { id });
    if (mine !== opened) return;
    byId("waiting").textContent = timeline.note;
    showTimeline(timeline);
  } catch (error) {
    if (mine === opened) byId("waiting").textContent = error.message;
  }
}

function showSimilar(matches, back) {
  const view = back.split("/")[0];
  byId("similar").replaceChildren(...matches.map(({ entry, similarity }) => make("li", {},
    make("span", {}, similarity.toFixed(2)),
    make("a", { href: `${view}/${entry.id}` }, entry.title,
      make("small", {}, [entry.artist, shownGenre(entry.correction || entry.genre)].filter(Boolean).join(" · "))))));
  if (!matches.length) byId("similar").append(make("li", {}, "", make("small", {}, "none")));
}

function showWord() {
  const { track, probabilities } = current;
  listLabels(byId("labels"), probabilities, LABELS, give);
  const tags = track.tag_genres.length ? ` In its tags: ${track.tag_genres.join(", ")}.` : "";
  byId("word").textContent = (track.correction
    ? `Chosen by a human: ${track.correction}.` : "Nobody has chosen a genre on this page.") + tags;
  byId("accept").textContent = `Accept ${shownGenre(track.genre)}`;
  byId("accept").hidden = track.genre === "unknown";
  byId("withdraw").hidden = !track.correction;
}

async function give(genre) {
  const { id } = current;
  try {
    const { track, written, reason } = await sendJson("PUT", `/genre?id=${id}`, { genre });
    const where = written ? "; its tags are written" : reason && `; its tags are not written: ${reason}`;
    settle(id, track, `${track.title}: ${track.correction}${where || ""}`, Boolean(reason));
  } catch (error) {
    show(error.message, true);
  }
}

async function withdraw() {
  const { id } = current;
  try {
    const answer = await request(`/genre?id=${id}`, { method: "DELETE" });
    const track = await answer.json();
    settle(id, track, `${track.title}: the genre is taken back`, false);
  } catch (error) {
    show(error.message, true);
  }
}

function settle(id, track, text, fault) {
  show(text, fault);
  if (!fault) setTimeout(() => byId("message").textContent === text && show(""), MESSAGE_DELAY);
  if (current?.id === id) {
    current.track = track;
    showWord();
  }
  changed(track);
}

// Shows the prediction of a file that was dropped on the page.
export function openFile(file, { name, timeline, plot, explains }) {
  requested += 1;
  const wasPlaying = open(name, `${clock(timeline.seconds)} · ${timeline.note}`.replace(/ · $/, ""));
  current = null;
  showParts(false);
  play(URL.createObjectURL(file), wasPlaying);
  byId("waiting").textContent =
    `${timeline.genre}, confidence ${timeline.confidence.toFixed(2)}`;
  showTimeline(timeline);
  listLabels(byId("labels"), timeline.probabilities, LABELS);
  byId("pictures").hidden = false;
  byId("overview").src = `data:image/png;base64,${plot}`;
  byId("evidence").hidden = true;
  byId("explain").hidden = !explains;
  byId("explain").disabled = false;
  byId("explain").onclick = async () => {
    byId("explain").disabled = true;
    const label = Object.keys(timeline.probabilities)[0];
    try {
      const answer = await request(`/evidence?${new URLSearchParams({ label })}`,
        { method: "POST", body: file });
      const reader = new FileReader();
      reader.onload = () => {
        byId("evidence").src = reader.result;
        byId("evidence").hidden = false;
      };
      reader.readAsDataURL(await answer.blob());
    } catch (error) {
      show(error.message, true);
    }
    byId("explain").disabled = false;
  };
}

player.addEventListener("error", async () => {
  const source = player.getAttribute("src");
  if (!current) {
    byId("fault").textContent = "The browser does not play this format.";
    byId("fault").hidden = false;
  } else if (!source.includes("as_wav")) {
    play(`${source}&as_wav=true`, false); // a codec that the browser lacks
  } else {
    const reason = await request(source).then(() => "The browser does not play it.", (e) => e.message);
    byId("fault").textContent = reason;
    byId("fault").hidden = false;
  }
});

byId("accept").onclick = () => current && give(current.track.genre);
byId("withdraw").onclick = withdraw;
byId("correct").onsubmit = (event) => {
  event.preventDefault();
  if (current && byId("correction").value.trim()) give(byId("correction").value);
};

export function togglePlaying() {
  if (player.paused) player.play().catch(() => {});
  else player.pause();
}

export function acceptWithKey(key) {
  if (!current) return;
  if (key === "a") byId("accept").hidden || byId("accept").click();
  else byId("labels").querySelectorAll("button")[Number(key) - 1]?.click();
}
