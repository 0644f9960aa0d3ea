// What is shown of an answer: bars, words in colour, attention maps.
import { breath, colour, h, percent, s } from "./dom.mjs";

const SPACE = "\u2581",
  END = ["</s>", "<pad>", "<s>"];

/** Pieces of words as words: [{ word, from, to }], up to the end of the text, which is one of them; letters are words. */
export function words(pieces) {
  const found = [],
    end = pieces.findIndex((piece) => END.includes(piece));
  const begins = pieces.some((piece) => piece.startsWith(SPACE)) ? (piece) => piece.startsWith(SPACE) : () => true;
  pieces.slice(0, end < 0 ? undefined : end).forEach((piece, i) => {
    if (begins(piece) || !found.length) found.push({ word: "", from: i, to: i });
    Object.assign(found.at(-1), { word: found.at(-1).word + piece.replaceAll(SPACE, ""), to: i + 1 });
  });
  if (end >= 0) found.push({ word: "end", from: end, to: end + 1, end: true });
  return found;
}

// --- labels --------------------------------------------------------------------------------------------------------

/** A bar for each of the best labels; returns the place of the best one. */
export function bars(output, labels, odds, most = 6) {
  const order = Array.from(odds.keys()).sort((a, b) => odds[b] - odds[a]);
  const best = order[0];
  const rows = (labels.length > 3 ? order.slice(0, most) : Array.from(odds.keys())).map((i) =>
    h(
      "li",
      { class: i === best ? "bar-row best" : "bar-row" },
      h("span", { class: "name" }, labels[i]),
      h("span", { class: "track", style: { "--share": odds[i] } }),
      h("span", { class: "share" }, percent(odds[i])),
    ),
  );
  output.dataset.text = labels[best];
  output.dataset.share = odds[best];
  output.replaceChildren(
    h("p", { class: "big" }, labels[best], " ", h("small", {}, percent(odds[best]))),
    h("ul", { class: "bars" }, rows),
  );
  return best;
}

/** The words of a text, in colour by how much less sure the answer is without each: 0 to 40 more calls. */
export async function weighed(page, text, odds, best, stopped) {
  const parts = text.split(/(\s+)/),
    places = parts.map((part, i) => (part.trim() ? i : -1)).filter((i) => i >= 0);
  if (places.length < 2 || places.length > 40) return "";
  const change = new Map();
  for (const place of places) {
    const without = parts
      .filter((_, i) => i !== place)
      .join("")
      .trim();
    const found = await page.call("text", without);
    const name = Object.keys(found).find((key) => key !== "tokens");
    change.set(place, Math.log(odds[best] + 1e-4) - Math.log(found[name].data[best] + 1e-4));
    if (change.size % 8 === 0) await breath();
    if (stopped()) return "";
  }
  const largest = Math.max(0.05, ...[...change.values()].map(Math.abs));
  const shown = parts.map((part, i) => {
    if (!change.has(i)) return part;
    const share = change.get(i) / largest;
    const title = `${share >= 0 ? "speaks for" : "speaks against"} ${page.labels[best]}`;
    return h(
      "span",
      { class: share >= 0 ? "word for" : "word against", style: { "--share": Math.abs(share).toFixed(3) }, title },
      part,
    );
  });
  return h(
    "section",
    { class: "card" },
    h("h2", { class: "title" }, "What each word adds"),
    h("p", { class: "running" }, shown),
    h(
      "p",
      { class: "note legend" },
      h("span", { class: "word for", style: { "--share": 1 } }, "for"),
      ` ${page.labels[best]}, `,
      h("span", { class: "word against", style: { "--share": 1 } }, "against"),
      " it: found by leaving out one word at a time.",
    ),
  );
}

/** The words of a text, each with the label that its first piece has. */
export function tags(output, page, sides, odds) {
  const count = odds.shape.at(-1),
    labels = page.labels,
    quiet = page.shows.quiet ?? ["O", "none", ""];
  const best = (row) => {
    const part = odds.data.subarray(row * count, (row + 1) * count);
    return labels[part.indexOf(Math.max(...part))];
  };
  const found = sides.map(({ from }) => best(from));
  output.dataset.text = found.join(" ");
  output.replaceChildren(
    h(
      "p",
      { class: "running tagged" },
      sides.flatMap(({ word }, i) => {
        const label = found[i];
        const mark = quiet.includes(label)
          ? word
          : h("span", { class: "tag", style: { "--colour": colour(label, labels) } }, word, h("small", {}, label));
        return [mark, " "];
      }),
    ),
  );
}

// --- attention -----------------------------------------------------------------------------------------------------

/** Weights (1, T, S) of pieces as rows of words: the mean over the pieces written, the sum over those looked at. */
export function merged(weights, source, target) {
  const size = weights.shape[2];
  return target.map(({ from, to }) =>
    source.map((column) => {
      let sum = 0;
      for (let t = from; t < to; t++) for (let i = column.from; i < column.to; i++) sum += weights.data[t * size + i];
      return sum / (to - from);
    }),
  );
}

/** Where it looked for each word: point at one, or read the map. */
export function attention(weights, source, target) {
  const written = target.filter((side) => !side.end),
    rows = merged(weights, source, written);
  const cells = source.map(({ word, end }) => h("span", { class: end ? "word read end" : "word read" }, word));
  const light = (row) =>
    cells.forEach((cell, i) =>
      cell.style.setProperty("--share", row < 0 ? 0 : (rows[row][i] / Math.max(...rows[row])) ** 0.8),
    );
  const buttons = written.map(({ word }, i) =>
    h(
      "button",
      {
        type: "button",
        class: "word written",
        onmouseenter: () => choose(i),
        onfocus: () => choose(i),
        onclick: () => choose(i),
      },
      word,
    ),
  );
  const map = matrix(rows, source, written, choose);
  function choose(row) {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === row));
    map.querySelectorAll("g.row").forEach((line, i) => line.classList.toggle("chosen", i === row));
    light(row);
  }
  choose(sharpest(rows));
  return h(
    "section",
    { class: "card" },
    h("h2", { class: "title" }, "Where it looked"),
    h(
      "div",
      { class: "look-at" },
      h(
        "div",
        {},
        h("p", { class: "note" }, "Point at a word that it wrote, and see what it looked at."),
        h("span", { class: "side" }, "it wrote"),
        h(
          "p",
          { class: "running", id: "written" },
          buttons.flatMap((button) => [button, " "]),
        ),
        h("span", { class: "side" }, "it looked at"),
        h(
          "p",
          { class: "running", id: "looked" },
          cells.flatMap((cell) => [cell, " "]),
        ),
      ),
      h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "map of attention" }, map),
    ),
  );
}

/** The row that looks hardest at one place. */
function sharpest(rows) {
  const peaks = rows.map((row) => Math.max(...row.slice(0, -1)));
  return peaks.indexOf(Math.max(...peaks));
}

/** A map with a row for each word written and a column for each word read. */
function matrix(rows, source, target, choose) {
  const size = 28,
    left = 12 + 7.2 * Math.max(3, ...target.map(({ word }) => word.length));
  const top = 14 + 5.6 * Math.max(3, ...source.map(({ word }) => word.length));
  const width = left + size * source.length + 40,
    height = top + size * target.length + 6;
  const heads = source.map(({ word, end }, i) =>
    s(
      "text",
      {
        class: end ? "end" : "",
        transform: `translate(${left + size * (i + 0.62)} ${top - 8}) rotate(-50)`,
      },
      word,
    ),
  );
  const lines = target.map(({ word }, t) =>
    s(
      "g",
      { class: "row", onmouseenter: () => choose(t) },
      s("rect", { class: "hit", x: 0, y: top + size * t, width: left + size * source.length, height: size }),
      s("text", { x: left - 8, y: top + size * (t + 0.66), "text-anchor": "end" }, word),
      rows[t].map((weight, i) =>
        s(
          "rect",
          {
            class: "cell",
            x: left + size * i + 1,
            y: top + size * t + 1,
            width: size - 2,
            height: size - 2,
            rx: 5,
            style: { "--share": weight.toFixed(3) },
          },
          s("title", {}, `${word} ← ${source[i].word}: ${percent(weight)}`),
        ),
      ),
    ),
  );
  const most = rows.map((row) => source[row.indexOf(Math.max(...row))].word);
  const name = `where it looked: ${target.map(({ word }, t) => `${word} at ${most[t]}`).join(", ")}`;
  return s(
    "svg",
    { class: "matrix", role: "img", "aria-label": name, width, height, viewBox: `0 0 ${width} ${height}` },
    heads,
    lines,
  );
}
