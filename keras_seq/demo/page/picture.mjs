// A picture is read: dropped, chosen, pasted, or one of the samples. Shown: a caption and where it looked, or labels.
import { dropPlace, h, told, tries } from "./dom.mjs";
import { fitted } from "./resize.mjs";
import { bars, merged, words } from "./show.mjs";

export function picture(page) {
  const { signatures } = page.model;
  const writes = "text" in signatures && "utf8" in signatures.text.outputs;
  const signature = writes ? "text" : "predict";
  const [name, { shape }] = Object.entries(signatures[signature].inputs).find(([, input]) => input.shape.length === 4);
  const [, size, , channels] = shape;
  const view = h("canvas", { id: "view", width: 480, height: 480, role: "img", "aria-label": "the picture" });
  const seen = h("canvas", {
    id: "seen",
    width: size,
    height: size,
    role: "img",
    "aria-label": "what the model sees of it",
  });
  const file = h("input", {
    id: "input",
    type: "file",
    accept: "image/*",
    class: "hidden",
    onchange: () => take(file.files[0]),
  });
  const output = h("div", { id: "output", class: "output", "aria-live": "polite" });
  const beside = h("p", { class: "note", id: "beside" });
  const looks = h("div", { id: "more" });
  let current;

  async function take(source, sample) {
    if (!source) return;
    await page.work(async () => {
      const bitmap = await createImageBitmap(source).catch(() => {
        throw new Error(`expected a picture, got ${source.name ?? "something else"}: choose a PNG, JPEG, WebP or GIF`);
      });
      current = { source, sample, bitmap };
      const image = fitted(pixels(bitmap), size, channels);
      page.image = image; // for whoever wants to compare it
      paint(seen, image, size, channels);
      draw(view, bitmap);
      await answer(image);
      beside.replaceChildren(...told(sample, "Keras in Python said", "its name is"));
    });
  }

  async function answer(image) {
    const found = await page.call(signature, { [name]: image });
    if (!writes) return bars(output, page.labels, Object.values(found)[0].data);
    output.replaceChildren(h("p", { class: "big" }, found.text || "(nothing)"));
    output.dataset.text = found.text;
    if (!("attention" in signatures) || !found.text) return looks.replaceChildren();
    const { weights } = await page.model.run("attention", { [name]: image, tokens: found.tokens });
    looks.replaceChildren(lookedAt(view, current.bitmap, weights, words(page.model.pieces(found.tokens.data))));
  }

  const drop = dropPlace(view, "Drop a picture here, paste it, or ", file, take);
  document.addEventListener("paste", (event) => take([...(event.clipboardData?.files ?? [])][0]));
  const chips = page.samples.map((sample, i) =>
    h(
      "button",
      {
        class: "thumb",
        type: "button",
        "aria-label": `sample ${i + 1}`,
        onclick: () => set(sample),
      },
      h("img", { src: sample.picture, alt: "", width: 64, height: 64 }),
    ),
  );
  const set = async (sample) => take(await blob(sample.picture), sample);

  const element = h(
    "div",
    { class: "stack" },
    h(
      "div",
      { class: "pair" },
      h("section", { class: "card" }, h("h2", { class: "title" }, page.reads.label ?? "Picture"), drop, file),
      h(
        "section",
        { class: "card answer" },
        h("h2", { class: "title" }, page.shows.label ?? "Answer"),
        output,
        beside,
        h(
          "figure",
          { class: "seen" },
          seen,
          h("figcaption", { class: "note" }, `What the model sees: ${size} × ${size} pixels.`),
        ),
      ),
    ),
    tries("Try one that it has never seen", chips),
    looks,
  );
  const again = () =>
    current ? take(current.source, current.sample) : page.samples.length ? set(page.samples[0]) : undefined;
  return { element, again };
}

/** The bytes behind a `data:` address. */
export async function blob(address) {
  const [head, data] = address.split(",");
  return new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], { type: head.slice(5).split(";")[0] });
}

/** A bitmap's own pixels. */
export function pixels(bitmap) {
  const { width, height } = bitmap;
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  return pen.getImageData(0, 0, width, height);
}

/** A bitmap whole and in the middle of a white canvas. */
function draw(canvas, bitmap) {
  const pen = canvas.getContext("2d"),
    scale = canvas.width / Math.max(bitmap.width, bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
}

function paint(canvas, image, size, channels) {
  const data = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = 255 * image[channels * i + (c % channels)];
    data.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(data, 0, 0);
}

/** The picture once for each word, lit where the model looked; pointing at one lights the large picture so. */
function lookedAt(view, bitmap, weights, target) {
  const count = weights.shape[2],
    side = Math.round(Math.sqrt(count));
  const places = Array.from({ length: count }, (_, i) => ({ from: i, to: i + 1 }));
  const written = target.filter(({ end }) => !end),
    rows = merged(weights, places, written);
  const buttons = written.map(({ word }, i) => {
    const canvas = h("canvas", { width: 144, height: 144 });
    lit(canvas, bitmap, rows[i], side);
    const show = () => lit(view, bitmap, rows[i], side),
      hide = () => draw(view, bitmap);
    return h(
      "button",
      {
        type: "button",
        class: "look",
        onmouseenter: show,
        onfocus: show,
        onclick: show,
        onmouseleave: hide,
        onblur: hide,
      },
      canvas,
      h("span", {}, word),
    );
  });
  return h(
    "section",
    { class: "card" },
    h("h2", { class: "title" }, "Where it looked for each word"),
    h("div", { class: "looks" }, buttons),
  );
}

function lit(canvas, bitmap, row, side) {
  draw(canvas, bitmap);
  const veil = new OffscreenCanvas(side, side),
    pen = veil.getContext("2d"),
    most = Math.max(...row);
  const data = new ImageData(side, side);
  row.forEach((weight, i) => data.data.set([15, 23, 42, 215 * (1 - weight / most)], 4 * i));
  pen.putImageData(data, 0, 0);
  const to = canvas.getContext("2d");
  to.imageSmoothingEnabled = true;
  to.imageSmoothingQuality = "high";
  to.drawImage(veil, 0, 0, canvas.width, canvas.height);
}
