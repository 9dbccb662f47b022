// The table of songs: search, filter, sort, pages. The review is the same table with its own order.

import { byId, clock, getJson, make, show, shownGenre } from "./api.js";

const PAGE = 50, SEARCH_DELAY = 120; // rows; ms after a key
const state = { view: "songs", order: "path", descending: false, offset: 0, rows: [], total: 0 };
let waiting = null; // the request whose answer is not there yet

const values = () => ({
  words: byId("words").value,
  genre: byId("genre").value,
  min_confidence: byId("min_confidence").value || 0,
  max_confidence: byId("max_confidence").value || 1,
  unreviewed: state.view === "review",
  order: state.order,
  descending: state.descending,
  offset: state.offset,
  limit: PAGE,
});

export async function load() {
  waiting?.abort();
  const mine = waiting = new AbortController();
  try {
    const found = await getJson("/tracks", values(), { signal: mine.signal });
    state.rows = found.tracks;
    state.total = found.total;
    draw();
  } catch (error) {
    if (error.name !== "AbortError") show(error.message, true);
  }
}

export async function enter(view) {
  if (state.view !== view || !state.rows.length) {
    state.view = view;
    state.order = view === "review" ? "confidence" : "path";
    state.descending = false;
    state.offset = 0;
    byId("review_hint").hidden = view !== "review";
    await load();
  }
}

// Returns the id of the next song to review after one; undefined if there is none.
export async function following(id) {
  const open = (track) => !track.correction;
  const index = state.rows.findIndex((track) => track.id === id);
  let found = state.rows.slice(index + 1).find(open);
  if (!found) {
    state.offset += state.rows.filter(open).length; // the others are no longer in the list
    await load();
    if (!state.rows.length) {
      state.offset = 0;
      await load();
    }
    found = state.rows.find((track) => open(track) && track.id !== id);
  }
  return found?.id;
}

export function mark(id) {
  for (const row of byId("rows").children) {
    row.classList.toggle("current", Number(row.dataset.id) === id);
  }
}

export function replace(track) {
  const index = state.rows.findIndex((each) => each.id === track.id);
  if (index >= 0) {
    state.rows[index] = track;
    byId("rows").children[index].replaceWith(row(track));
  }
}

function row(track) {
  const given = make("td", { className: track.correction ? "human" : "" }, shownGenre(track.correction || track.genre));
  const item = make("tr", {},
    make("td", {}, make("button", { type: "button", onclick: () => { location.hash = `${state.view}/${track.id}`; } }, track.title),
      make("small", {}, track.artist)),
    make("td", { className: "artist" }, track.artist),
    given,
    make("td", { className: "number" }, track.confidence.toFixed(2)),
    make("td", { className: "tags" }, track.tag_genres.join(", ")),
    make("td", { className: "number length" }, clock(track.seconds)));
  item.dataset.id = track.id;
  return item;
}

function draw() {
  byId("rows").replaceChildren(...state.rows.map(row));
  byId("none").hidden = state.total > 0;
  const last = state.offset + state.rows.length;
  byId("range").textContent = state.total
    ? `${(state.offset + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${state.total.toLocaleString("en")}` : "";
  byId("previous").disabled = state.offset === 0;
  byId("next").disabled = last >= state.total;
  for (const button of document.querySelectorAll("th button")) {
    const sorted = button.dataset.order === state.order;
    button.parentElement.ariaSort = sorted ? (state.descending ? "descending" : "ascending") : "none";
  }
}

function restart() {
  state.offset = 0;
  load();
}

function turn(pages) {
  state.offset = Math.max(0, state.offset + pages * PAGE);
  load().then(() => byId("list").scrollIntoView());
}

export async function fillGenres() {
  const counts = Object.entries(await getJson("/genres"));
  byId("genre").append(...counts.filter(([, count]) => count).map(([label, count]) =>
    make("option", { value: label }, `${label} (${count.toLocaleString("en")})`)));
  byId("genres").append(...counts.map(([label]) => make("option", { value: label })));
}

let timer = 0;
byId("words").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(restart, SEARCH_DELAY);
});
for (const id of ["genre", "min_confidence", "max_confidence"]) byId(id).addEventListener("change", restart);
byId("filters").onsubmit = (event) => event.preventDefault();
byId("previous").onclick = () => turn(-1);
byId("next").onclick = () => turn(1);
for (const button of document.querySelectorAll("th button")) {
  button.onclick = () => {
    state.descending = state.order === button.dataset.order && !state.descending;
    state.order = button.dataset.order;
    restart();
  };
}
byId("rows").addEventListener("keydown", (event) => {
  const steps = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" };
  if (event.key in steps) {
    event.target.closest("tr")[steps[event.key]]?.querySelector("button").focus();
    event.preventDefault();
  }
});
