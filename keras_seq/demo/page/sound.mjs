// A sound is read: dropped, chosen, recorded, or one of the samples. Shown: what is said in it.
import { choices, dropPlace, h, told, tries } from "./dom.mjs";
import { blob } from "./picture.mjs";

const FULL = "#2563eb"; // of the wave

export function sound(page) {
  const { signatures, card } = page.model;
  const size = signatures.text.inputs.sound.shape[1];
  const rate = page.reads.rate ?? card.rate ?? 16000;
  const view = h("canvas", { id: "view", class: "wave", width: 960, height: 200, role: "img", "aria-label": "its wave" });
  const player = h("audio", { controls: true, class: "player" });
  const file = h("input", {
    id: "input",
    type: "file",
    accept: "audio/*,video/*",
    class: "hidden",
    onchange: () => take(file.files[0]),
  });
  const output = h("div", { id: "output", class: "output", "aria-live": "polite" });
  const beside = h("p", { class: "note", id: "beside" });
  let current, recorder;

  async function take(source, sample) {
    if (!source) return;
    await page.work(async () => {
      current = { source, sample };
      const samples = await decoded(source, rate);
      page.sound = samples; // for whoever wants to compare it
      draw(view, samples);
      URL.revokeObjectURL(player.src);
      player.src = URL.createObjectURL(source);
      const texts = [];
      for (const part of pieces(samples, size, Math.round(rate / 100))) {
        texts.push((await page.call("text", { sound: part, length: [part.length] })).text);
      }
      const said = texts.filter(Boolean).join(" ");
      output.replaceChildren(h("p", { class: "big" }, said || "(nothing)"));
      output.dataset.text = said;
      beside.replaceChildren(...told(sample, "Keras in Python heard", "it was"));
    });
  }

  /** Records until it is asked again. */
  async function record() {
    if (recorder?.state === "recording") return recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = ({ data }) => parts.push(data);
      recorder.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        button.textContent = "Record";
        take(new Blob(parts, { type: recorder.mimeType }));
      };
      recorder.start();
      button.textContent = "Stop";
    } catch (error) {
      page.fail(error);
    }
  }

  const button = h("button", { type: "button", class: "chip", onclick: record }, "Record");
  const drop = dropPlace(view, "Drop a sound here, or ", file, take);
  const set = async (sample) => take(await blob(sample.sound), sample);
  const chips = choices(page.samples, set, (sample, i) => sample.wanted ?? `sample ${i + 1}`);
  const element = h(
    "div",
    { class: "stack" },
    h(
      "div",
      { class: "pair" },
      h("section", { class: "card" }, h("h2", { class: "title" }, page.reads.label ?? "Sound"), drop, file, player, button),
      h("section", { class: "card answer" }, h("h2", { class: "title" }, page.shows.label ?? "Text"), output, beside),
    ),
    tries("Try one that it has never heard", chips),
  );
  const again = () =>
    current ? take(current.source, current.sample) : page.samples.length ? set(page.samples[0]) : undefined;
  return { element, again };
}

/** The samples of a file at a rate, the mean of its channels. */
async function decoded(source, rate) {
  const context = new OfflineAudioContext(1, 1, rate); // decoding brings a sound to the rate of its context
  const found = await context.decodeAudioData(await source.arrayBuffer()).catch(() => {
    throw new Error(`expected a sound, got ${source.name ?? "something else"}: choose a WAV, MP3, OGG or M4A`);
  });
  const channels = Array.from({ length: found.numberOfChannels }, (_, i) => found.getChannelData(i));
  return Float32Array.from(channels[0], (_, i) => channels.reduce((sum, x) => sum + x[i], 0) / channels.length);
}

/** A long sound in pieces of at most `most` samples, each cut at the quietest place of the second half before that. */
export function pieces(samples, most, step) {
  const parts = [];
  while (samples.length > most) {
    const half = most >> 1,
      levels = Array.from({ length: Math.floor((most - half) / step) }, (_, i) =>
        samples.subarray(half + i * step, half + (i + 1) * step).reduce((sum, x) => sum + Math.abs(x), 0),
      );
    const least = Math.min(...levels),
      quiet = levels.flatMap((level, i) => (level === least ? [i] : []));
    const cut = levels.length ? half + quiet[quiet.length >> 1] * step + (step >> 1) : most;
    parts.push(samples.subarray(0, cut));
    samples = samples.subarray(cut);
  }
  return [...parts, samples];
}

function draw(canvas, samples) {
  const pen = canvas.getContext("2d"),
    { width, height } = canvas,
    wide = samples.length / width;
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = FULL;
  for (let x = 0; x < width; x++) {
    const part = samples.subarray(Math.floor(x * wide), Math.max(Math.floor((x + 1) * wide), Math.floor(x * wide) + 1));
    const most = part.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    pen.fillRect(x, height / 2 - (most * height) / 2, 1, Math.max(1, most * height));
  }
}
