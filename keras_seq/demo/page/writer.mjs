// A text is read and gone on with: typed, or chosen from samples. Each call of the file writes a piece of it.
import { again, choices, h, paused, slider, tries } from "./dom.mjs";

const WARM = 0.8; // below 1 the likely is drawn more often than it is likely
const LONGEST = 4000; // characters

export function writer(page) {
  const input = h("textarea", {
    id: "input",
    rows: 3,
    spellcheck: false,
    placeholder: page.reads.hint ?? "Begin a text",
    oninput: paused(() => begin()),
    maxlength: LONGEST,
  });
  const draws = "text_sample" in page.model.signatures,
    range = { min: 0, max: 1.5, step: 0.1, value: draws ? WARM : 0, disabled: !draws },
    said = (degrees) => (degrees ? degrees.toFixed(1) : "0: always the likeliest");
  const temperature = slider("temperature", "Temperature", range, said, () => begin(false));
  const output = h("div", { id: "output", class: "output lines", "aria-live": "polite" });
  const button = (id, label, onclick) => h("button", { id, class: "chip", type: "button", onclick }, label);
  const more = button("more", "Write on", () => write()),
    other = button("other", "Another way", () => begin());
  let prompt = "", // empty where there is nothing but space
    written = "",
    last = 0;

  /** From the prompt on, anew; `fresh`: with other draws. */
  async function begin(fresh = true) {
    prompt = input.value.trim() && input.value.replace(/[ \t]+$/, ""); // what follows brings its own
    other.disabled = !prompt || !temperature.value(); // there is one likeliest way
    written = "";
    if (fresh) page.noise = [];
    await write();
  }

  /** One call more. */
  async function write() {
    const now = ++last;
    if (!prompt) return show();
    await page.work(async () => {
      const found = await page.call(...piece(prompt + written));
      if (now !== last) return; // another call has begun
      written += found.text;
      show();
    });
  }

  /** The signature and the inputs of the next piece; its noise is drawn once, so that the slider changes nothing else. */
  function piece(text) {
    const degrees = temperature.value(),
      signature = degrees ? "text_sample" : "text",
      given = { utf8: page.model.utf8(text, signature) };
    if (!degrees) return [signature, given];
    const { noise } = page.model.signatures[signature].inputs,
      drawn = (page.noise[written.length] ??= Float32Array.from({ length: noise.shape[1] }, Math.random));
    return [signature, { ...given, noise: drawn, temperature: degrees }];
  }

  function show() {
    output.replaceChildren(h("span", { class: "begun" }, prompt), written);
    output.dataset.text = written;
    more.disabled = !prompt || prompt.length + written.length > LONGEST;
  }

  const chips = choices(page.samples, (sample) => ((input.value = sample.text), begin()));
  const element = h(
    "div",
    { class: "stack" },
    h(
      "section",
      { class: "card" },
      h("label", { class: "title", for: "input" }, page.reads.label ?? "How it begins"),
      input,
    ),
    h(
      "section",
      { class: "card answer" },
      h("h2", { class: "title" }, page.shows.label ?? "How it goes on"),
      output,
      h("div", { class: "controls" }, more, other, temperature.elements),
    ),
    tries("Try one", chips),
  );
  other.disabled = true;
  show();
  return { element, again: again(page.samples, input, () => begin()) };
}
