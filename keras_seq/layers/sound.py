"""From a wave of sound to vectors: a spectrogram made of matrix products, gaps to train with, and an encoder."""

import math

import keras
import numpy as np
from keras import ops

from keras_seq.layers import masks
from keras_seq.layers.core import Dropout, Layer, Saved, at_least_one, register, unknown_zero
from keras_seq.layers.embeddings import FrameEmbedding
from keras_seq.layers.texts import stack
from keras_seq.layers.transformer import normalization

QUIETEST = 1e-8  # of the energy in a band, whose logarithm is taken
RANGE = 16.0  # nepers of energy (70 dB) below the loudest place at which all is silence
EDGE = 0.1  # seconds of silence on both sides, so that the shortest sound has a few frames


@register
class LogMel(Saved):
    """The logarithm of the energy in bands of frequency, frame by frame: y_t = log(M |F (w x_t)|^2).

    w is Hann's window at the middle of each sample, F the Fourier transform as a matrix product, M triangles of height
    1 that are evenly wide on HTK's mel scale; the first frame begins with the first sample. The matrices are made when
    the layer runs, of nothing that is stored: an exported file holds none of them, and none is rounded to int8, which
    would drown what is quiet.

    Args:
        bands: M, from 0 to half the rate.
        rate: samples a second.
        window: seconds that a frame sees.
        hop: seconds from one frame to the next.

    Call arguments:
        x: (B, N), samples from -1 to 1.

    Returns:
        (B, T, M), T = (N - window) // hop + 1, both in samples.

    Raises:
        ValueError: if x is shorter than a window, for a rate too low for its hop, or for no bands.

    Reference: Davis and Mermelstein 1980; as input of a network: Hinton et al. 2012.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(800) / 8000)[None].astype("float32")
    >>> y = np.array(layers.LogMel(bands=20, rate=8000)(tone))
    >>> y.shape, int(y[0, 0].argmax())
    ((1, 8, 20), 4)
    """

    def __init__(self, bands=64, rate=16000, window=0.025, hop=0.01, **kwargs):
        super().__init__(**kwargs)
        at_least_one(bands=bands)
        self.bands, self.rate, self.window, self.hop = bands, rate, window, hop
        self.size, self.step = round(window * rate), round(hop * rate)  # samples
        if self.step < 1 or self.size < 2:
            raise ValueError(f"LogMel expects a window and a hop of some samples; got {self.size} and {self.step}.")
        self.points = 2 ** math.ceil(math.log2(self.size))  # of the transform
        self.built = True

    def frames(self, length):
        """T for N, a number or a tensor of them."""
        return (length - self.size) // self.step + 1

    def call(self, x):
        if x.shape[1] is not None and x.shape[1] < self.size:
            raise ValueError(f"a window of {self.size} samples does not fit into {x.shape[1]}; pad the sound first.")
        x = ops.cast(x, "float32")
        batch, count = ops.shape(x)[0], self.frames(ops.shape(x)[1])
        zero = unknown_zero(x, "float32")  # or the matrices would be stored
        waves = ops.matmul(ops.reshape(self.cut(x, count), (-1, self.size)), self.fourier(zero))  # (B T, 2 K)
        real, imaginary = ops.split(ops.square(waves), 2, axis=-1)
        energy = ops.matmul(real + imaginary, self.triangles(zero))
        y = ops.log(ops.maximum(energy, QUIETEST))
        return ops.cast(ops.reshape(y, (batch, count, self.bands)), self.compute_dtype)

    def cut(self, x, count):
        """The frames of x: (B, T, size), each laid together from whole hops, and what is left of the window."""
        hops = -(-self.size // self.step)  # that a window touches
        whole = count + hops - 1
        x = ops.pad(x, ((0, 0), (0, self.step)))[:, : whole * self.step]
        parts = ops.reshape(x, (-1, whole, self.step))
        sizes = [min(self.step, self.size - i * self.step) for i in range(hops)]
        return ops.concatenate([parts[:, i : i + count, :size] for i, size in enumerate(sizes)], axis=-1)

    def fourier(self, zero):
        """The window times cosines beside sines: (size, 2 K), K = points / 2 + 1."""
        n = ops.expand_dims(ops.arange(self.size, dtype="float32") + zero, 1)
        k = ops.expand_dims(ops.arange(self.points // 2 + 1, dtype="float32"), 0)
        angle = ops.mod(n * k, self.points) * (2 * math.pi / self.points)
        hann = 0.5 - 0.5 * ops.cos((n + 0.5) * (2 * math.pi / self.size))
        return ops.concatenate([hann * ops.cos(angle), hann * ops.sin(angle)], axis=1)

    def triangles(self, zero):
        """How much of each frequency is in each band: (K, M)."""
        edges = hertz(np.linspace(0, mel(self.rate / 2), self.bands + 2)).astype("float32")
        widths, edges = ops.convert_to_tensor(np.diff(edges)[None]), ops.convert_to_tensor(edges[None])
        frequency = ops.arange(self.points // 2 + 1, dtype="float32") * (self.rate / self.points) + zero
        frequency = ops.expand_dims(frequency, 1)
        up = (frequency - edges[:, :-2]) / widths[:, :-1]
        down = (edges[:, 2:] - frequency) / widths[:, 1:]
        return ops.maximum(ops.minimum(up, down), 0)

    def compute_output_shape(self, x_shape):
        return x_shape[0], None if x_shape[1] is None else self.frames(x_shape[1]), self.bands


def mel(frequency):
    """Hertz on the scale on which steps sound even (O'Shaughnessy 1987)."""
    return 1127 * np.log1p(frequency / 700)


def hertz(mels):
    """`mel` backwards."""
    return 700 * np.expm1(mels / 1127)


@register
class SpecAugment(Layer):
    """While training, hides stretches of time and of frequency at random: what is hidden becomes 0.

    (B, T, M) -> (B, T, M), where 0 should be the middle of the values.

    Args:
        count: stretches of time that are hidden, and as many of frequency.
        time, band: the longest of each, as a share of T and of M; the length is drawn, from 0 on.
        seed: of the draws; None for another each time.

    Raises:
        ValueError: for a count below 0, or a share outside of 0 to 1.

    Reference: Park et al. 2019.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> y = np.array(layers.SpecAugment(seed=1)(np.ones((2, 50, 20), "float32"), training=True))
    >>> bool(0.3 < y.mean() < 1)
    True
    """

    def __init__(self, count=2, time=0.1, band=0.2, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        if count < 0 or not (0 <= time <= 1 and 0 <= band <= 1):
            raise ValueError(
                f"SpecAugment expects a count of 0 or more, and time and band as shares from 0 to 1; "
                f"got {count}, {time} and {band}."
            )
        self.count, self.time, self.band = count, time, band
        self.random = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, x, training=None):
        if not training or not self.count:
            return x
        batch, length, bands = ops.shape(x)
        times, tones = self.stretches(batch, length, self.time), self.stretches(batch, bands, self.band)
        return ops.where(ops.logical_or(ops.expand_dims(times, 2), ops.expand_dims(tones, 1)), 0, x)

    def stretches(self, batch, size, longest):
        """True where something is hidden: bool (B, size)."""
        drawn = keras.random.uniform((2, batch, self.count, 1), seed=self.random)
        place = (ops.cast(masks.positions(size), "float32") + 0.5) / ops.cast(size, "float32")  # their middles
        width = drawn[0] * longest
        begin = drawn[1] * (1 - width)
        return ops.any(ops.logical_and(place >= begin, place < begin + width), axis=1)


def begun(size, length):
    """Which of `size` samples are sound, and no padding: bool (B, N) for the lengths (B,).

    They are numbered in rows of 256, or their numbers would be among the largest arrays of an exported file.
    """
    rows = masks.positions((size + 255) // 256) * 256  # (1, N / 256)
    sees = masks.positions(256) < ops.expand_dims(ops.expand_dims(length, 1) - rows, 2)  # (B, N / 256, 256)
    return ops.reshape(sees, (ops.shape(length)[0], -1))[:, :size]


@register
class SoundEncoder(Layer):
    """From a wave of sound to vectors of what is said around each moment.

    `LogMel`, the loudest place of a sound being its measure, so that its volume does not matter, and each band with
    mean 0 and variance 1 over the training data; `SpecAugment`; convolutions that make time shorter; then a stack over
    it.

    Args:
        dim: D, width of the convolutions.
        over: the stack, a dict of its name and options, see `TextEncoder`.
        rate: samples a second.
        bands: M, of `LogMel`.
        hop: seconds between its frames.
        strides: by which each convolution of `size` frames shortens time.
        size: frames that each sees, K.
        dropout: rate on what goes into the stack.
        hide, time, band: `count`, `time` and `band` of `SpecAugment`.

    Call arguments:
        x: (B, N), samples from -1 to 1.
        length: int32 (B,), how many of them are no padding; all of them when left out.

    Returns:
        (B, T, W), W being the width of the stack: a vector for about every hop times all strides. `hear` also returns
        the mask (B, T) that is False at padding.

    Reference: Amodei et al. 2016 (convolutions that shorten, then a recurrent stack); Radford et al. 2023.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers
    >>> encoder = layers.SoundEncoder(12, {"name": "recurrent", "units": 5}, rate=8000)
    >>> tuple(encoder(np.zeros((2, 8000), "float32"), np.array([8000, 4000])).shape)
    (2, 27, 10)
    """

    def __init__(
        self, dim, over, rate=16000, bands=64, hop=0.01, strides=(2, 2), size=5, dropout=0.0, hide=2, time=0.1,
        band=0.2, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.dim, self.rate, self.edge = dim, rate, round(EDGE * rate)
        self.spectrum = LogMel(bands, rate, hop=hop, dtype="float32", name="spectrum")
        self.even = keras.layers.BatchNormalization(
            momentum=0.98, center=False, scale=False, dtype="float32", name="even"
        )  # what all sounds share, as the tilt of speech, is the mean and goes
        self.hide = SpecAugment(hide, time, band, dtype=dtype, name="hide")
        self.front = [FrameEmbedding(dim, size, each, dtype=dtype, name=f"front_{i}") for i, each in enumerate(strides)]
        self.norms = [normalization("layer", 1e-6, dtype) for _ in strides]
        self.dropout = Dropout(dropout, dtype=dtype)
        self.over = stack(over, dtype)

    def build(self, x_shape=None):
        width = self.spectrum.bands
        self.even.build((None, None, width))
        for front, norm in zip(self.front, self.norms):
            front.build((None, None, width))
            norm.build((None, None, self.dim))
            width = self.dim
        if not self.over.built:  # it is, where someone asked for its width
            self.over.build((None, None, width))

    @property
    def width(self):
        """W."""
        return self.over.compute_output_shape((None, None, self.dim))[-1]

    def call(self, x, length=None):
        return self.hear(x, length)[0]

    def hear(self, x, length=None):
        """x (B, N) and its lengths -> vectors (B, T, W) and a mask (B, T) that is False at padding."""
        x, mask = self.local(x, length)
        return self.contextual(x, mask), mask

    def local(self, x, length=None):
        """What the convolutions make of x (B, N): vectors (B, T, D), of a moment and little around it; and the mask."""
        x, mask = self.picture(x, length)
        x = self.hide(ops.cast(self.even(x, mask=mask), self.compute_dtype))
        x = ops.where(ops.expand_dims(mask, 2), x, 0)
        for front, norm in zip(self.front, self.norms):
            x, mask = ops.gelu(norm(front(x))), front.compute_mask(x, mask)
        return x, mask

    def contextual(self, x, mask):
        """What the stack makes of that: (B, T, D) -> (B, T, W)."""
        return self.over(self.dropout(x), x_mask=mask)

    def picture(self, x, length=None):
        """The spectrogram before its bands are evened, (B, T, M) from -2, silence, to 2; and its mask (B, T)."""
        x, size = ops.cast(x, "float32"), ops.shape(x)[1]
        length = ops.full((ops.shape(x)[0],), size, dtype="int32") if length is None else ops.cast(length, "int32")
        x = ops.where(begun(size, length), x, 0)
        x = self.spectrum(ops.pad(x, ((0, 0), (self.edge, self.edge))))
        count = self.spectrum.frames(length + 2 * self.edge)
        mask = masks.positions(ops.shape(x)[1]) < ops.expand_dims(count, 1)
        loudest = ops.max(ops.where(ops.expand_dims(mask, 2), x, math.log(QUIETEST)), axis=(1, 2), keepdims=True)
        return ops.maximum(x - loudest, -RANGE) * (4 / RANGE) + 2, mask

    def steps(self, length):
        """T for N samples."""
        length = self.spectrum.frames(length + 2 * self.edge)
        for front in self.front:
            length = front.windows(length)
        return length

    def compute_output_shape(self, x_shape, length_shape=None):
        return x_shape[0], None if x_shape[1] is None else self.steps(x_shape[1]), self.width

    def compute_mask(self, x, mask=None):
        return None  # it is that of `hear`
