// Rows of a table are judged one after the other, as they would come live: a chart of them, and what if some were off.
import { chart, framed, ticks } from "./chart.mjs";
import { breath, h, picker, slider } from "./dom.mjs";

const DRAWN = 24; // rows between two pictures
const OFF = 1 / 16; // of the rows that are read before one: so many are off, at a fifth of those that are judged

export function watch(page) {
  const { signatures, card } = page.model;
  const [, context] = signatures.step.inputs.past.shape;
  const output = h("div", { id: "output", class: "output" });
  const variable = picker("variable", card.variables, () => draw()),
    many = Math.max(1, Math.round(context * OFF)),
    ask = `What if ${many} of these rows had been off by`,
    said = (by) => `${by > 0 ? "+" : ""}${by} deviations`,
    off = slider("off", ask, { min: -4, max: 4, step: 0.5, value: 0 }, said, () => run()),
    told = h("p", { class: "note" });
  let sample,
    rows,
    judged = { scores: [], flags: [] },
    last = 0;

  async function set(chosen) {
    sample = chosen;
    off.reset();
    await run();
  }

  /** Judges all rows of the sample after the first, which are read only; some are off as the slider says. */
  async function run() {
    const now = ++last,
      by = off.value(),
      place = context + Math.floor((sample.rows.length - context) / 5);
    const changed = (row, i) => (i < place || i >= place + many ? row : row.map((x, v) => x + by * card.deviation[v]));
    rows = sample.rows.map(changed);
    await page.work(async () => {
      const done = { scores: [], flags: [] };
      let state = { past: rows.slice(0, context).flat(), mean: card.error_mean, variance: card.error_variance };
      for (const row of rows.slice(context)) {
        const { score, flag, ...next } = await page.call("step", { row, ...state });
        state = next;
        done.scores.push(score.data[0]);
        done.flags.push(flag.data[0]);
        if (done.flags.length % DRAWN) continue;
        await breath();
        if (now !== last) return; // another run has begun
        draw((judged = done));
      }
      draw((judged = done));
    });
  }

  function draw() {
    const column = variable.chosen(),
      width = Math.max(320, output.clientWidth),
      { scores, flags } = judged;
    const named = ticks(sample.time, rows.length, width / 90);
    const marks = flags.flatMap((flag, i) => (flag ? [{ kind: "flagged", at: context + i }] : []));
    const first = rows.slice(0, context).map((row) => row[column]);
    output.replaceChildren(
      chart({
        width,
        lines: [
          { kind: "read", at: 0, values: first },
          { kind: "past", at: context, values: rows.slice(context).map((row) => row[column]) },
        ],
        marks: [...marks, { kind: "now", at: context - 0.5 }],
        ticks: named,
      }),
      chart({
        width,
        height: 130,
        lines: [
          { kind: "limit", at: 0, values: rows.map(() => 1) },
          { kind: "foretold", at: context, values: scores },
        ],
        ticks: named,
      }),
    );
    output.dataset.text = JSON.stringify({ scores, flags });
    const found = flags.filter(Boolean).length,
      wanted = sample.windows?.length ? `; labelled as unusual: rows ${sample.windows.map((w) => w.join(" to ")).join(", ")}` : "";
    told.textContent = `${found} of ${flags.length} rows are flagged${wanted}.`;
  }

  const keys = { read: "read only", past: "judged", flagged: "flagged", foretold: "score below, flagged above 1" },
    around = { title: variable, keys, output, told, slider: off, choose: set, draw: () => sample && draw() };
  const element = framed(page, around);
  return { element, again: () => (sample ? run() : set(page.samples[0])) };
}
