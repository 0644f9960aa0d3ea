// Pictures and frames made as small as a model wants them, number by number as Pillow and keras_seq.data do:
// what a browser itself does to a picture that it shrinks differs from one to the next.

/** Pixels RGBA { data, width, height } whole in the middle of a white square: Float32Array (size * size * channels). */
export function fitted({ data, width, height }, size, channels = 3) {
  const scale = size / Math.max(width, height);
  const [w, h] = [width, height].map((side) => Math.max(1, halfToEven(side * scale)));
  const small = bicubic(premultiplied(data), width, height, w, h);
  const square = new Float32Array(size * size * channels).fill(1);
  const [left, top] = [Math.floor((size - w) / 2), Math.floor((size - h) / 2)];
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const rgb = onWhite(small, 4 * (y * w + x)),
        at = channels * ((top + y) * size + left + x);
      if (channels === 1) square[at] = luma(...rgb);
      else square.set(rgb, at);
    }
  }
  return square;
}

const luma = (r, g, b) => 0.299 * r + 0.587 * g + 0.114 * b;

/** Python's round(). */
function halfToEven(x) {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

function premultiplied(data) {
  const found = new Uint8ClampedArray(data.length);
  for (let i = 0; i < data.length; i += 4) {
    for (let c = 0; c < 3; c++) found[i + c] = (data[i + c] * data[i + 3]) / 255;
    found[i + 3] = data[i + 3];
  }
  return found;
}

function onWhite(data, i) {
  const alpha = data[i + 3];
  const plain = (c) => (alpha ? Math.min(255, Math.trunc((255 * data[i + c]) / alpha)) : 0);
  return [0, 1, 2].map((c) => (plain(c) * alpha) / 65025 + 1 - alpha / 255);
}

/** Each new place of a line of `span` places: where the old ones begin that count for it, and how much. Keys 1981. */
function weights(old, size, span) {
  const scale = span / size,
    reach = Math.max(scale, 1);
  const cubic = (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0);
  return Array.from({ length: size }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - 2 * reach + 0.5)),
      to = Math.min(old, Math.trunc(centre + 2 * reach + 0.5));
    const parts = Array.from({ length: to - from }, (_, k) => cubic(Math.abs((k + from - centre + 0.5) / reach)));
    const sum = parts.reduce((a, b) => a + b, 0);
    return { from, parts: parts.map((part) => part / sum) };
  });
}

/** RGBA of 8 bits at another size: at first by a whole number, then the rows, then the columns, rounded in between. */
function bicubic(data, width, height, w, h) {
  const [across, down] = [width / w, height / h].map((times) => Math.max(1, Math.trunc(times / GAP)));
  const some = across * down > 1 ? blocks(data, width, height, across, down) : { data, width, height };
  const rows = new Uint8ClampedArray(4 * w * some.height),
    found = new Uint8ClampedArray(4 * w * h);
  mix(some.data, rows, weights(some.width, w, width / across), some.height, 4, 4 * some.width, 4 * w);
  mix(rows, found, weights(some.height, h, height / down), w, 4 * w, 4, 4);
  return found;
}

const GAP = 3; // a picture is at least so much larger than wanted when the exact part begins

/** The means of blocks of pixels; those at the edges may be smaller. */
function blocks(data, oldWidth, oldHeight, across, down) {
  const width = Math.ceil(oldWidth / across),
    height = Math.ceil(oldHeight / down);
  const found = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const right = Math.min(oldWidth, (x + 1) * across),
        bottom = Math.min(oldHeight, (y + 1) * down);
      const count = (right - x * across) * (bottom - y * down),
        sums = [0, 0, 0, 0];
      for (let j = y * down; j < bottom; j++) {
        for (let i = x * across; i < right; i++)
          for (let c = 0; c < 4; c++) sums[c] += data[4 * (j * oldWidth + i) + c];
      }
      for (let c = 0; c < 4; c++) found[4 * (y * width + x) + c] = Math.floor(sums[c] / count + 0.5);
    }
  }
  return { data: found, width, height };
}

/** Mixes along one axis: `step` from one place to the next, `lines` lines that lie `apart`, and `then` afterwards. */
function mix(data, found, places, lines, step, apart, then) {
  places.forEach(({ from, parts }, i) => {
    for (let line = 0; line < lines; line++) {
      for (let c = 0; c < 4; c++) {
        let sum = 0,
          at = line * apart + from * step + c;
        for (const part of parts) {
          sum += part * data[at];
          at += step;
        }
        found[line * then + i * step + c] = Math.floor(sum + 0.5); // Pillow's halves go up
      }
    }
  });
}

/** Shrinks pixels RGBA of one size to grey Uint8Array (height * width): a new place is the mean of what it covers. */
export function shrinker(width, height, toWidth, toHeight) {
  const columns = averages(width, toWidth),
    rows = averages(height, toHeight);
  return (data) => {
    const narrow = new Float32Array(toWidth * height);
    for (let y = 0; y < height; y++) {
      columns.forEach(({ from, parts }, x) => {
        let sum = 0;
        parts.forEach((part, k) => {
          const at = 4 * (y * width + from + k);
          sum += part * luma(data[at], data[at + 1], data[at + 2]);
        });
        narrow[y * toWidth + x] = sum;
      });
    }
    const found = new Uint8Array(toWidth * toHeight);
    rows.forEach(({ from, parts }, y) => {
      for (let x = 0; x < toWidth; x++) {
        const sum = parts.reduce((total, part, k) => total + part * narrow[(from + k) * toWidth + x], 0);
        found[y * toWidth + x] = halfToEven(sum);
      }
    });
    return found;
  };
}

/** How much of each old place each new one covers. */
function averages(old, size) {
  return Array.from({ length: size }, (_, i) => {
    const [begin, end] = [(i * old) / size, ((i + 1) * old) / size];
    const from = Math.floor(begin),
      to = Math.min(old, Math.ceil(end - 1e-9));
    const parts = Array.from({ length: to - from }, (_, k) => Math.min(end, from + k + 1) - Math.max(begin, from + k));
    return { from, parts: parts.map((part) => (part * size) / old) };
  });
}
