"""Weight decay of the apps pulls at what products are made of: not at biases, nor at the gains of normalisation."""

import pytest

from apps import captioning, language_model, pronunciation, speech, vit
from keras_seq.data import Tokenizer

pytestmark = pytest.mark.tensorflow

PIECES = {"tokenizer.model": Tokenizer.characters(["abc"]).model_proto, "epoch": {"steps": 3}}
CASES = {
    "captioning cnn": (captioning, PIECES, {"encoder": "cnn", "width": 4}),
    "captioning vit": (captioning, PIECES, {"encoder": "vit"}),
    "language_model": (language_model, PIECES, {"dim": 8, "heads": 2}),
    "pronunciation": (pronunciation, {"letters": ["a"], "phonemes": ["AH"], "epoch": {"steps": 3}}, {}),
    "speech ctc": (speech, PIECES, {"model": "ctc"}),
    "speech transformer": (speech, PIECES, {"model": "transformer"}),
    **{
        f"vit {position}": (vit, {"labels": {"names": ["a", "b"], "channels": 1}, "epoch": {"steps": 3}},
                            {"position": position, "pooling": "class", "layers": 1})
        for position in ("learned", "flat")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_only_matrices_decay(name):
    app, assets, options = CASES[name]
    model = app.model(app.Config(**options), assets)
    model.optimizer.build(model.trainable_variables)
    decayed = {v.name for v in model.trainable_variables if model.optimizer._use_weight_decay(v)}  # not public
    in_fit = {v.name for v in model.trainable_variables if model.optimizer._use_weight_decay(v.value)}  # by its path
    wanted = {"kernel", "recurrent_kernel", *(["table", "score"] if app is captioning else [])}  # and its attention's
    assert "kernel" in decayed
    assert decayed <= wanted
    assert in_fit == decayed
