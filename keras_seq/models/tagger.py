"""A label for every frame of a clip, or every word of a text: many to many, aligned.

    start(batch)                -> state                causal taggers: what is known before the first frame
    step(frames, index, state)  -> logits, state        for any number of frames, from position index on
    call(inputs)                                        the whole at once: the same numbers
"""

import keras
from keras import ops, tree

from keras_seq.layers import beams, masks
from keras_seq.layers.core import Dropout, Linear, register
from keras_seq.layers.recurrent import RecurrentEncoder
from keras_seq.layers.transformer import TransformerEncoder
from keras_seq.models.base import Configured


class Tagger(Configured):
    """What both families share: an encoder of single frames, a stack over time, one matrix. A family makes `over`.

    Args:
        num_classes: C.
        encoder: the layer that gives each frame or word its vector, (B, T, ...) -> (B, T, E): `layers.ClipEncoder`,
            `layers.TokenEmbedding`, or any other. One with `start` and `step` has a state of its own.
        frame_shape: of one frame, (H, W, C); () for words.
        causal: whether the label of a frame depends on no later frame, so that it can be told at once.
        dropout: rate before the matrix, and inside the stack.

    Call arguments:
        inputs: frames (B, T, *frame_shape), or a dict of them under "frames" or "tokens" with "length" int32 (B,), how
            many of them are no padding, where rows differ. Without it the encoder's Keras mask is honoured.

    Returns:
        logits (B, T, C).
    """

    parts = ("encoder",)

    def __init__(self, num_classes, encoder, frame_shape=(), causal=False, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        if causal and not getattr(encoder, "causal", True):
            raise ValueError("a causal tagger needs a causal encoder; make the encoder with causal=True.")
        self.encoder, self.frame_shape, self.causal = encoder, tuple(frame_shape), causal
        self.options = {
            "num_classes": num_classes, "frame_shape": list(frame_shape), "causal": causal, "dropout": dropout,
        }  # fmt: skip
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.classify = Linear(num_classes, dtype="float32", name="classify")

    def build(self, input_shape=None):
        shape = (None, None, *self.frame_shape)
        if not self.encoder.built:  # one from a config is
            self.encoder.build(shape)
        frames = keras.KerasTensor(shape, "float32" if self.frame_shape else "int32")
        width = self.encoder.compute_output_spec(frames).shape[-1]
        self.over.build((None, None, width))
        self.classify.build((None, None, self.out_dim(width)))

    def call(self, inputs, training=None, mask=None):  # `training` is named, so that `fit` says that it trains
        frames, mask = self.read(inputs, mask)
        x = self.encoder(frames) if mask is None or not self.sees_time else self.encoder(frames, x_mask=mask)
        return self.logits(self.run(x, 0, None, mask)[0])

    def read(self, inputs, mask):
        """Frames, and a mask (B, T) that is False at padding, or None."""
        if not isinstance(inputs, dict):
            inputs = {"frames": inputs}
        frames = inputs["frames"] if "frames" in inputs else inputs["tokens"]
        if "length" in inputs:
            return frames, masks.positions(ops.shape(frames)[1]) < ops.expand_dims(inputs["length"], 1)
        return frames, self.encoder.compute_mask(frames, mask if hasattr(mask, "shape") else None)

    @property
    def sees_time(self):
        """Whether the encoder looks at other frames than one, and so has a state."""
        return hasattr(self.encoder, "step")

    def start(self, batch=1):
        """The state before the first frame.

        Args:
            batch: B.

        Returns:
            {"encoder": nest, "over": nest} of tensors (B, ...).

        Raises:
            ValueError: for a tagger that is not causal.
        """
        if not self.causal:
            raise ValueError("frame by frame needs a causal tagger; make it with causal=True.")
        return {"encoder": self.encoder.start(batch) if self.sees_time else [], "over": self.over_start(batch)}

    def step(self, frames, index, state):
        """Frames (B, T, *frame_shape) at positions index .. index+T-1 -> logits (B, T, C) and the new state."""
        if self.sees_time:
            x, encoder = self.encoder.step(frames, state["encoder"])
        else:
            x, encoder = self.encoder(frames), []
        x, over = self.run(x, index, state["over"])
        return self.logits(x), {"encoder": encoder, "over": over}

    def logits(self, x):
        return self.classify(self.dropout(x))

    def out_dim(self, dim):
        """The width of what the stack gives for frames of width dim."""
        return dim

    def over_start(self, batch):
        """The state of the stack before the first frame."""
        raise NotImplementedError

    def run(self, x, index, state=None, mask=None):
        """The stack over time: x (B, T, E) at positions index .. index+T-1 -> (B, T, D) and the new state."""
        raise NotImplementedError


@register
class TransformerTagger(Tagger):
    """A Transformer over the vectors of the frames.

    Args:
        num_classes, encoder, frame_shape, causal, dropout: see `Tagger`. The encoder's width is D.
        num_heads: N.
        num_layers: L.
        mlp_dim: F.
        position: sinusoidal, rotary, relative, relative_bias or alibi.
        window: a frame attends to frames less than this far away; for causal taggers it is also the size of the state,
            so that a live picture may go on for ever.

    Reference: Vaswani et al. 2017.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> encoder = layers.ClipEncoder(12, filters=(3, 5), sizes=(5, 3))
    >>> model = models.TransformerTagger(7, encoder, (16, 24, 1), num_heads=2, num_layers=1, mlp_dim=16)
    >>> tuple(model(np.ones((2, 5, 16, 24, 1), "float32")).shape)
    (2, 5, 7)
    """

    def __init__(
        self, num_classes, encoder, frame_shape=(), causal=False, dropout=0.1, num_heads=4, num_layers=3, mlp_dim=512,
        position="rotary", window=75, **kwargs,
    ):  # fmt: skip
        super().__init__(num_classes, encoder, frame_shape, causal, dropout, **kwargs)
        self.options |= {
            "num_heads": num_heads, "num_layers": num_layers, "mlp_dim": mlp_dim, "position": position,
            "window": window,
        }  # fmt: skip
        self.window = window
        self.over = TransformerEncoder(
            num_layers, num_heads, mlp_dim, position, dropout=dropout, activation="gelu", dtype=self.dtype_policy,
            name="over",
        )  # fmt: skip
        self.build()

    def over_start(self, batch):
        return self.over.cache(batch, self.window - 1)

    def run(self, x, index, state=None, mask=None):
        length, before = ops.shape(x)[1], 0 if state is None else self.window - 1
        q_pos = masks.positions(length, index)
        k_pos = q_pos if state is None else masks.positions(length + before, index - before)
        known = mask if state is None else k_pos >= 0  # before the first frame there is none
        sees = masks.attention_mask(q_pos, k_pos, known, self.causal, self.window)
        x, states = self.over.enter(x, q_pos), []
        for i, block in enumerate(self.over.blocks):
            room = None if state is None else beams.grown(state[i], length)
            x, room, _ = block.run(x, sees, q_pos=q_pos, k_pos=k_pos, state=room, index=before)
            states.append(None if state is None else {name: part[:, :, length:] for name, part in room.items()})
        return self.over.leave(x), states


@register
class RecurrentTagger(Tagger):
    """A recurrent stack over the vectors of the frames, both ways, or forwards only if causal.

    Args:
        num_classes, encoder, frame_shape, causal, dropout: see `Tagger`.
        units: U, of each direction.
        num_layers: L.
        cell: rnn, gru or lstm.

    Reference: Graves and Schmidhuber 2005.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> model = models.RecurrentTagger(7, layers.TokenEmbedding(23, 12), units=11)
    >>> tuple(model(np.ones((2, 5), "int32")).shape)
    (2, 5, 7)
    """

    def __init__(
        self, num_classes, encoder, frame_shape=(), causal=False, dropout=0.1, units=128, num_layers=2, cell="lstm",
        **kwargs,
    ):  # fmt: skip
        super().__init__(num_classes, encoder, frame_shape, causal, dropout, **kwargs)
        self.options |= {"units": units, "num_layers": num_layers, "cell": cell}
        self.over = RecurrentEncoder(
            units, num_layers, cell, not causal, dropout, dtype=self.dtype_policy, name="over"
        )
        self.build()

    def out_dim(self, dim):
        return self.over.units * (1 if self.causal else 2)

    def over_start(self, batch):
        return self.over.start(batch)

    def run(self, x, index, state=None, mask=None):
        return (self.over(x, x_mask=mask), None) if state is None else self.over.step(x, state)


@register
class TaggerCommittee(Configured):
    """Taggers that learn apart, each from its own rows of every batch, and answer together: the mean of their logits.

    Where examples are few, members that saw different batches make different mistakes, which partly cancel.

    Args:
        members: taggers of the same classes, all of them causal or none.

    Call arguments:
        inputs: as of `Tagger`. While it trains a batch needs at least a row for each member.

    Returns:
        logits (B, T, C).

    Raises:
        ValueError: for no member, or for causal ones among others.

    Reference: Hansen and Salamon 1990; Breiman 1996.

    Example:

    >>> import numpy as np
    >>> from keras_seq import layers, models
    >>> taggers = [models.RecurrentTagger(7, layers.TokenEmbedding(23, 12), units=11) for _ in range(2)]
    >>> tuple(models.TaggerCommittee(taggers)(np.ones((2, 5), "int32")).shape)
    (2, 5, 7)
    """

    parts = ("members",)

    def __init__(self, members, **kwargs):
        super().__init__(**kwargs)
        self.options, self.members = {}, list(members)
        if len({member.causal for member in self.members}) != 1:
            causal = [member.causal for member in self.members]
            raise ValueError(f"TaggerCommittee expects members that are all causal, or all not; got {causal}.")
        self.causal = self.members[0].causal
        self.built = True

    def call(self, inputs, training=None, mask=None):
        if not training:
            return self.mean([member(inputs, mask=mask) for member in self.members])
        rows, count = ops.shape(tree.flatten(inputs)[0])[0], len(self.members)
        found = []
        for i, member in enumerate(self.members):
            share = slice(rows * i // count, rows * (i + 1) // count)
            own, seen = tree.map_structure(lambda x, share=share: None if x is None else x[share], (inputs, mask))
            found.append(member(own, training=training, mask=seen))
        return ops.concatenate(found, axis=0)

    def start(self, batch=1):
        """The state of each member before the first frame, {"member_0": see `Tagger.start`, ...}."""
        return {f"member_{i}": member.start(batch) for i, member in enumerate(self.members)}

    def step(self, frames, index, state):
        """As `Tagger.step`, with a state of each member."""
        found, after = [], {}
        for i, member in enumerate(self.members):
            logits, after[f"member_{i}"] = member.step(frames, index, state[f"member_{i}"])
            found.append(logits)
        return self.mean(found), after

    def mean(self, found):
        return ops.mean(ops.stack(found), axis=0)
