// Rows of a table are read and those to come foretold: a chart of both, and what if the last rows had been others.
import { chart, framed, ticks } from "./chart.mjs";
import { h, picker, slider } from "./dom.mjs";

const PAST = 7; // of the past as many rows as this many horizons are shown

export function forecast(page) {
  const { signatures, card } = page.model;
  const [, horizon, count, quantiles] = signatures.predict.outputs.forecast.shape,
    size = signatures.predict.inputs.past.shape[1],
    middle = card.quantiles.indexOf(0.5);
  const output = h("div", { id: "output", class: "output" });
  const target = picker("target", card.targets, () => show()),
    range = { min: 0.5, max: 1.5, step: 0.05, value: 1 },
    ask = `What if the last ${horizon} rows had been`,
    factor = slider("factor", ask, range, (by) => `× ${by.toFixed(2)}`, () => read()),
    told = h("p", { class: "note" });
  let sample, past, found;

  async function set(chosen) {
    sample = chosen;
    factor.reset();
    await read();
  }

  /** Foretells what comes after the rows of the sample, the last of them changed as the slider says. */
  async function read() {
    const by = factor.value();
    past = Float32Array.from(sample.past.flat(), (value, i) => (i < (size - horizon) * count ? value : value * by));
    const inputs = { ...sample, past, known: sample.known?.flat() };
    await page.work(async () => {
      found = (await page.call("predict", inputs)).forecast.data;
      show();
    });
  }

  function show() {
    const column = target.chosen(),
      shown = Math.min(size, PAST * horizon);
    const level = (q) => Array.from({ length: horizon }, (_, t) => found[(t * count + column) * quantiles + q]);
    const before = Array.from({ length: shown }, (_, i) => past[(size - shown + i) * count + column]);
    const came = sample.came?.map((row) => row[column]),
      [low, high] = [level(0), level(quantiles - 1)];
    const width = Math.max(320, output.clientWidth);
    const picture = chart({
      width,
      lines: [
        { kind: "past", at: 0, values: before },
        ...(came ? [{ kind: "came", at: shown, values: came }] : []),
        { kind: "foretold", at: shown, values: level(middle) },
      ],
      bands: [{ at: shown, low, high }],
      marks: [{ kind: "now", at: shown - 0.5 }],
      ticks: ticks(sample.time?.slice(size - shown), shown + horizon, width / 90),
    });
    output.dataset.text = JSON.stringify(level(middle).map((value) => Number(value.toPrecision(6))));
    output.replaceChildren(picture);
    const share = Math.round(100 * (card.quantiles.at(-1) - card.quantiles[0]));
    const inside = came?.filter((value, t) => low[t] <= value && value <= high[t]).length;
    told.textContent = `${share} % of what comes should lie in the band${came ? `: of these ${horizon} rows ${inside} do` : ""}.`;
  }

  const came = page.samples.some((one) => one.came) && { came: "what came" },
    keys = { past: "read", foretold: "foretold", ...came },
    around = { title: target, keys, output, told, slider: factor, choose: set, draw: () => found && show() };
  const element = framed(page, around);
  return { element, again: () => (sample ? read() : set(page.samples[0])) };
}
