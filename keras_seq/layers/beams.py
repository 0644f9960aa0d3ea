"""Beams side by side: the K beams of a row are K tokens at one position of it, and no key or value ever moves.

A beam search puts beams into a new order at each step, each goes on from another one's past. Here a cache has K places
for each position, and `past` (B, K, L) says whose key and value a beam sees at each position: a mask, and all that is
put into order. All beams of a row also share one context. Next to a cache for each beam that is four times the
products of self-attention for K = 4, of as many numbers, and no copies of them.
"""

from keras import ops, tree

from keras_seq.layers import masks


def grown(cache, length):
    """Keys and values (B, N, S, H) with room for `length` more."""
    return {name: ops.pad(part, ((0, 0), (0, 0), (0, length), (0, 0))) for name, part in cache.items()}


def widen(memory, caches, length, width):
    """What K = width beams of each row need.

    Args:
        memory: of a decoder's `start`.
        caches: [{"k", "v"} (B, M, S + L, H)], one entry a layer.
        length: L, how many tokens will be written at most.
        width: K.

    Returns:
        memory, and a state: {"kv", caches with K places for each of the last L, "past"}. Keys are turned in both, to
        (B, M, H, S): so they are faster to multiply with several queries at once.
    """
    wide = [turned(grown(cache, (width - 1) * length)) for cache in caches]
    past = ops.zeros((ops.shape(caches[0]["k"])[0], width, length), dtype="int32")
    if "kv" in memory:
        memory = {**memory, "kv": [turned(kv) for kv in memory["kv"]]}
    return memory, {"kv": wide, "past": past}


def turned(kv):
    """{"k", "v"} (B, M, S, H) with "turned" (B, M, H, S) in place of "k"."""
    return {"turned": ops.swapaxes(kv["k"], 2, 3), "v": kv["v"]}


def follow(state, parent):
    """A model's state in which each beam goes on from its parent, a row of (B * K,); side by side, by `past` alone."""
    if not (isinstance(state, dict) and "past" in state):
        return tree.map_structure(lambda x: ops.take(x, parent, axis=0), state)
    batch, width, length = ops.shape(state["past"])
    past = ops.take(ops.reshape(state["past"], (-1, length)), parent, axis=0)
    return {**state, "past": ops.reshape(past, (batch, width, length))}


def note(past, index):
    """past (B, K, L) in which each beam sees its own token at `index`."""
    batch, width, _ = ops.shape(past)
    own = ops.broadcast_to(ops.reshape(ops.arange(width, dtype="int32"), (1, width, 1)), (batch, width, 1))
    return ops.slice_update(past, (0, 0, index), own)


def step(run, x, index, state):
    """A step of all beams.

    Args:
        run: of x (B, K, D), "kv" and `past`, gives y (B, K, D) and the new "kv".
        x: (B * K, 1, D), at `index`.
        state: what `widen` makes.

    Returns:
        (B * K, 1, D) and the new state.
    """
    past = note(state["past"], index)
    y, kv = run(ops.reshape(x, (-1, past.shape[1], x.shape[-1])), state["kv"], past)
    return ops.reshape(y, (-1, 1, y.shape[-1])), {"kv": kv, "past": past}


def places(length, index, size, past=None):
    """Where tokens stand that are written one after the other, or, with `past`, side by side.

    Args:
        length: of the tokens, T.
        index: of the first, or with `past` of all of them.
        size: places in the cache, L, or K * L with `past`, where T = K; None without one: tokens are their own keys.

    Returns:
        int32 (1, T) positions of the tokens, (1, size) positions of the cache, the place of the first token in it,
        and a mask (B, T, size), or None.
    """
    if past is None:
        q_pos = masks.positions(length, index)
        return q_pos, q_pos if size is None else masks.positions(size), index, None
    batch, width, steps = ops.shape(past)
    q_pos = ops.broadcast_to(ops.reshape(index, (1, 1)), (1, width))
    k_pos = ops.floor_divide(masks.positions(size), width)
    sees = ops.equal(ops.expand_dims(past, 3), ops.arange(width, dtype="int32"))  # (B, K, L, K)
    return q_pos, k_pos, index * width, ops.reshape(sees, (batch, width, steps * width))
