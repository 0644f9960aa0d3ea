"""Pictures: matplotlib figures, made without a screen and without global state.

Example:

    save(learning_curves({"loss": [3.1, 2.0], "val_loss": [3.3, 2.6]}), "curves.png")
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={"layers", "panels", "style"},
    submod_attrs={
        "attention": ["attention_map"],
        "confusion": ["confusion_matrix"],
        "detection": ["detection"],
        "forecast": ["forecast"],
        "panels": ["curves", "matrix", "patterns"],
        "pictures": ["attention_over_picture"],
        "style": ["figure", "pixels", "png", "save"],
        "sound": ["heard"],
        "timeline": ["timeline"],
        "training": ["learning_curves"],
    },
)
