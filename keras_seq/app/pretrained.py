"""What was learned on one task begins another: the encoder of a trained model, and its tokenizer.

A model that reads text has a `layers.TextEncoder` under the name `encoder`, in every app made by the same fields of its
Config; so the weights of one model's encoder fit into another's.

    tokenizer = pretrained.tokenizer(config, texts)  # in data(): the pieces have to be the same
    Data(..., begin=pretrained.begin(config))        # and the weights are put in place before training begins
"""

from pathlib import Path

from keras_seq.app.cli import as_option
from keras_seq.training import store

SIZES = {  # fields of a Config that the weights of an encoder depend on, by its family
    "transformer": ("model", "dim", "layers", "heads", "mlp_dim", "position"),
    "bilstm": ("model", "dim", "layers", "units"),
}


def stack(config):
    """What stands over the vectors of the pieces, as `layers.TextEncoder` takes it."""
    if config.model == "transformer":
        return {"name": "transformer", "num_layers": config.layers, "num_heads": config.heads,
                "mlp_dim": config.mlp_dim, "position": config.position, "activation": "gelu",
                "dropout": config.dropout / 2}  # fmt: skip
    return {"name": "recurrent", "units": config.units, "num_layers": config.layers,
            "dropout": config.dropout if config.layers > 1 else 0.0}  # fmt: skip


def tokenizer(config, texts):
    """The tokenizer of the model in `config.pretrained`, or one learned from texts; case aside."""
    from keras_seq.data import Tokenizer, any_case

    if config.pretrained:
        return Tokenizer(kept_tokenizer(config))
    pieces = Tokenizer.train([text.lower() for text in texts], config.vocab_size)
    return Tokenizer(any_case(pieces.model_proto))


def kept_tokenizer(config):
    """The bytes of the tokenizer of the model in `config.pretrained`.

    Raises:
        ValueError: where there is no model with an encoder, or one of other sizes than `config` says: with the flags
            that make them fit.
    """
    folder = Path(config.pretrained)
    for name in ("config.json", "tokenizer.model", "model.weights.h5"):
        if not (folder / name).exists():
            raise ValueError(f"expected a trained model that reads text in {folder}, got no {name}: train one with "
                             "`python -m apps.masked_lm train`")
    theirs = store.read_json(folder / "config.json", "config")["config"]
    needed = {name: theirs.get(name) for name in SIZES.get(theirs.get("model"), ())}
    wrong = [name for name, value in needed.items() if getattr(config, name) != value]
    if wrong or not needed:
        flags = " ".join(f"{as_option(name)} {value}" for name, value in needed.items())
        got = ", ".join(f"{as_option(name)} {getattr(config, name)}" for name in wrong) or "a model of another kind"
        raise ValueError(f"expected the sizes of the encoder in {folder}, got {got}: add {flags or 'another folder'}")
    return (folder / "tokenizer.model").read_bytes()


def begin(config):
    """A function that gives a model the encoder's weights of the one in `config.pretrained`; None without one."""
    return (lambda model: load(model, config.pretrained)) if config.pretrained else None


def load(model, folder):
    """Puts the weights of a trained encoder into that of a model, and into each that a committee has.

    Args:
        model: with an `encoder`, or with `members`, of which those that have one begin with it.
        folder: of a trained model with an `encoder`.

    Raises:
        ValueError: where they have not the same shapes.
    """
    import keras

    class Reader(keras.Model):  # weights are read by the names of attributes: those of others stay unread
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        def load_own_variables(self, store):
            """None: what the model itself has in the file is not the encoder's."""

    for member in (member for member in getattr(model, "members", [model]) if hasattr(member, "encoder")):
        reader = Reader(member.encoder)
        reader.built = True
        try:
            reader.load_weights(Path(folder) / "model.weights.h5")
        except ValueError as error:
            raise ValueError(f"expected the weights of an encoder of this size in {folder}, got others ({error}): "
                             "train without --pretrained, or train that model again") from error
