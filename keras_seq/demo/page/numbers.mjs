// Whatever else is read: what the signatures are, and a run of each on zeros, which shows that they run and how fast.
import { h } from "./dom.mjs";

export function numbers(page) {
  const { signatures } = page.model;
  const output = h("div", { id: "output", class: "output", "aria-live": "polite" });
  const table = h(
    "table",
    {},
    h(
      "tbody",
      {},
      Object.entries(signatures).flatMap(([name, { inputs, outputs }]) => [
        h("tr", {}, h("th", { colspan: 3, scope: "rowgroup" }, h("code", {}, name))),
        ...rows("in", inputs),
        ...rows("out", outputs),
      ]),
    ),
  );

  async function run() {
    await page.work(async () => {
      const lines = [];
      for (const name of Object.keys(signatures)) {
        const begin = performance.now(),
          zeros = Object.keys(signatures[name].inputs).map((key) => [key, []]);
        await page.call(name, Object.fromEntries(zeros));
        lines.push(h("li", {}, h("code", {}, name), ` ${(performance.now() - begin).toFixed(1)} ms`));
      }
      output.dataset.text = lines.length;
      output.replaceChildren(h("ul", {}, lines));
    });
  }

  const element = h(
    "div",
    { class: "stack" },
    h(
      "section",
      { class: "card" },
      h("h2", { class: "title" }, "Numbers in, numbers out"),
      h(
        "p",
        { class: "note" },
        "This model reads neither text nor pictures, so there is nothing to type or drop. It runs here all the same:",
      ),
      h("button", { id: "input", type: "button", class: "chip", onclick: run }, "run each signature on zeros"),
      output,
    ),
    h(
      "section",
      { class: "card" },
      h("h2", { class: "title" }, "What it reads and writes"),
      h("div", { class: "scroll" }, table),
    ),
  );
  return { element, again: run };
}

function rows(where, tensors) {
  const size = (shape) => shape.join(" × ") || "a number";
  return Object.entries(tensors).map(([name, { shape, dtype }]) =>
    h("tr", {}, h("td", {}, where), h("td", {}, h("code", {}, name)), h("td", {}, `${size(shape)} ${dtype}`)),
  );
}
