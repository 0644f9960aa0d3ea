// Runs a .tflite of keras_seq in Node 20 or later: `npm install @litertjs/core@2.5.3`, then
//
//     node run.mjs model_int8.tflite "Open the file."       what `text` makes of it, or another: --signature text_beam
//     node run.mjs model_int8.tflite --check golden.json    whether all answers are those of the export, or exit code 1
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { parseArgs } from "node:util";

import { load } from "./litert.mjs";

const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
const options = { check: { type: "string" }, signature: { type: "string", default: "text" }, wasm: { type: "string" } };

/** A TENSOR of golden.json as an array: zeros at its end are left out there, and what repeats stands once. */
function unpack({ dtype, shape, data, repeat }) {
  const array = new (ARRAYS[dtype] ?? Int32Array)(shape.reduce((a, b) => a * b, 1)); // booleans are 0 and 1
  if (repeat) return array.map((_, i) => data[i % data.length]);
  array.set(data);
  return array;
}

/** What is wrong with an output, or nothing; of a large one the file has each `every`th number. */
function wrong(found, expected, tolerance) {
  const { every = 1, dtype, shape, data } = expected;
  if (String(found.shape) !== String(shape)) return `expected the shape ${shape}, got ${found.shape}`;
  const wanted = every > 1 ? data : unpack(expected);
  const allowed = dtype.startsWith("float") ? tolerance * Math.max(1, ...wanted.map(Math.abs)) : 0;
  const at = wanted.findIndex((value, i) => !(Math.abs(value - found.data[i * every]) <= allowed));
  return at < 0
    ? undefined
    : `expected ${wanted[at]} at ${at * every}, got ${found.data[at * every]} (${allowed} is allowed)`;
}

/** Runs the cases that were written for this file; returns how many, and a line for each that differs. */
async function check(model, golden, file) {
  const found = [],
    differences = [];
  for (const [i, { format, signature, about, text, inputs, outputs }] of golden.cases.entries()) {
    if (golden.files[format] !== file) continue;
    const given = Object.entries(inputs).map(([name, x]) => [name, "case" in x ? found[x.case][x.output] : unpack(x)]);
    found[i] = await model.run(signature, Object.fromEntries(given));
    if (text !== undefined && String(model.utf8(text, signature)) !== String(inputs.utf8.data))
      differences.push(`case ${i} (${signature}, ${about}): other bytes of the text`);
    for (const [name, expected] of Object.entries(outputs)) {
      const problem = wrong(found[i][name], expected, golden.tolerance[format]);
      if (problem) differences.push(`case ${i} (${signature}, ${about}), ${name}: ${problem}`);
    }
  }
  return { count: Object.keys(found).length, differences };
}

async function main() {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [path, text] = positionals;
  if (!path || (text === undefined) === !values.check) {
    console.error(
      "error: expected `node run.mjs model.tflite TEXT` or `node run.mjs model.tflite --check golden.json`",
    );
    return 2;
  }
  const model = await load(path, values.wasm);
  if (!values.check) {
    const found = await model.text(text, values.signature);
    const plain = Object.entries(found).map(([name, value]) => [name, Array.from(value.data ?? [])]);
    console.log(found.text ?? JSON.stringify(Object.fromEntries(plain)));
    return 0;
  }
  const { count, differences } = await check(model, JSON.parse(await readFile(values.check, "utf8")), basename(path));
  for (const line of differences) console.error(line);
  console.log(`${path}: ${count} cases, ${differences.length} differences`);
  return count && !differences.length ? 0 : 1;
}

process.exitCode = await main().catch((error) => {
  console.error(`error: ${error.message ?? error}`);
  return 1;
});
