// Series of numbers as a picture: lines and bands over rows.
import { choices, h, paused, s, tries } from "./dom.mjs";

const EDGE = { left: 52, right: 12, top: 12, bottom: 26 };

/**
 * @param {number} width in pixels, and the height.
 * @param {{ kind: string, at: number, values: ArrayLike<number> }[]} lines from row `at` on.
 * @param {{ at: number, low: ArrayLike<number>, high: ArrayLike<number> }[]} bands the same, between two lines.
 * @param {{ kind: string, at: number }[]} marks upright lines at some rows.
 * @param {[number, string][]} ticks rows that are named below.
 */
export function chart({ width, height = 300, lines, bands = [], marks = [], ticks = [] }) {
  const rows = [...lines, ...bands].map(({ at, values, low }) => [at, at + (values ?? low).length - 1]);
  const all = [...lines.map(({ values }) => values), ...bands.flatMap(({ low, high }) => [low, high])];
  const [first, last] = range(rows.flat()),
    heights = steps(...range(all.flatMap((values) => Array.from(values))));
  const x = scale(first, last, EDGE.left, width - EDGE.right),
    y = scale(heights[0], heights.at(-1), height - EDGE.bottom, EDGE.top);
  const points = (values, at) => Array.from(values, (value, i) => `${x(at + i).toFixed(1)},${y(value).toFixed(1)}`);
  return s(
    "svg",
    { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img" },
    heights.map((value) =>
      s(
        "g",
        { class: "grid" },
        s("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
        s("text", { x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, short(value)),
      ),
    ),
    ticks.map(([row, name]) => s("text", { class: "tick", x: x(row), y: height - 6, "text-anchor": "middle" }, name)),
    marks.map(({ kind, at }) =>
      s("line", { class: kind, x1: x(at), x2: x(at), y1: EDGE.top, y2: height - EDGE.bottom }),
    ),
    bands.map(({ at, low, high }) =>
      s("polygon", { class: "band", points: [...points(high, at), ...points(low, at).reverse()].join(" ") }),
    ),
    lines.map(({ kind, at, values }) => s("polyline", { class: kind, points: points(values, at).join(" ") })),
  );
}

/**
 * What stands around a chart: its title, what its colours mean, as { kind: name }, what is told of it, a slider, samples.
 *
 * @param {() => void} draw the chart again, in a place of another width.
 */
export function framed(page, { title, keys, output, told, slider, choose, draw }) {
  const named = Object.entries(keys).map(([kind, name]) => h("span", { class: "key" }, h("i", { class: kind }), name));
  addEventListener("resize", paused(draw));
  return h(
    "div",
    { class: "stack" },
    h(
      "section",
      { class: "card" },
      h("div", { class: "keys" }, title.element, named),
      output,
      told,
      h("div", { class: "controls lines" }, slider.elements),
    ),
    tries("Try one", choices(page.samples, choose)),
  );
}

/** Which rows are named below a chart, and how: by day where there are times, in minutes since 1970 on the wall. */
export function ticks(time, count, most) {
  if (!time) return steps(0, count).filter((row) => row < count).map((row) => [row, short(row)]);
  const day = (minutes) => Math.floor(minutes / 1440);
  const begins = Array.from(time.keys()).filter((i) => i > 0 && day(time[i]) !== day(time[i - 1]));
  const each = Math.ceil(begins.length / most);
  const name = (i) => new Date(60000 * time[i]).toLocaleDateString("en", { timeZone: "UTC", weekday: "short", day: "numeric" });
  return begins.filter((_, i) => i % each === 0).map((i) => [i, name(i)]);
}

const range = (numbers) => numbers.reduce(([low, high], x) => [Math.min(low, x), Math.max(high, x)], [Infinity, -Infinity]);
const scale = (from, to, low, high) => (value) => low + ((value - from) / (to - from || 1)) * (high - low);

/** Round numbers, three to seven, from below `low` to above `high`. */
function steps(low, high) {
  const size = high - low || Math.abs(high) || 1,
    power = 10 ** Math.floor(Math.log10(size / 3)),
    step = power * [1, 2, 5, 10].find((factor) => size / (factor * power) <= 5);
  const first = Math.floor(low / step),
    last = Math.max(first + 1, Math.ceil(high / step));
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

const short = (value) => value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
