// Elements in one line, and the small things that all parts of the page need.

/** h("p", { class: "big" }, "text", element, ...): properties that begin with "on" are listeners. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same of SVG. */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, part] of Object.entries(value)) element.style.setProperty(key, part);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== false));
  return element;
}

export const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.005 ? 1 : 0)} %`;

/** `call` once nothing has happened for a moment. */
export function paused(call, ms = 250) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, ms);
  };
}

/** A moment in which the browser draws and listens. */
export const breath = () => new Promise((resolve) => setTimeout(resolve));

/** The buttons of the samples, below a title; nothing where there are none. */
export const tries = (title, chips) =>
  chips.length > 0 &&
  h("section", { class: "samples" }, h("h2", { class: "title" }, title), h("div", { class: "chips" }, chips));

/** A button for each sample, with its text or another name, which hands it to `choose`. */
export const choices = (samples, choose, name = (sample) => sample.text) =>
  samples.map((sample, i) =>
    h("button", { class: "chip", type: "button", onclick: () => choose(sample) }, name(sample, i)),
  );

/** A choice of one of some names, by its number; just the name where there is one. */
export function picker(id, names, changed) {
  const options = names.map((name, i) => h("option", { value: i }, name));
  const input = h("select", { id, "aria-label": "column", onchange: changed }, options);
  return { element: names.length > 1 ? input : h("h2", { class: "title" }, names[0]), chosen: () => Number(input.value) };
}

/** A slider between its name and what `said` makes of its number; `changed` is called once it rests. */
export function slider(id, name, range, said, changed) {
  const input = h("input", { id, type: "range", ...range, oninput: () => (tell(), later()) }),
    output = h("output", { for: id }),
    later = paused(changed, 60);
  const tell = () => (output.textContent = said(Number(input.value)));
  tell();
  return {
    elements: [h("label", { class: "note", for: id }, name), input, output],
    value: () => Number(input.value),
    reset: () => ((input.value = range.value), tell()),
  };
}

/** `read` of what stands in `input`, or else of the first sample; for when another file was loaded. */
export const again = (samples, input, read) => () => {
  input.value ||= samples[0]?.text ?? "";
  return input.value ? read() : undefined;
};

/** What Keras said of a sample, and what was expected. */
export function told(sample, said, wanted) {
  const plain = (value) => (Array.isArray(value) ? `${value[0]}, ${percent(value[1])}` : String(value));
  const line = (name, value) =>
    value !== undefined && h("span", { class: "told" }, h("b", {}, name), ` ${plain(value)}`);
  return sample ? [line(said, sample.said), line(wanted, sample.wanted)].filter(Boolean) : [];
}

const COLOURS = [
  "#2563eb",
  "#ea580c",
  "#059669",
  "#9333ea",
  "#db2777",
  "#0891b2",
  "#65a30d",
  "#b45309",
  "#dc2626",
  "#4f46e5",
];

/** A colour for each label, always the same; of many labels, hues that lie far apart. */
export function colour(label, labels) {
  const place = Math.max(0, labels.indexOf(label));
  return labels.length <= COLOURS.length
    ? COLOURS[place]
    : `hsl(${(137.5 * place) % 360} 60% ${[40, 30, 48][place % 3]}%)`;
}

/** A place for a file: what is dropped there is taken, a click or a key opens the dialogue of the input `file`. */
export function dropPlace(view, what, file, take) {
  const drop = h(
    "label",
    {
      class: "drop",
      for: "input",
      tabindex: 0,
      onkeydown: (event) => ["Enter", " "].includes(event.key) && file.click(),
    },
    view,
    h("span", { class: "hint" }, what, h("u", {}, "choose a file")),
  );
  drop.addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener(
    "drop",
    (event) => (event.preventDefault(), drop.classList.remove("over"), take(event.dataTransfer.files[0])),
  );
  return drop;
}
