// Requests to the server, and small parts of the page that several views use.

export const byId = (id) => document.getElementById(id);

export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is `genre-jax` still running?");
  }
  if (answer.ok) return answer;
  let detail = `${answer.status} ${answer.statusText}`;
  try {
    const found = (await answer.json()).detail;
    detail = typeof found === "string" ? found : found.map((each) => each.msg).join("; ");
  } catch { /* the answer has no detail */ }
  throw new Error(detail);
}

export async function getJson(path, values = {}, options = {}) {
  return (await request(`${path}?${new URLSearchParams(values)}`, options)).json();
}

export function sendJson(method, path, body) {
  const headers = { "content-type": "application/json" };
  return request(path, { method, headers, body: JSON.stringify(body) }).then((r) => r.json());
}

export function show(text, fault = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("fault", fault);
}

// Makes an element with properties and children, which are elements or text.
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// Several genres of a song are joined by semicolons.
export const shownGenre = (genre) => genre.split(/; ?/).join("; ");

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// Lists {label: probability} with bars; `choose` makes the labels buttons.
export function listLabels(list, probabilities, count, choose = null) {
  const rows = Object.entries(probabilities).slice(0, count).map(([label, value], index) => {
    const name = choose
      ? make("button", { type: "button", onclick: () => choose(label), title: `Key ${index + 1}` }, label)
      : make("span", {}, label);
    return make("li", {}, name, make("meter", { value, min: 0, max: 1, ariaLabel: label }),
      make("span", {}, value.toFixed(2)));
  });
  list.replaceChildren(...rows);
}
