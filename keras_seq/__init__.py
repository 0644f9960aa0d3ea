"""Sequence models in Keras: layers, decoding, training and the way to the phone.

The public names load on first use, because importing Keras takes seconds and `--help` should not.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={"data", "decoding", "deploy", "layers", "models", "plots", "training"},
    submod_attrs={
        "app": ["App", "Data", "Preview"],
        "decoding": ["generate"],
        "models": [
            "RecurrentLanguageModel", "RecurrentSeq2Seq", "TransformerLanguageModel", "TransformerSeq2Seq",
        ],  # fmt: skip
    },
)
