// A text is read: typed, or chosen from samples. Shown: the text that is written, labels, or a label for each word.
import { again, choices, h, paused, told, tries } from "./dom.mjs";
import { attention, bars, tags, weighed, words } from "./show.mjs";

export function text(page) {
  const label = page.reads.label ?? "Text";
  const input = h("textarea", {
    id: "input",
    rows: 3,
    spellcheck: false,
    placeholder: page.reads.hint ?? "Type something",
    "aria-describedby": "cut",
    oninput: paused(() => read()),
    maxlength: 4000,
  });
  const cut = h("p", { id: "cut", class: "note", role: "status" });
  const output = h("div", { id: "output", class: "output", "aria-live": "polite" });
  const beside = h("p", { class: "note", id: "beside" });
  const more = h("div", { id: "more" });
  const { signatures, card } = page.model;
  const outputs = Object.values(signatures.text.outputs),
    shapes = outputs.map(({ shape }) => shape.length);
  page.shows.kind ??= "utf8" in signatures.text.outputs ? "text" : Math.max(...shapes) > 2 ? "tags" : "labels";
  const show = { text: written, labels: answered, tags: tagged, pieces: filled }[page.shows.kind];
  let last = 0;

  async function read() {
    const typed = input.value.trim(),
      value = asWanted(page.model, typed),
      sample = page.samples.find((one) => one.text === value),
      now = ++last;
    if (!value) return clear();
    await page.work(async () => {
      const found = await page.call("text", value);
      if (now !== last) return;
      note(value, found);
      await show(page, found, { value, output, more, stopped: () => now !== last });
      const right = page.shows.kind === "labels" ? "the right answer" : "a person wrote";
      beside.replaceChildren(...told(sample, "Keras in Python said", right));
    });
  }

  /** Says so where the text is longer than the file reads, or has a letter that it has never seen. */
  function note(value, found) {
    const room = signatures.text.inputs.utf8.shape[1],
      ids = found.utf8 ? found.source : found.tokens;
    const long =
      new TextEncoder().encode(value).length > room || (ids && Array.from(ids.data).indexOf(2) === ids.shape[1] - 1);
    const odd = card.letters && [...value].find((letter) => !card.letters.includes(letter));
    const none = card.hidden && !value.includes(card.hidden);
    cut.textContent =
      (none && `Write ${card.hidden} in the place of a word.`) ||
      (long && "Longer than this model reads: the end was left out.") ||
      (odd && `It knows no “${odd}”.`) ||
      "";
  }

  function clear() {
    for (const part of [output, more, beside, cut]) part.replaceChildren();
  }

  const chips = choices(page.samples, (sample) => ((input.value = sample.text), read()));
  const element = h(
    "div",
    { class: "stack" },
    h(
      "div",
      { class: "pair" },
      h("section", { class: "card" }, h("label", { class: "title", for: "input" }, label), input, cut),
      h("section", { class: "card answer" }, h("h2", { class: "title" }, page.shows.label ?? "Answer"), output, beside),
    ),
    tries("Try one", chips),
    more,
  );
  return { element, again: again(page.samples, input, () => read()) };
}

/** A text as the file wants it: in small letters, cut into words, or with a space before what is hidden. */
function asWanted(model, typed) {
  const { letters, words, hidden } = model.card;
  if (letters) return typed.toLowerCase();
  if (words) return model.words(typed).join(" ");
  if (!hidden) return typed;
  const mark = hidden.replace(/[[\]]/g, "\\$&"); // it has brackets
  return typed.replaceAll(new RegExp(`\\s*${mark}`, "gi"), ` ${hidden}`).trim();
}

/** A text with a hidden word in, the likeliest pieces of the vocabulary out; what goes on with a word has a hyphen. */
async function filled(page, found, { value, output, more }) {
  more.replaceChildren();
  if (!value.includes(page.model.card.hidden)) return output.replaceChildren();
  const pieces = page.model.pieces(found.probabilities.data.keys());
  bars(
    output,
    pieces.map((piece) => (piece.startsWith("\u2581") ? piece.slice(1) : `-${piece}`)),
    found.probabilities.data,
  );
}

/** A text in, a text out, and where it looked for each word. */
async function written(page, found, { output, more }) {
  output.textContent = found.text;
  output.dataset.text = found.text;
  if (!found.source || !("attention" in page.model.signatures)) return more.replaceChildren();
  const { weights } = await page.model.run("attention", { source: found.source, tokens: found.tokens });
  const sides = [found.source, found.tokens].map((ids) => words(page.model.pieces(ids.data)));
  more.replaceChildren(attention(weights, ...sides));
}

/** A text in, a label out: a bar for each, and what each word adds. */
async function answered(page, found, { value, output, more, stopped }) {
  const name = Object.keys(found).find((key) => key !== "tokens");
  if (!page.labels.length) {
    output.replaceChildren(h("p", { class: "big" }, Number(found[name].data[0]).toFixed(2)));
    return more.replaceChildren();
  }
  const best = bars(output, page.labels, found[name].data);
  more.replaceChildren(await weighed(page, value, found[name].data, best, stopped));
}

/** A text in, a label for each of its words out: row i is that of word i where `words` are counted, else of piece i. */
async function tagged(page, found, { value, output, more }) {
  const odds = Object.values(found).find(({ shape }) => shape?.length === 3);
  const sides = found.words
    ? value
        .split(/\s+/)
        .slice(0, found.words.data[0])
        .map((word, i) => ({ word, from: i }))
    : words(page.model.pieces(found.tokens.data)).filter(({ end }) => !end);
  tags(output, page, sides, odds);
  more.replaceChildren();
}
