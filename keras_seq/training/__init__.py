"""Losses, schedules and what happens around `fit()`; loaded on first use, for some of it needs Keras."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={"callbacks", "card", "checkpoint", "losses", "schedules", "store"},
    submod_attrs={"losses": ["TokenCrossEntropy"], "schedules": ["WarmupCosine", "WarmupInverseSquareRoot"]},
)
