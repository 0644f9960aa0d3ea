"""Writing a sequence token by token: greedy, beam search and sampling are one loop with another choice in it."""

import contextlib
import weakref

import numpy as np
from keras import ops, tree

from keras_seq import compilation, kernels
from keras_seq.layers.beams import follow, widen
from keras_seq.layers.core import for_loop

PAD, BOS, EOS, UNK = 0, 1, 2, 3
NEVER = -1e9


def generate(
    model, inputs, max_length=64, beams=1, length_penalty=0.6, temperature=0.0, top_k=0, top_p=1.0,
    results=1, seed=0, bos=BOS, eos=EOS, pad=PAD, jit_compile="auto",
):  # fmt: skip
    """Write the best, or sampled, continuations of some inputs.

    The loop is compiled once for a model, these options and a shape. The encoder runs once; keys and values are cached.

    Args:
        model: any model with `start` and `step`.
        inputs: what `model.start` takes, arrays with a batch axis of size B.
        max_length: tokens to write at most, EOS included.
        beams: width of the beam search; 1 is greedy.
        length_penalty: beams are ranked by log p / ((5 + length) / 6) ** length_penalty.
        temperature: above 0, tokens are drawn from softmax(logits / temperature) instead.
        top_k: draw from the k likeliest tokens only; 0 for all.
        top_p: draw from the likeliest tokens that hold this much probability together; 1 for all.
        results: how many results for each input: the n best beams, or n samples.
        seed: of the samples, a number or several; the same seed gives the same tokens.
        bos, eos, pad: the tokens that begin, end and fill a sequence. After a prompt its last token is the first.
        jit_compile: whether tensorflow compiles the loop by XLA, which takes seconds for a shape and makes a call up to
            twice as fast; "auto" does so once that shape has come 30 times. Scores may change in their last digits.

    Returns:
        tokens int32 (B, results, max_length), without BOS, and scores float32 (B, results), the best beam first.
        A score is log p, divided by the length penalty for beams.

    Raises:
        ValueError: for options that do not fit together, and for a prompt that is empty or padded before its end.

    Reference: length penalty: Wu et al. 2016; top-k: Fan et al. 2018; top-p: Holtzman et al. 2020.

    Example:

    >>> import numpy as np
    >>> from keras_seq import TransformerSeq2Seq, generate
    >>> model = TransformerSeq2Seq(vocab_size=23, dim=8, num_heads=2, num_layers=1, mlp_dim=16)
    >>> source = np.array([[5, 6, 7, 2], [8, 9, 2, 0]], "int32")
    >>> tokens, scores = generate(model, {"source": source}, max_length=5, beams=3, results=2)
    >>> tuple(tokens.shape), tuple(scores.shape)
    ((2, 2, 5), (2, 2))
    """
    options = dict(
        max_length=max_length, beams=beams, length_penalty=length_penalty, temperature=temperature,
        top_k=top_k, top_p=top_p, results=results, bos=bos, eos=eos, pad=pad,
    )  # fmt: skip
    check(jit_compile=jit_compile, **options)
    if "prompt" in inputs:
        check_prompt(ops.convert_to_numpy(inputs["prompt"]))
    inputs = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    batch = int(next(iter(inputs.values())).shape[0])
    noise = None
    if temperature > 0:
        drawn = np.random.default_rng(seed).random((max_length, batch * results), dtype="float32")
        noise = ops.convert_to_tensor(drawn)
    return compiled(model, tuple(options.items()), jit_compile)(inputs, noise)


def check(max_length, beams, temperature, top_k, top_p, results, jit_compile, **_):
    """Say what does not fit together before anything is compiled."""
    least = {"max_length": (max_length, 1), "beams": (beams, 1), "results": (results, 1), "top_k": (top_k, 0)}
    for name, (value, low) in least.items():
        if value < low:
            raise ValueError(f"{name} must be at least {low}; got {value}.")
    if not isinstance(jit_compile, bool) and jit_compile != "auto":
        raise ValueError(f'jit_compile must be True, False or "auto"; got {jit_compile!r}.')
    if temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(f"temperature must be 0 or more and top_p in (0, 1]; got {temperature} and {top_p}.")
    if temperature > 0 and beams > 1:
        raise ValueError(f"choose beams={beams} or temperature={temperature}: a beam search draws nothing.")
    if temperature == 0 and results > beams:
        raise ValueError(f"a beam search of {beams} has no {results} results; raise beams, or set a temperature.")


def check_prompt(prompt):
    """Say which rows of an array (B, S) would be read as other prompts than they are."""
    written = prompt != PAD
    wrong = ~written[:, :1].any(axis=1) | (written[:, 1:] & ~written[:, :-1]).any(axis=1)
    if wrong.any():
        rows = ", ".join(map(str, np.flatnonzero(wrong)[:5]))
        raise ValueError(f"prompts need a token at least, and padding behind their end only; look at row {rows}.")


def search(
    model, inputs, noise=None, max_length=64, beams=1, length_penalty=0.6, temperature=0.0, top_k=0, top_p=1.0,
    results=1, bos=BOS, eos=EOS, pad=PAD, once=False,
):  # fmt: skip
    """`generate` as one pure function of tensors, to be traced by a compiler or an exporter.

    Args:
        noise: float32 (max_length, B * results), uniform in [0, 1): tokens are drawn with it; None for a beam search.
        temperature: a number above 0, or a scalar tensor.
        once: whether work that all steps share is done before them, and more operations are used where they are faster;
            a file would hold all of that beside the weights.
    """
    width = beams if noise is None else results
    batch = ops.shape(tree.flatten(inputs)[0])[0]
    rows = batch * width  # R
    memory, state = model.start(inputs, max_length)
    first = memory["first"] if "first" in memory else ops.full((batch, 1), bos, dtype="int32")
    if beams > 1 and getattr(model, "side_by_side", False):
        first = ops.repeat(first, width, axis=0)
        memory, state = widen(memory, state, max_length, width)
    elif width > 1:
        first, memory, state = tree.map_structure(lambda x: ops.repeat(x, width, axis=0), (first, memory, state))
    top = largest if once else ops.top_k  # a phone's is fast as it is

    def choose(index, logits, score, done):
        if noise is not None:
            return draw(logits, score, done, noise[index], temperature, top_k, top_p, pad)
        return expand(logits, score, done, width, pad, top) if width > 1 else best(logits, score, done, pad, top)

    bare, whole = of_one_row(state)

    def unfinished(index, tokens, last, score, done, state):
        return ops.logical_not(ops.all(done))

    def write(index, tokens, last, score, done, state):
        logits, state = model.step(last, index, memory, whole(state))
        new, score, parent = choose(index, ops.cast(ops.squeeze(logits, 1), "float32"), score, done)
        if parent is not None:
            tokens, done = ops.take(tokens, parent, axis=0), ops.take(done, parent, axis=0)
            state = follow(state, parent)
        last = ops.expand_dims(new, 1)
        tokens = ops.slice_update(tokens, (0, index), last)
        return index + 1, tokens, last, score, ops.logical_or(done, ops.equal(new, eos)), bare(state)

    start = (
        ops.convert_to_tensor(0, dtype="int32"),
        ops.full((rows, max_length), pad, dtype="int32"),
        first,
        first_scores(batch, width, beams),
        ops.zeros((rows,), dtype="bool"),
        bare(state),
    )
    with for_loop(model, rows) if once else contextlib.nullcontext():
        _, tokens, _, score, _, _ = ops.while_loop(unfinished, write, start, maximum_iterations=max_length)
    tokens, score = ops.reshape(tokens, (batch, width, max_length)), ops.reshape(score, (batch, width))
    return rank(tokens, score, length_penalty, results, eos) if beams > 1 else (tokens, score)


def of_one_row(state):
    """Two functions: one takes the first axis off what has one row of such a state, the other puts it back.

    For a loop to carry: a cache that has an axis of one row XLA copies at every step, twice.
    """
    rows = tree.map_structure(lambda x: len(x.shape) > 0 and x.shape[0] == 1 and kernels.in_xla(), state)

    def bare(state):
        return tree.map_structure(lambda x, one: ops.squeeze(x, 0) if one else x, state, rows)

    def whole(state):
        return tree.map_structure(lambda x, one: ops.expand_dims(x, 0) if one else x, state, rows)

    return bare, whole


def first_scores(batch, width, beams):
    """(R,) zeros; of the beams of one row only the first may begin, as they are all alike."""
    score = np.zeros(width, "float32")
    if beams > 1:
        score[1:] = NEVER
    return ops.reshape(ops.broadcast_to(score, (batch, width)), (-1,))


def log_normaliser(logits):
    """log of the sum of exp: (R, V) -> (R, 1)."""
    return ops.logsumexp(logits, axis=-1, keepdims=True)


def pick(values, index):
    """values[r, index[r]] for every row: (R, M), (R,) -> (R,)."""
    rows, width = ops.shape(values)
    return ops.take(ops.reshape(values, (-1,)), ops.arange(rows, dtype="int32") * width + index)


GROUP = 64  # tokens


def largest(logits, k):
    """What `ops.top_k` finds, a few times faster on a CPU: the k best groups of neighbours, then the best in them.

    Args:
        logits: (R, V).
        k: how many.

    Returns:
        the largest logits of each row, largest first, and their tokens int32, (R, k); of equal ones the first.

    Example:

    >>> import numpy as np
    >>> from keras_seq.decoding import largest
    >>> found, tokens = largest(np.sin(np.arange(200.0))[None], 2)
    >>> np.array(tokens).tolist()
    [[33, 77]]
    """
    rows, size = ops.shape(logits)
    groups = -(-size // GROUP)
    if groups <= k:
        return ops.top_k(logits, k)
    if size % GROUP:
        logits = ops.pad(logits, ((0, 0), (0, groups * GROUP - size)), constant_values=-np.inf)
    logits = ops.reshape(logits, (-1, GROUP))  # (R groups, GROUP)
    _, chosen = ops.top_k(ops.reshape(ops.max(logits, axis=-1), (-1, groups)), k)
    chosen = ops.sort(ops.cast(chosen, "int32"), axis=-1)  # so that of equal ones the first comes first
    near = ops.take(logits, ops.reshape(chosen + offsets(rows, groups), (-1,)), axis=0)
    found, place = ops.top_k(ops.reshape(near, (-1, k * GROUP)), k)
    place = ops.cast(place, "int32")
    group = ops.take_along_axis(chosen, ops.floor_divide(place, GROUP), axis=-1)
    return found, group * GROUP + ops.mod(place, GROUP)


def best(logits, score, done, pad, top=ops.top_k):
    """Greedy: the likeliest token of each row (R, V) -> (R,)."""
    most, new = top(logits, 1)  # not argmax: Keras' compares bits, for which a phone has no op
    new = ops.cast(ops.squeeze(new, -1), "int32")
    gain = ops.squeeze(most - log_normaliser(logits), -1)
    return ops.where(done, pad, new), score + ops.where(done, 0.0, gain), None


COLD = 1e-30  # a temperature that float32 can divide by


def draw(logits, score, done, noise, temperature, top_k, top_p, pad):
    """Sampling: the token at which the cumulative probability passes the noise (R,)."""
    far = logits - ops.max(logits, axis=-1, keepdims=True)  # 0 for the likeliest, however small the temperature is
    p = ops.softmax(nucleus(likeliest(far / ops.maximum(temperature, COLD), top_k), top_p), axis=-1)
    below = ops.cumsum(p, axis=-1) <= ops.expand_dims(noise, -1)
    new = ops.minimum(ops.sum(ops.cast(below, "int32"), axis=-1), last_possible(p))
    gain = pick(logits - log_normaliser(logits), new)
    return ops.where(done, pad, new), score + ops.where(done, 0.0, gain), None


def last_possible(p):
    """The highest token that may be drawn, for a noise that rounding puts above every cumulative probability."""
    numbers = ops.arange(p.shape[-1], dtype="int32")
    return ops.max(ops.where(p > 0, numbers, 0), axis=-1)


def likeliest(logits, top_k):
    """Only the top_k largest logits stay; 0 keeps all."""
    if not top_k or top_k >= logits.shape[-1]:
        return logits
    least = ops.top_k(logits, top_k)[0][:, -1:]
    return ops.where(logits < least, NEVER, logits)


def nucleus(logits, top_p):
    """Only the fewest tokens that hold top_p of the probability stay."""
    if top_p >= 1:
        return logits
    ordered = ops.top_k(logits, logits.shape[-1])[0]
    p = ops.softmax(ordered, axis=-1)
    kept = ops.cumsum(p, axis=-1) - p < top_p  # the first one always
    least = ops.min(ops.where(kept, ordered, -NEVER), axis=-1, keepdims=True)
    return ops.where(logits < least, NEVER, logits)


def expand(logits, score, done, beams, pad, top=ops.top_k):
    """Beam search: the K best continuations of K beams. A finished beam goes on with PAD alone, at no cost.

    Args:
        logits: (B*K, V).
        score: (B*K,), log p so far.
        done: bool (B*K,).
        top: finds the largest logits of each row.

    Returns:
        tokens, scores and parents, each (B*K,); a parent is the row that a continuation goes on from.
    """
    k = min(beams, logits.shape[-1])
    most, tokens = top(logits, k)  # (B*K, k): the best of each beam first, of all beams after
    finished = ops.expand_dims(done, -1)
    gain = ops.where(finished, np.where(np.arange(k) == 0, 0.0, NEVER).astype("float32"), most - log_normaliser(logits))
    total = ops.reshape(ops.expand_dims(score, -1) + gain, (-1, beams * k))  # (B, K*k)
    score, place = ops.top_k(total, beams)
    batch = ops.shape(total)[0]
    place = ops.reshape(ops.cast(place, "int32") + offsets(batch, beams * k), (-1,))  # into (B*K*k,)
    tokens = ops.reshape(ops.where(finished, pad, ops.cast(tokens, "int32")), (-1,))
    return ops.take(tokens, place), ops.reshape(score, (-1,)), ops.floor_divide(place, k)


def offsets(batch, width):
    """Where each row begins in a flattened (B, width): (B, 1)."""
    return ops.expand_dims(ops.arange(batch, dtype="int32") * width, -1)


def rank(tokens, score, length_penalty, results, eos):
    """The best `results` of (B, K, L) tokens by penalised score, best first; their length is that up to EOS."""
    batch, beams, size = ops.shape(tokens)
    length = ops.min(ops.where(ops.equal(tokens, eos), np.arange(1.0, size + 1, dtype="float32"), float(size)), axis=-1)
    score = score / ops.power((5.0 + length) / 6.0, length_penalty)
    score, order = ops.top_k(score, results)
    place = ops.reshape(ops.cast(order, "int32") + offsets(batch, beams), (-1,))
    tokens = ops.take(ops.reshape(tokens, (-1, size)), place, axis=0)
    return ops.reshape(tokens, (batch, results, size)), score


COMPILED = weakref.WeakKeyDictionary()  # model -> its variables, and {options: compiled search}; no graph holds it


def compiled(model, options, jit_compile):
    """The search for these options, compiled for the backend in use; again if the model has got other variables."""
    variables = getattr(model, "variables", None)
    if variables is None or not (hasattr(model, "start") and hasattr(model, "step")):
        raise ValueError(f"generate expects a model with start, step and variables; got {type(model).__name__}.")
    reference = weakref.ref(model)
    known, functions = COMPILED.get(model, ((), None))
    if functions is None or list(map(id, known)) != list(map(id, variables)):
        functions = {}
        COMPILED[model] = variables, functions

    def run(inputs, noise):
        return search(reference(), inputs, noise, **dict(options), once=True)

    if (options, jit_compile) not in functions:
        functions[options, jit_compile] = compilation.compile(run, variables, jit_compile)
    return functions[options, jit_compile]


def stream(model, ids, length, context=256, piece=16, seed=0, **options):
    """Text that goes on without end: yields tokens, a few at a time, as a language model writes them.

    Each piece is one call of `generate`, after the last `context - piece` tokens that stand before it; so all pieces
    share one compiled loop, and no more than `context` tokens are ever looked at.

    Args:
        model: a language model.
        ids: the prompt, at least one token.
        length: tokens to write.
        context: tokens that the model reads at once.
        piece: tokens that are written in a call.
        seed: of what is drawn.
        options: of `generate`: temperature, top_k, top_p.

    Yields:
        lists of ids, without PAD, BOS and EOS.

    Raises:
        ValueError: without a prompt, or if a piece leaves no room for one.
    """
    ids = list(ids)
    if not ids or not 0 < piece < context:
        raise ValueError(
            f"expected a prompt, and pieces of 1 to context - 1 tokens; got {len(ids)} ids, piece={piece} and "
            f"context={context}."
        )
    for begin in range(0, length, piece):
        before = pad([ids[-(context - piece) :]], context - piece)
        tokens, _ = generate(model, {"prompt": before}, piece, seed=(seed, begin), eos=-1, **options)
        new = ops.convert_to_numpy(tokens)[0, 0, : length - begin].tolist()
        new = [token for token in new if token not in (PAD, BOS, EOS)]
        ids += new
        yield new


SIZES = (32, 64, 128, 256, 512)  # targets are given room in these steps, so that few loops are compiled
STEP = 8  # and so are sources, in multiples of it


def generate_rows(model, rows, max_length=None, batch=64, **options):
    """`generate` for sources of any length: sorted by length, padded, and given back in their order.

    Args:
        model: a sequence-to-sequence model.
        rows: lists of source ids, without BOS and EOS.
        max_length: tokens to write at most; half as many again as the source has, and 16 more, when left out.
        batch: rows a call.
        options: of `generate`.

    Returns:
        For each row a list of (score, ids), the best first; ids without PAD and EOS.
    """
    found = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for begin in range(0, len(rows), batch):
        chosen = order[begin : begin + batch]
        longest = len(rows[chosen[-1]]) + 1
        source = pad([[*rows[i], EOS] for i in chosen], multiple(longest, STEP))
        tokens, scores = generate(model, {"source": source}, max_length or room(longest), **options)
        tokens, scores = ops.convert_to_numpy(tokens).tolist(), ops.convert_to_numpy(scores).tolist()
        for i, results, values in zip(chosen, tokens, scores):
            found[i] = [(value, [t for t in ids if t not in (PAD, EOS)]) for value, ids in zip(values, results)]
    return found


def room(source_length):
    """How many tokens a target may need, from SIZES or a multiple of the last of them."""
    wanted = source_length * 3 // 2 + 16
    return next((size for size in SIZES if size >= wanted), multiple(wanted, SIZES[-1]))


def multiple(size, step):
    """The first multiple of a step that is no less."""
    return -(-size // step) * step


def pad(rows, length=None):
    """Lists of ids as one int32 array (B, T), PAD after the end of each; T is that of the longest if not given."""
    padded = np.full((len(rows), length or max(map(len, rows))), PAD, "int32")
    for row, ids in zip(padded, rows):
        row[: len(ids)] = ids
    return padded
