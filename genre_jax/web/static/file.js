// A file that a visitor drops or chooses: its genres, its spectrogram, the evidence.

import { byId, request, show } from "./api.js";
import { close, openFile } from "./song.js";

const zone = byId("zone"), input = byId("chosen");
let settings = null, last = 0;

export function setUp(found) {
  settings = found;
  byId("limits").textContent = `Any format, up to ${found.max_megabytes} MB and ${found.max_minutes} minutes.`
    + " It stays on the machine that serves this page, and is deleted after the prediction.";
}

async function predict(file) {
  const mine = last += 1;
  close();
  if (file.size > settings.max_megabytes * 2 ** 20) {
    show(`${file.name}: the file is larger than ${settings.max_megabytes} MB`, true);
    return;
  }
  show(`Reading ${file.name} …`);
  try {
    const query = new URLSearchParams({ name: file.name.slice(-300) });
    const answer = await request(`/predict?${query}`, { method: "POST", body: file });
    const found = await answer.json();
    if (mine !== last || byId("drop").hidden) return;
    show("");
    openFile(file, found);
    document.querySelector("main").classList.add("song", "alone");
    byId("name").focus();
  } catch (error) {
    if (mine === last) show(`${file.name}: ${error.message}`, true);
  }
}

input.onchange = () => input.files.length && predict(input.files[0]);
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    zone.classList.toggle("over", name === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (!file) return;
  location.hash = "file";
  setTimeout(() => predict(file)); // after the view has changed
});
