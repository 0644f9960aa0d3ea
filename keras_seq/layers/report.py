"""Where a Keras mask arises in a model, where it is used, and where it is lost."""

import contextlib
import dataclasses
import inspect
import warnings

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class MaskRow:
    """What one layer did with Keras masks.

    name: of the layer or operation, indented by its depth in the model.
    kind: its class.
    receives: whether an input came with a mask, or a mask was handed over by name.
    uses: the arguments of `call` that held a mask.
    gives: whether an output carries a mask.
    lost: whether `call` asks for a mask, none came, and a layer before had given one of the same batch and length.
    """

    name: str
    kind: str
    receives: bool = False
    uses: tuple = ()
    gives: bool = False
    lost: bool = False

    @property
    def verdict(self):
        """What happened in a few words: "arises", "used, passed on", "DROPPED", "lost before this layer", ..."""
        if self.lost:
            return "lost before this layer"
        if not self.receives:
            return "arises" if self.gives else ""
        if self.uses:
            return "used, passed on" if self.gives else "used, ends here"
        return "passed on" if self.gives else "DROPPED"


class MaskReport(list):
    """A list of MaskRow that prints as a table."""

    def __str__(self):
        cells = [("layer", "class", "mask", "as")]
        cells += [(row.name, row.kind, row.verdict, ", ".join(row.uses)) for row in self]
        widths = [max(map(len, column)) for column in zip(*cells)]
        return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths)).rstrip() for line in cells)


def mask_report(model, batch, depth=1):
    """Run a model on a batch and tell, for each layer, whether a Keras mask arises, is used, passed on or dropped.

    Keras' masks are attributes of tensors, which any plain arithmetic loses without a word: `x + 1.0` has none. Such
    arithmetic has a row of its own in a functional model. In a subclassed model it has none, but the next layer that
    asks for a mask is reported as "lost before this layer".

    Args:
        model: a functional, sequential or subclassed Keras model or layer.
        batch: what the model takes.
        depth: 1 for the layers that the model calls itself, 2 for those that these call, ...; None for all.

    Returns:
        A list of MaskRow in the order of the calls, which prints as a table.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from keras_seq import layers
    >>> tokens = keras.Input((None,), dtype="int32")
    >>> x = layers.TokenEmbedding(11, 4, name="embedding")(tokens)
    >>> x = keras.layers.LSTM(3, name="lstm")(x + 1.0)
    >>> print(layers.mask_report(keras.Model(tokens, x), np.array([[5, 7, 0]])))
    layer      class           mask                    as
    embedding  TokenEmbedding  arises
    add        Add             DROPPED
    lstm       LSTM            lost before this layer
    """
    rows, alive = MaskReport(), set()

    def note(layer, level, masks, y):
        receives, wants, uses = masks
        found = [x for x in keras.tree.flatten(y) if mask_of(x) is not None]
        lost = bool(wants & alive) and not receives and not uses
        alive.update(leading(x) for x in found)
        if (depth is None or level <= depth) and (receives or isinstance(layer, keras.layers.Layer)):
            name = "  " * (level - 1) + layer.name
            rows.append(MaskRow(name, type(layer).__name__, bool(receives or uses), uses, bool(found), lost))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not support masking")  # the report says so
        if not model.built:
            model(batch)  # a first call makes the weights, and to do so calls the layers more than once
        with watched(note):
            model(batch)
    return rows


@contextlib.contextmanager
def watched(note):
    """While this is open `note(layer, level, masks, outputs)` is told of every layer and every operation that runs."""
    level = -1  # of the model itself 0

    def watch(kept, of):
        def call(layer, *args, **kwargs):
            nonlocal level
            if not of(layer):
                return kept(layer, *args, **kwargs)
            masks, level = masks_of(layer, args, kwargs), level + 1
            try:
                y = kept(layer, *args, **kwargs)
                if level:
                    note(layer, level, masks, y)
                return y
            finally:
                level -= 1

        return call

    kept = keras.layers.Layer.__call__, keras.Operation.__call__
    keras.layers.Layer.__call__ = watch(kept[0], lambda layer: True)
    keras.Operation.__call__ = watch(kept[1], lambda layer: not isinstance(layer, keras.layers.Layer))
    try:
        yield
    finally:
        keras.layers.Layer.__call__, keras.Operation.__call__ = kept


def masks_of(layer, args, kwargs):
    """What comes in: whether a tensor carries a mask, the sizes (B, T) that a mask is asked for in vain, and the names
    of the mask arguments that are filled, by hand or by Keras.

    Keras fills `mask` where a layer is called with one tensor, and `<name>_mask` where it is called with several.
    """
    signature = inspect.signature(layer.call)
    known = {name: value for name, value in kwargs.items() if name in signature.parameters}
    given = signature.bind_partial(*args, **known).arguments
    tensors = {name: leaves for name, value in given.items() if (leaves := tensors_in(value))}
    uses, wants, receives = [name for name in tensors if is_mask(name)], set(), False
    for name in tensors.keys() - set(uses):
        slot = "mask" if len(tensors) == 1 else f"{name}_mask"
        carries = any(mask_of(x) is not None for x in tensors[name])
        receives = receives or carries
        if slot in signature.parameters and slot not in uses:
            uses += [slot] * carries
            wants |= set() if carries else set(map(leading, tensors[name]))
    return receives, wants, tuple(uses)


def is_mask(name):
    return name == "mask" or name.endswith("_mask")


def tensors_in(value):
    return [x for x in keras.tree.flatten(value) if ops.is_tensor(x) or isinstance(x, np.ndarray)]


def leading(x):
    """(B, T) of x (B, T, ...)."""
    return tuple(x.shape[:2])


def mask_of(x):
    """The Keras mask that a tensor carries, or None."""
    from keras.src import backend  # not public: jax's tensors take no attributes, so that Keras keeps theirs elsewhere

    return backend.get_keras_mask(x)
