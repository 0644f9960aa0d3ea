"""Losses, schedules and what happens around `fit()`; loaded on first use, for some of it needs Keras."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={"calibration", "callbacks", "card", "checkpoint", "losses", "schedules", "scoring", "store"},
    submod_attrs={
        "cider": ["cider"],
        "losses": ["TokenCrossEntropy"],
        "schedules": ["WarmupCosine", "WarmupInverseSquareRoot"],
    },
)
