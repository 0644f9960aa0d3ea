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

/** A button for each sample of text, which writes it into `input` and then calls `read`. */
export function choices(samples, input, read) {
  const set = (sample) => ((input.value = sample.text), read());
  return samples.map((sample) => h("button", { class: "chip", type: "button", onclick: () => set(sample) }, sample.text));
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
