"""Losses, schedules and what happens around `fit()`; loaded on first use, for some of it needs Keras."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={
        "calibration", "callbacks", "card", "checkpoint", "losses", "optimizers", "perplexity", "schedules", "scoring",
        "store",
    },  # fmt: skip
    submod_attrs={
        "cider": ["cider"],
        "edit_distance": ["edit_distance"],
        "perplexity": ["text_scores", "token_nats"],
        "losses": ["CTC", "Pinball", "TokenCrossEntropy"],
        "optimizers": ["Adam", "AdamW"],
        "schedules": ["WarmupCosine", "WarmupInverseSquareRoot"],
    },
)
