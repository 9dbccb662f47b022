// Chooses the view that the address names (#songs, #songs/ID, #review, #file, ...), and its keys.

import { byId, request, show } from "./api.js";
import * as file from "./file.js";
import * as live from "./live.js";
import * as song from "./song.js";
import * as songs from "./songs.js";

const main = document.querySelector("main");
let settings = null, view = "", shownId = null;

async function go() {
  const [name, number] = location.hash.slice(1).split("/");
  const known = settings.library ? ["songs", "review", "file", "microphone"] : ["file", "microphone"];
  const wanted = known.includes(name) ? name : known[0];
  const inList = wanted === "songs" || wanted === "review";
  if (wanted !== view) {
    view = wanted;
    show("");
    live.stop();
    for (const link of document.querySelectorAll("nav a")) {
      if (link.hash === `#${view}`) link.ariaCurrent = "page";
      else link.removeAttribute("aria-current");
    }
    byId("list").hidden = !inList;
    byId("drop").hidden = view !== "file";
    byId("live").hidden = view !== "microphone";
    closeSong();
  }
  if (!inList) return;
  await songs.enter(view);
  const id = number ? Number(number) : null;
  if (id === shownId) return;
  if (id === null) {
    closeSong();
    return;
  }
  shownId = id;
  songs.mark(id);
  main.classList.add("song");
  byId("skip").hidden = view !== "review";
  try {
    const opening = song.openSong(id, `#${view}`);
    if (matchMedia("(max-width: 899px)").matches) window.scrollTo(0, 0);
    await opening;
  } catch (error) {
    show(error.message, true);
    closeSong();
  }
}

function closeSong() {
  song.close();
  main.classList.remove("song", "alone");
  const row = document.querySelector(`tr[data-id="${shownId}"] button`);
  shownId = null;
  songs.mark(null);
  if (row && document.activeElement === document.body) row.focus();
}

async function next() {
  const id = await songs.following(shownId);
  if (id === undefined) show("There is no other song to review.");
  else location.hash = `${view}/${id}`;
}

song.onChange((track) => {
  songs.replace(track);
  songs.mark(shownId);
  if (view === "review" && track.correction) next();
});
byId("skip").onclick = next;

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && shownId !== null) {
    location.hash = view;
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "/" && !byId("list").hidden) byId("words").focus();
  else if (byId("song").hidden) return;
  else if (key === " " && !event.target.matches("button:not(#rows button), a, audio")) song.togglePlaying();
  else if (view !== "review" || shownId === null) return;
  else if (key === "n") next();
  else if (key === "c") byId("correction").focus();
  else if (key === "a" || /^[1-9]$/.test(key)) song.acceptWithKey(key);
  else return;
  event.preventDefault();
});

settings = await (await request("/settings")).json();
for (const link of document.querySelectorAll("[data-library]")) link.hidden = !settings.library;
for (const text of document.querySelectorAll(".model")) text.textContent = `Model: ${settings.model}.`;
if (settings.library && !settings.write) document.body.classList.add("read-only");
file.setUp(settings);
window.addEventListener("hashchange", go);
go();
if (settings.library) songs.fillGenres().catch((error) => show(error.message, true));
