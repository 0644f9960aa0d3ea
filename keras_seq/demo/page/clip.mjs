// A clip is read: a video file, or one of the samples. Shown: the clip, with the label of each of its frames over time.
import { breath, colour, h, tries } from "./dom.mjs";
import { blob, pixels } from "./picture.mjs";
import { shrinker } from "./resize.mjs";

const MOST_SECONDS = 20;

export function clip(page) {
  const { inputs } = page.model.signatures.predict,
    [, window, height, width] = inputs.frames.shape;
  const config = page.model.card.config ?? {},
    rate = page.reads.rate ?? config.rate ?? 25;
  const quiet = page.shows.quiet ?? ["none"];
  const file = h("input", {
    id: "input",
    type: "file",
    accept: "video/*",
    class: "hidden",
    onchange: () => open(file.files[0]),
  });
  const screen = h("canvas", {
    id: "view",
    width: 480,
    height: Math.round((480 * height) / width),
    role: "img",
    "aria-label": "the clip",
  });
  const now = h("p", { class: "now", "aria-live": "off" });
  const play = h(
    "button",
    { type: "button", class: "round", "aria-label": "play or pause", onclick: () => toggle() },
    "▶",
  );
  const place = h("input", {
    type: "range",
    min: 0,
    value: 0,
    "aria-label": "frame",
    oninput: () => (toggle(false), at(Number(place.value))),
  });
  const output = h("div", { id: "output", class: "output" });
  let current, timer;

  /** What the model says of frames Uint8Array (height * width) each: the odds of all labels, a row a frame. */
  async function odds(frames) {
    const count = page.labels.length,
      found = new Float32Array(frames.length * count);
    for (const start of starts(frames.length, window)) {
      const piece = new Float32Array(window * height * width),
        some = frames.slice(start, start + window);
      some.forEach((frame, i) =>
        piece.set(
          Float32Array.from(frame, (value) => value / 255),
          i * frame.length,
        ),
      );
      const { probabilities } = await page.call("predict", { frames: piece, length: some.length });
      const lead = start ? Math.floor(window / (config.causal ? 2 : 4)) : 0; // of two answers the one that saw more
      found.set(probabilities.data.subarray(lead * count, some.length * count), (start + lead) * count);
      await breath();
    }
    return found;
  }

  async function answer() {
    const { frames, sample } = current,
      count = page.labels.length,
      rows = await odds(frames);
    const labels = frames.map((_, t) => {
      const row = rows.subarray(t * count, (t + 1) * count);
      return page.labels[row.indexOf(Math.max(...row))];
    });
    Object.assign(current, { labels });
    page.frames = frames; // for whoever wants to compare them
    output.dataset.text = JSON.stringify(spans(labels, rate));
    const seconds = frames.length / rate;
    const lines = {
      "this browser": spans(labels, rate),
      "Keras in Python": sample?.said,
      "the right answer": sample?.wanted,
    };
    const shown = Object.entries(lines).filter(([, row]) => row);
    const words = lines["this browser"].filter(([, , label]) => !quiet.includes(label));
    output.replaceChildren(
      h(
        "div",
        { class: "timeline" },
        shown.map(([name, row]) => timeline(page, name, row, seconds, quiet)),
      ),
      h(
        "ol",
        { class: "spans" },
        words.map(([from, to, label]) =>
          h(
            "li",
            {},
            h(
              "button",
              {
                type: "button",
                class: "chip",
                style: { "--colour": colour(label, page.labels) },
                onclick: () => (toggle(false), at(Math.round(from * rate))),
              },
              h("b", {}, label),
              ` ${from.toFixed(2)}–${to.toFixed(2)} s`,
            ),
          ),
        ),
      ),
    );
  }

  /** Shows a frame. */
  function at(t) {
    const { pictures, labels = [] } = current,
      label = labels[t] ?? "";
    place.value = t;
    screen.getContext("2d").drawImage(pictures[t], 0, 0, screen.width, screen.height);
    now.textContent = quiet.includes(label) ? "" : label;
    now.style.setProperty("--colour", quiet.includes(label) ? "transparent" : colour(label, page.labels));
    output.querySelector(".timeline")?.style.setProperty("--at", (t + 0.5) / pictures.length);
  }

  function toggle(on = !timer) {
    clearInterval(timer);
    timer = on ? setInterval(() => at((Number(place.value) + 1) % current.pictures.length), 1000 / rate) : undefined;
    play.textContent = on ? "❚❚" : "▶";
  }

  async function show(read, sample, source) {
    toggle(false);
    await page.work(async () => {
      current = { sample, source, ...(await read()) };
      screen.height = Math.round((screen.width * current.pictures[0].height) / current.pictures[0].width);
      place.max = current.frames.length - 1;
      at(0);
      await answer();
      at(0);
    });
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) toggle(true);
  }
  const set = (sample) => show(() => unrolled(sample, height, width), sample);
  const open = (source) =>
    source && show(() => grabbed(source, { rate, crop: page.reads.crop, height, width, page }), undefined, source);

  const chips = page.samples.map((sample, i) =>
    h(
      "button",
      { class: "film", type: "button", "aria-label": `sample ${i + 1}`, onclick: () => set(sample) },
      h("img", { src: sample.frames, alt: "", style: { "aspect-ratio": `${width} / ${height}` } }),
    ),
  );
  const element = h(
    "div",
    { class: "stack" },
    h(
      "div",
      { class: "pair" },
      h(
        "section",
        { class: "card" },
        h("h2", { class: "title" }, page.reads.label ?? "Clip"),
        screen,
        h("div", { class: "controls" }, play, place),
        h(
          "label",
          {
            class: "choose",
            for: "input",
            tabindex: 0,
            onkeydown: (event) => ["Enter", " "].includes(event.key) && file.click(),
          },
          "Choose a video of yours",
        ),
        file,
      ),
      h("section", { class: "card answer" }, h("h2", { class: "title" }, page.shows.label ?? "Labels"), now, output),
    ),
    tries("Try one that it has never seen", chips),
  );
  const again = () =>
    current
      ? current.sample
        ? set(current.sample)
        : open(current.source)
      : page.samples.length
        ? set(page.samples[0])
        : undefined;
  return { element, again };
}

/** Where the pieces of a clip begin: half a window apart, the last one at the end. */
export function starts(count, window) {
  const last = Math.max(count - window, 0),
    found = [];
  for (let at = 0; at < last; at += Math.max(Math.floor(window / 2), 1)) found.push(at);
  return [...found, last];
}

/** Labels of frames as [start, end, label], in seconds. */
export function spans(labels, rate) {
  const found = [];
  labels.forEach((label, t) => {
    if (found.at(-1)?.[2] === label) found.at(-1)[1] = (t + 1) / rate;
    else found.push([t / rate, (t + 1) / rate, label]);
  });
  return found;
}

function timeline(page, name, row, seconds, quiet) {
  const parts = row
    .filter(([, , label]) => !quiet.includes(label))
    .map(([from, to, label]) =>
      h(
        "span",
        {
          class: "span",
          title: `${label}: ${from.toFixed(2)} to ${to.toFixed(2)} s`,
          style: {
            left: `${(100 * from) / seconds}%`,
            width: `${(100 * (to - from)) / seconds}%`,
            "--colour": colour(label, page.labels),
          },
        },
        label,
      ),
    );
  return h("div", { class: "row" }, h("span", { class: "note" }, name), h("div", { class: "track" }, parts));
}

// --- frames --------------------------------------------------------------------------------------------------------

/** A sample's frames, which lie one below the other in a picture. */
async function unrolled(sample, height, width) {
  const whole = await createImageBitmap(await blob(sample.frames)),
    all = pixels(whole),
    size = height * width;
  const frames = Array.from({ length: sample.count }, (_, t) =>
    Uint8Array.from({ length: size }, (_, i) => all.data[4 * (t * size + i)]),
  );
  const pictures = await Promise.all(frames.map((_, t) => createImageBitmap(whole, 0, t * height, width, height)));
  return { frames, pictures };
}

/** The frames of a video file at a steady rate: each moment has the frame that is on the screen then. */
async function grabbed(source, { rate, crop, height, width, page }) {
  const video = h("video", { muted: true, playsinline: true, preload: "auto", src: URL.createObjectURL(source) });
  await happens(
    video,
    "loadeddata",
    `expected a video that this browser plays, got ${source.name}: convert it to MP4 or WebM`,
  );
  const [left, top, w, high] = crop ?? [0, 0, video.videoWidth, video.videoHeight];
  const pen = new OffscreenCanvas(w, high).getContext("2d", { willReadFrequently: true });
  const shrink = shrinker(w, high, width, height),
    frames = [],
    pictures = [];
  const count = Math.max(1, Math.ceil(Math.min(video.duration, MOST_SECONDS) * rate - 0.5));
  for (let t = 0; t < count; t++) {
    const drawn = frameDrawn(video);
    video.currentTime = Math.min((t + 0.5) / rate, video.duration - 1e-3);
    await happens(video, "seeked", `${source.name} cannot be read to its end`);
    await drawn;
    pen.drawImage(video, left, top, w, high, 0, 0, w, high);
    frames.push(shrink(pen.getImageData(0, 0, w, high).data));
    pictures.push(await createImageBitmap(pen.canvas, { resizeWidth: 360, resizeQuality: "medium" }));
    if (t % 5 === 0) page.state("busy", `Reading the clip: ${Math.round((100 * t) / count)} %`);
  }
  URL.revokeObjectURL(video.src);
  return { frames, pictures };
}

/** That a new frame can be read, which `seeked` alone does not say. The same frame again is not drawn: a short wait. */
function frameDrawn(video, ms = 200) {
  return new Promise((resolve) => {
    video.requestVideoFrameCallback?.(resolve);
    setTimeout(resolve, ms);
  });
}

function happens(video, name, message) {
  return new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error(message)), { once: true });
  });
}
