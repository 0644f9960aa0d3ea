"""What the layers do, drawn by calling them: the pictures of docs/layers.md, one function each."""

import numpy as np
from keras import ops

from keras_seq import layers
from keras_seq.plots.attention import attention_map
from keras_seq.plots.panels import curves, dress, grid, matrix, name, patterns
from keras_seq.plots.style import BLUE, INK, MUTED, SHADES

SENTENCE = ["the", "cat", "saw", "the", "dog", "and", "the", "dog", "ran"]


def array(x) -> np.ndarray:
    return ops.convert_to_numpy(x)


def positions(length: int, start: int = 0):
    return layers.masks.positions(length, start)


def masks():
    """The rules of `attention_mask`, and what they make together."""
    pos, real = positions(12), np.arange(12)[None] < 9
    rules = {
        "causal": {"causal": True},
        "padding": {"key_mask": real},
        "causal, padding": {"causal": True, "key_mask": real},
        "window": {"window": 3},
        "causal, window": {"causal": True, "window": 4},
    }
    drawn = {title: array(layers.attention_mask(pos, pos, **rule))[0, 0] for title, rule in rules.items()}
    drawn = {title: np.broadcast_to(mask, (12, 12)) for title, mask in drawn.items()}
    step = layers.attention_mask(positions(3, 6), pos, causal=True)
    return patterns({**drawn, "queries 6 to 8 of a decoder": array(step)[0, 0]}, columns=3)


def sparse():
    """The blocks that sparse attention sees, without and with the rule that hides the future."""
    kinds = {
        "local": layers.LocalAttention(1, window=6, block=4),
        "strided": layers.StridedAttention(1, block=2, stride=3, reach=2),
        "random": layers.RandomAttention(1, block=4, count=2, seed=3),
        "block sparse": layers.BlockSparseAttention(1, block=4),
    }
    pos = positions(32)
    return patterns({
        f"{title}{', causal' if causal else ''}": array(layer.make_mask(pos, pos, causal=causal, dense=True).sees)[0, 0]
        for causal in (False, True)
        for title, layer in kinds.items()
    })  # fmt: skip


def sinusoidal_table(length: int, dim: int) -> np.ndarray:
    """What a sinusoidal encoding adds to zeros: (length, dim)."""
    return array(layers.Sinusoidal().add(np.zeros((1, length, dim), "float32"), positions(length)))[0]


def sinusoidal():
    """The table, its products for all pairs of positions, and one row of these over the distance."""
    fig, (left, middle, right) = grid(3, 3, 3.6, 3.0)
    table = sinusoidal_table(96, 64)
    matrix(left, table, "What is added to token t", "feature", "position t")
    matrix(middle, table @ table.T, "Products PE(i) · PE(j)", "position j", "position i")
    far = np.arange(96)
    lines = {f"D = {dim}": (far, product_over_distance(dim, 96)) for dim in (16, 64, 256)}
    curves(right, lines, "The same, by distance", "distance |i - j|", "PE(i) · PE(j) / (D / 2)")
    return fig


def product_over_distance(dim: int, length: int) -> np.ndarray:
    table = sinusoidal_table(length, dim)
    return table[0] @ table.T / (dim / 2)


def rotary():
    """Pairs of features as arrows that turn, and the scores of one query and one key at all pairs of positions."""
    fig, (left, middle, right) = grid(3, 3, 3.6, 3.0)
    arrows(left)
    q, k = np.random.default_rng(3).normal(size=(2, 16)).astype("float32")
    turned = [turn(np.tile(x, (48, 1)), base=200.0) for x in (q, k)]
    matrix(middle, turned[0] @ turned[1].T, "Scores of one q and one k", "position of k", "position of q")
    far = np.arange(96)
    lines = {f"base {base}": (far, turned_over_distance(base, 96)) for base in (100, 10000)}
    curves(right, lines, "A vector with itself, turned", "distance |i - j|", "product")
    return fig


def turn(x: np.ndarray, **options) -> np.ndarray:
    """Rows (T, H) turned as heads at positions 0 .. T-1."""
    return array(layers.Rotary(**options).rotate(x[None, None], positions(len(x))))[0, 0]


def turned_over_distance(base: float, length: int) -> np.ndarray:
    turned = turn(np.full((length, 64), 64**-0.5, "float32"), base=base)
    return turned @ turned[0]


def arrows(ax) -> None:
    """Four pairs of features (rows) at positions 0 .. 9 (columns): the first pair turns fastest."""
    x = np.concatenate([np.ones((10, 4)), np.zeros((10, 4))], axis=1).astype("float32")
    turned = turn(x, base=400.0)
    row, column = np.meshgrid(np.arange(4), np.arange(10))
    ax.quiver(
        column, row, turned[:, :4], turned[:, 4:], color=BLUE, pivot="middle", angles="uv", scale=16, width=0.011,
        headwidth=4, headlength=4, headaxislength=3.6,
    )  # fmt: skip
    dress(ax, "Pairs of features turn", "position", "pair i")
    ax.grid(visible=False)
    ax.set(xlim=(-0.7, 9.7), ylim=(3.6, -0.6), yticks=range(4), xticks=range(0, 10, 3))


def biases():
    """What ALiBi, T5 and Shaw add to scores or look up for them, all by distance."""
    fig, (one, two, three, four) = grid(4, 4, 2.9, 2.7)
    pos, position = positions(24), layers.ALiBi()
    position.build((None, None, 8), num_heads=8)
    bias = array(position.bias(None, pos, pos))[0]
    matrix(one, bias[2], "ALiBi, head 3 of 8", "key", "query")
    steps = np.arange(24)
    curves(two, {f"head {n + 1}": (steps, bias[n, :, 0]) for n in (0, 1, 2, 4, 7)}, "ALiBi", "distance", "bias")
    delta = np.arange(-200, 201)
    lines = {
        "both sides": (delta, array(layers.positions.bucket(delta))),
        "causal": (delta, array(layers.positions.bucket(delta, bidirectional=False))),
    }
    curves(three, lines, "T5: number of the bucket", "distance j - i", "bucket")
    shaw = np.clip(array(layers.positions.distance(pos, pos))[0], -4, 4)
    matrix(four, shaw, "Shaw: clipped distance", "key", "query")
    return fig


def attention():
    """Attention without any training: a token looks at the tokens that are like it."""
    rng, words = np.random.default_rng(5), sorted(set(SENTENCE))
    table = rng.normal(size=(len(words), 16)).astype("float32")
    x = table[[words.index(word) for word in SENTENCE]][None]
    _, weights = layers.DotProductAttention("scaled_dot")(x, return_attention_weights=True)
    return attention_map(array(weights)[0, 0], SENTENCE, SENTENCE)


def embeddings():
    """A picture cut into patches, numbered as they come out; a series cut into windows that overlap."""
    fig, (left, right) = grid(2, 2, 4.2, 2.7)
    y, x = np.mgrid[0:24, 0:36]
    left.imshow(np.hypot(y - 9, x - 22) + 3 * np.sin(x / 3), cmap="Blues", vmax=60, interpolation="nearest")
    count = layers.PatchEmbedding(8, patch=6).compute_output_shape((1, 24, 36, 1))[1]
    for n in range(count):
        row, column = divmod(n, 6)
        left.add_patch(rectangle(6 * column - 0.5, 6 * row - 0.5, 6, 6, edgecolor="white", facecolor="none"))
        left.text(6 * column + 2.5, 6 * row + 2.5, n, ha="center", va="center", fontsize=9, color=INK)
    name(left, "PatchEmbedding: 24 x 36 in patches of 6")
    left.set_axis_off()
    windows(right)
    return fig


def windows(ax) -> None:
    """A series of 32 frames and its windows of 8, every 6 frames."""
    series = np.sin(np.arange(32) / 2.5) + 0.4 * np.sin(np.arange(32) * 1.3)
    count = layers.FrameEmbedding(8, size=8, stride=6).windows(32)
    for n in range(count):
        height = -2.0 - 0.35 * (n % 2)
        ax.add_patch(rectangle(6 * n - 0.4, height, 7.8, 0.28, facecolor=SHADES[3 - n % 2], edgecolor="none"))
        ax.text(6 * n + 3.5, height + 0.13, n, ha="center", va="center", fontsize=8, color=INK)
    ax.plot(series, color=BLUE, marker="o", markersize=3, linewidth=1.4)
    dress(ax, "FrameEmbedding: windows of 8, stride 6", "frame")
    ax.set(yticks=[])


def rectangle(x: float, y: float, width: float, height: float, **look):
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, linewidth=1.2, **look)


def activations():
    """The bends of a feed-forward, and the gate of swiglu."""
    fig, (left, right) = grid(2, 2, 3.6, 2.6)
    x = np.linspace(-4, 4, 161).astype("float32")
    curves(left, {kind: (x, array(getattr(ops, kind)(x))) for kind in ("relu", "gelu")}, "f of W2 f(W1 x)", "h")
    gates = {f"W3 x = {gate}": (x, gate * array(ops.silu(x))) for gate in (-1, 0.5, 1)}
    curves(right, gates, "swiglu: silu(h) · (W3 x)", "h = W1 x")
    return fig


def schedules():
    """The learning rates that the package has, over the steps."""
    from keras_seq import training

    fig, (ax,) = grid(1, 1, 5.2, 2.6)
    steps = np.arange(0, 4001, 20)
    kinds = {
        "WarmupCosine(1e-3, 400, 4000)": training.WarmupCosine(1e-3, 400, 4000),
        "WarmupInverseSquareRoot(1e-3, 400)": training.WarmupInverseSquareRoot(1e-3, 400),
    }
    lines = {label: (steps, [float(array(kind(step))) for step in steps]) for label, kind in kinds.items()}
    curves(ax, lines, "Learning rate", "step")
    ax.axvline(400, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
    return fig


PICTURES = {
    "masks": masks, "sparse": sparse, "sinusoidal": sinusoidal, "rotary": rotary, "biases": biases,
    "attention": attention, "embeddings": embeddings, "activations": activations, "schedules": schedules,
}  # fmt: skip
