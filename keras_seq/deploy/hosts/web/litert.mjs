// Runs a .tflite of keras_seq with LiteRT.js, in a browser and in Node. Needs @litertjs/core 2.5.3 from npm, no more.
//
//     import { load } from "./litert.mjs";
//     const model = await load("model_int8.tflite", "/node_modules/@litertjs/core/wasm/");
//     const { text } = await model.text("Open the file.");                    // a signature that reads and writes text
//     const { probabilities } = await model.run("predict", { frames, length });  // { shape, data: Float32Array }
//     model.delete();
//
// In a browser an import map says where "@litertjs/core" and "@litertjs/wasm-utils" lie. All sizes in a file are fixed:
// a shorter array is filled up with zeros, which is what the bytes of a text and rows of ids end in.

const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
const inNode = typeof process !== "undefined" && Boolean(process.versions?.node);

let runtime; // LiteRT.js, loaded once

/**
 * A model, ready to run.
 *
 * @param {string | URL | Uint8Array} source address of the file (in Node its path), or its bytes.
 * @param {string} wasm address of the folder wasm/ of @litertjs/core (in Node its path, found without being told).
 */
export async function load(source, wasm) {
  runtime ??= start(wasm);
  const litert = await runtime;
  const bytes = source instanceof Uint8Array ? source : await read(source);
  const files = await unzip(bytes);
  if (card(files).dynamic)
    throw new Error("expected a file of fixed shapes, got one for any length: LiteRT.js cannot resize, take the other");
  const compiled = await litert.loadAndCompile(bytes, { accelerator: "wasm" });
  return new Model(litert.Tensor, compiled, bytes, files);
}

export class Model {
  constructor(Tensor, compiled, bytes, files) {
    Object.assign(this, { Tensor, compiled, files, size: bytes.length });
    this.card = card(files);
    this.signatures = {}; // { name: { inputs: { name: { shape, dtype } }, outputs: { ... } } }
    for (const [name, runner] of Object.entries(compiled.signatures)) {
      this.signatures[name] = { inputs: facts(runner.getInputDetails()), outputs: facts(runner.getOutputDetails()) };
    }
  }

  /** One call: arrays or numbers by name in, { name: { shape, data } } out. What an earlier call returned may go in. */
  async run(signature, given) {
    const inputs = {};
    for (const [name, { shape, dtype }] of Object.entries(this.signatures[signature].inputs)) {
      if (given[name] === undefined) throw new Error(`expected the input ${name} of ${signature}, got none`);
      inputs[name] = new this.Tensor(filled(given[name], shape, ARRAYS[dtype], name), shape);
    }
    let outputs = {};
    try {
      outputs = await this.compiled.run(signature, inputs);
      const read = (tensor) => ({ shape: [...tensor.type.layout.dimensions], data: tensor.toTypedArray().slice() });
      return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, read(tensor)]));
    } finally {
      for (const tensor of [...Object.values(inputs), ...Object.values(outputs)]) tensor.delete(); // no one else would
    }
  }

  /** A text, or arrays by name where something else is read, to all outputs; `utf8` of them as the string `text`. */
  async text(given, signature = "text") {
    const found = await this.run(signature, typeof given === "string" ? { utf8: this.utf8(given, signature) } : given);
    if (!found.utf8) return found;
    const nothing = typeof given === "string" && !given.trim();
    return { ...found, text: nothing ? "" : decode(found.utf8.data.filter((byte) => byte > 0)) };
  }

  /** The bytes of a text as a signature reads them; too long a one is cut, a prompt at its beginning. */
  utf8(text, signature = "text") {
    const { inputs, outputs } = this.signatures[signature];
    const bytes = new TextEncoder().encode(text),
      size = count(inputs.utf8.shape);
    let from = outputs.prompt ? Math.max(0, bytes.length - size) : 0;
    while ((bytes[from] & 0xc0) === 0x80) from++; // in the middle of a character
    return Int32Array.from(bytes.subarray(from, from + size));
  }

  /** The words and marks of a text, where the card has `words`: `text` wants them with a space between. */
  words(text) {
    return words(text, this.card.words);
  }

  /** The pieces of text that ids stand for, by the vocabulary in the file; "▁" in them is a space. */
  pieces(ids) {
    this.vocabulary ??= vocabulary(this.files["tokenizer.model"]);
    return Array.from(ids, (id) => this.vocabulary[id] ?? "");
  }

  delete() {
    this.compiled.delete();
  }
}

const facts = (details) => Object.fromEntries(details.map((d) => [d.name, { shape: [...d.shape], dtype: d.dtype }]));
const count = (shape) => shape.reduce((a, b) => a * b, 1);
const card = (files) => (files["card.json"] ? JSON.parse(decode(files["card.json"])) : {});
const decode = (bytes) => new TextDecoder().decode(Uint8Array.from(bytes));

/** The words and marks of a text, cut as a card's `words` says. */
export function words(text, { unicode_pattern, whole, clitics, quotes }) {
  if (!unicode_pattern) throw new Error("expected a card with unicode_pattern, got an older one: export again");
  const known = new Set(whole),
    token = new RegExp(unicode_pattern, "gu"),
    found = [];
  for (const chunk of text.split(/[\p{Z}\t-\r\x1c-\x1f\x85]+/u).filter(Boolean)) {
    const first = found.length;
    for (const word of known.has(chunk) ? [chunk] : chunk.match(token)) {
      const end = !known.has(word) && clitics.find((end) => word.toLowerCase().endsWith(end) && word.length > end.length);
      if (word === "." && found.length > first && known.has(`${found.at(-1)}.`)) found[found.length - 1] += ".";
      else if (end) found.push(word.slice(0, -end.length), word.slice(-end.length));
      else found.push(word);
    }
  }
  let marks = 0;
  return found.map((word) => (quotes && word === '"' ? ["``", "''"][marks++ % 2] : word.replaceAll("\u2581", "_")));
}

/** A number, an array or an earlier output as a typed array of the right size. */
function filled(value, shape, Type, name) {
  const data = typeof value === "number" ? [value] : (value.data ?? value);
  if (data.length > count(shape)) throw new Error(`expected ${count(shape)} numbers for ${name}, got ${data.length}`);
  if (data instanceof Type && data.length === count(shape)) return data;
  const array = new Type(count(shape));
  array.set(data);
  return array;
}

// --- the files inside ----------------------------------------------------------------------------------------------

/** { name: bytes } of the zip archive that lies behind the flatbuffer; empty where none does. */
export async function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
    files = {};
  const end = last(view, 0x06054b50);
  if (end < 0) return files;
  let at = view.getUint32(end + 16, true);
  for (let i = view.getUint16(end + 10, true); i > 0; i--) {
    const [method, packed] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true)];
    const [name, extra, note] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const local = view.getUint32(at + 42, true);
    const begin = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const data = bytes.subarray(begin, begin + packed);
    files[decode(bytes.subarray(at + 46, at + 46 + name))] = method ? await inflate(data) : data;
    at += 46 + name + extra + note;
  }
  return files;
}

/** Where a mark of four bytes stands for the last time, within the last 64 kB; -1 where it does not. */
function last(view, mark) {
  const from = view.byteLength - 22,
    to = Math.max(0, from - 65535);
  for (let at = from; at >= to; at--) if (view.getUint32(at, true) === mark) return at;
  return -1;
}

async function inflate(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The pieces of a sentencepiece model: field 1 of each field 1 of its protobuf. */
function vocabulary(bytes) {
  return fields(bytes)
    .filter(([number]) => number === 1)
    .map(([, piece]) => {
      const [, text] = fields(piece).find(([number]) => number === 1);
      return decode(text);
    });
}

/** [number, bytes or undefined] of each field of a protobuf message; bytes where it has a length. */
function fields(bytes) {
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0,
      scale = 1,
      byte;
    do {
      byte = bytes[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte > 127);
    return value;
  };
  while (at < bytes.length) {
    const key = varint(),
      kind = key & 7;
    const size = kind === 2 ? varint() : kind === 1 ? 8 : kind === 5 ? 4 : (varint(), 0);
    found.push([key >> 3, kind === 2 ? bytes.subarray(at, at + size) : undefined]);
    at += size;
  }
  return found;
}

// --- the runtime ---------------------------------------------------------------------------------------------------

async function read(source) {
  if (inNode) return new Uint8Array(await (await import("node:fs/promises")).readFile(source));
  const answer = await fetch(source);
  if (!answer.ok) throw new Error(`expected a model at ${source}, got ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function start(wasm) {
  globalThis.Module = { print: note, printErr: note };
  const folder = inNode ? await asWorker(wasm) : wasm;
  const litert = await import("@litertjs/core");
  const { warn } = console;
  console.warn = () => {}; // it warns where there is no WebGPU, which is not used here
  await litert.loadLiteRt(folder).finally(() => Object.assign(console, { warn }));
  return litert;
}

/** What the runtime says, but for the news that it has started. */
const note = (line) => /^(INFO|WARNING)/.test(line) || console.error(line);

/** LiteRT.js is made for browsers: lets Node look like one of their workers to it. Returns the folder wasm/. */
async function asWorker(wasm) {
  const [fs, path, vm, { createRequire }] = await Promise.all(
    ["fs", "path", "vm", "module"].map((name) => import(`node:${name}`)),
  );
  const require = createRequire(import.meta.url);
  const folder = wasm ?? path.join(path.dirname(require.resolve("@litertjs/core")), "..", "wasm");
  globalThis.self ??= globalThis;
  Object.assign(globalThis, { require, __filename: folder, __dirname: folder, WorkerGlobalScope: class {} });
  globalThis.location ??= { href: `file://${folder}/` };
  globalThis.importScripts = (script) => {
    const file = String(script);
    vm.runInThisContext(fs.readFileSync(file, "utf8"), { filename: file });
    globalThis.Module.wasmBinary = fs.readFileSync(file.replace(/\.js$/, ".wasm"));
  };
  return folder;
}
