"""BLEU by the length of the source, of models that were trained elsewhere: how, the page says."""

import json

import numpy as np

from keras_seq.plots.panels import curves, grid

LABELS = {"none": "LSTM, no attention", "additive": "LSTM, additive attention", "transformer": "Transformer"}
PICTURE = "![BLEU by the length of the source, with and without attention](images/bottleneck.png)"


def read(path):
    """{"none": {"1-5": BLEU, ...}, ...} with its table, and the line that shows the picture."""
    models = json.loads(path.read_text(encoding="utf-8"))
    groups = list(next(iter(models.values())))
    rows = [[LABELS[name], *(f"{models[name][group]:.1f}" for group in groups)] for name in LABELS if name in models]
    return {"models": models, "table": [["words of the source", *groups], *rows], "picture": PICTURE}


def draw(results):
    fig, (ax,) = grid(1, 1, 6.4, 3.0)
    models = results["models"]
    groups = list(next(iter(models.values())))
    lines = {LABELS[name]: (np.arange(len(groups)), list(models[name].values())) for name in LABELS if name in models}
    curves(ax, lines, "BLEU by the length of the sentence", "words of the source", "BLEU")
    ax.set_xticks(range(len(groups)), groups)
    return fig
