// The page of an exported file: loads it, finds out what it reads and writes, and shows the parts that fit.
import { load } from "/host/litert.mjs";

import { clip } from "./clip.mjs";
import { h } from "./dom.mjs";
import { forecast } from "./forecast.mjs";
import { numbers } from "./numbers.mjs";
import { picture } from "./picture.mjs";
import { sound } from "./sound.mjs";
import { text } from "./text.mjs";
import { watch } from "./watch.mjs";
import { writer } from "./writer.mjs";

const READERS = { text, writer, picture, clip, sound, forecast, watch, numbers };
const WASM = "/runtime/core/wasm/";
const at = (id) => document.getElementById(id);

class Page {
  constructor(about) {
    Object.assign(this, about, { reads: { ...about.reads }, shows: { ...about.shows }, samples: about.samples ?? [] });
    this.least = Infinity; // milliseconds of a call
  }

  /** Loads the file of a format and shows its page, or what went wrong. */
  async open(format) {
    this.state("loading", `Loading ${megabytes(this.formats[format].bytes)} of model …`);
    try {
      const begin = performance.now();
      const model = await load(`/model/${this.formats[format].file}`, WASM);
      this.model?.delete();
      Object.assign(this, { model, format, loaded: performance.now() - begin, least: Infinity });
      if (!this.reader) this.build();
      this.state("ready");
      this.tell();
      await this.reader.again();
    } catch (error) {
      this.fail(error);
    }
  }

  /** The part that reads what this file reads. */
  build() {
    const { card, signatures } = this.model;
    const inputs = (signatures.text ?? signatures.predict ?? signatures.generate)?.inputs ?? {};
    const kinds = { utf8: "text", image: "picture", frames: "clip", sound: "sound" };
    this.reads.kind ??= kinds[Object.keys(kinds).find((name) => name in inputs)] ?? "numbers";
    if (signatures.text?.outputs.prompt) this.reads.kind = "writer"; // it goes on with a text
    if (signatures.predict?.outputs.forecast && this.samples.length) this.reads.kind = "forecast";
    if (signatures.step?.outputs.flag && this.samples.length) this.reads.kind = "watch";
    const labels = card.labels?.names ?? card.labels ?? card.tags;
    this.labels = this.shows.labels ?? (Array.isArray(labels) ? labels : []);
    this.reader = (READERS[this.reads.kind] ?? numbers)(this);
    at("stage").replaceChildren(this.reader.element);
  }

  /** Does something with the model, and keeps the user informed; a mistake is shown, not thrown. */
  async work(action) {
    this.state("busy");
    try {
      await action();
      document.body.dataset.runs++;
      this.state("done");
      this.tell();
    } catch (error) {
      this.fail(error);
    }
  }

  /** A call that is timed. */
  async call(signature, inputs) {
    const begin = performance.now();
    const found = await this.model.text(inputs, signature);
    this.least = Math.min(this.least, performance.now() - begin);
    return found;
  }

  state(name, message = "") {
    document.body.dataset.state = name;
    at("main").setAttribute("aria-busy", name === "loading" || name === "busy");
    at("status").textContent = message;
  }

  fail(error) {
    console.error(error);
    this.state("error", `That did not work: ${error.message ?? error}`);
  }

  /** The facts at the foot. */
  tell() {
    const { least } = this; // of a clock that may count tenths of a millisecond
    const best = least === Infinity ? "–" : least < 0.1 ? "less than 0.1 ms" : `${least.toFixed(1)} ms`;
    const rows = {
      weights: this.format,
      file: megabytes(this.model.size),
      "ready in": `${this.loaded.toFixed(0)} ms`,
      "a call takes": best,
      "runs on": "LiteRT.js, WebAssembly",
    };
    at("facts").replaceChildren(
      ...Object.entries(rows).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    );
  }

  /** The switch between the formats that were exported. */
  switch(chosen) {
    const smallest = Object.keys(this.formats).sort((a, b) => this.formats[a].bytes - this.formats[b].bytes);
    const options = smallest.map((format) => {
      const radio = h("input", { type: "radio", name: "format", value: format, onchange: () => this.open(format) });
      radio.checked = format === chosen;
      return h("label", {}, radio, h("span", {}, format, h("small", {}, megabytes(this.formats[format].bytes))));
    });
    at("formats").append(...options);
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

async function main() {
  const page = new Page(await (await fetch("/about.json")).json());
  const title = page.title ?? page.app.replaceAll("_", " ");
  document.title = `${title} · keras_seq`;
  at("title").textContent = title;
  at("summary").textContent = page.summary;
  const first = "int8" in page.formats ? "int8" : Object.keys(page.formats)[0];
  globalThis.page = page; // for the console, and for tests
  page.switch(first);
  await page.open(first);
}

main().catch((error) => {
  document.body.dataset.state = "error";
  at("status").textContent = `That did not work: ${error.message ?? error}`;
});
