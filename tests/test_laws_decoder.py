"""Law 3: a decoder read in any pieces gives what it gives at once; it sees no padding and no future."""

import numpy as np
import pytest
from keras import ops

from keras_seq import layers
from keras_seq.layers import positions
from keras_seq.models import RecurrentSeq2Seq, TransformerSeq2Seq
from tests import checks
from tests.checks import array, close, normal

B, S, T, V = 2, 5, 7, 23


def transformer(**options):
    return TransformerSeq2Seq(**{"vocab_size": V, "dim": 18, "num_heads": 3, "num_layers": 2, "mlp_dim": 13} | options)


def recurrent(**options):
    return RecurrentSeq2Seq(**{"vocab_size": V, "dim": 13, "units": 22, "num_layers": 2} | options)


MODELS = {
    **{f"transformer_{name}": (transformer, {"position": name}) for name in positions.POSITIONS},
    "transformer_post_norm": (transformer, {"norm_first": False, "activation": "swiglu"}),
    "transformer_local": (transformer, {"attention": {"name": "local", "window": 3}, "position": "rotary"}),
    "transformer_two_vocabularies": (transformer, {"target_vocab_size": 29}),
    "lstm_additive": (recurrent, {}),
    "lstm_general": (recurrent, {"attention": "general"}),
    "lstm_multi_head": (recurrent, {"attention": {"name": "multi_head", "num_heads": 2}}),
    "lstm_none": (recurrent, {"attention": "none"}),
    "lstm_one_way": (recurrent, {"bidirectional": False, "num_layers": 1}),
    "gru_additive": (recurrent, {"cell": "gru"}),
    "rnn_dot": (recurrent, {"cell": "rnn", "attention": "dot"}),
}
every_model = pytest.mark.parametrize("name", MODELS)
made = {}


def model(name):
    """Each model is made once: its weights are shaken, and no test changes them."""
    if name not in made:
        make, options = MODELS[name]
        made[name] = checks.shake(make(**options))
    return made[name]


def whole(name):
    """What the model makes of `inputs()`, computed once."""
    if (name, "logits") not in made:
        made[name, "logits"] = array(checks.call(model(name), inputs()))
    return made[name, "logits"]


def inputs():
    return checks.source_and_target(V, B, S, T)


@every_model
@pytest.mark.parametrize("cuts", [[*range(1, T)], [1, 4]], ids=str)
def test_split_anywhere_equals_whole(name, cuts):
    checks.split_anywhere_equals_whole(model(name), inputs(), whole(name), cuts)


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("transformer")])
def test_a_cache_may_be_longer_than_what_is_written(name):
    checks.split_anywhere_equals_whole(model(name), inputs(), whole(name), [3], length=T + 2)


@every_model
def test_padding_is_invisible(name):
    checks.padding_is_invisible(model(name), inputs(), whole(name))


@every_model
def test_a_row_does_not_see_its_neighbours(name):
    alone = {key: value[:1] for key, value in inputs().items()}
    alone["source"] = alone["source"][:, :3]  # without its padding
    close(whole(name)[:1], checks.call(model(name), alone), 2e-5)


@every_model
def test_the_future_is_invisible(name):
    checks.future_is_invisible(model(name), inputs(), whole(name), at=4)


@every_model
def test_the_source_is_visible(name):
    other = inputs()
    other["source"][0, 2] = 5 if other["source"][0, 2] != 5 else 6
    moved = np.abs(array(checks.call(model(name), other)) - whole(name)).max(axis=(1, 2))
    assert moved[0] > 1e-4
    assert moved[1] == 0


@every_model
def test_attention_weights_are_distributions_over_the_source(name):
    batch, found = inputs(), checks.method(model(name), "attention_weights")(inputs())
    if name == "lstm_none":
        assert found is None
        return
    weights = array(found)
    assert weights.shape[0] == B
    assert weights.shape[2:] == (T, S)
    close(weights.sum(-1), np.ones(weights.shape[:3]))
    assert not weights[np.broadcast_to(batch["source"][:, None, None] == 0, weights.shape)].any()


@every_model
def test_step_takes_an_index_that_is_a_tensor(name):
    batch, m = inputs(), model(name)
    memory, state = checks.method(m, "start", T)(batch)
    _, state = checks.method(m, "step")(batch["target"][:, :2], 0, memory, state)
    index = ops.convert_to_tensor(2, dtype="int32")
    logits, _ = checks.method(m, "step")(batch["target"][:, 2:3], index, memory, state)
    close(array(logits)[:, 0], whole(name)[:, 2], 2e-5)


@every_model
def test_all_weights_exist_before_the_first_call_and_all_of_them_learn(name):
    make, options = MODELS[name]
    fresh = make(**options)
    before = [w.path for w in fresh.weights]
    checks.call(fresh, inputs())
    assert [w.path for w in fresh.weights] == before
    assert len(set(before)) == len(before)
    close(checks.call(checks.copy_weights(model(name), fresh), inputs()), whole(name), 1e-6)


# ---------- the layers by themselves ----------


@pytest.mark.parametrize("kv_heads", [None, 3])
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_transformer_decoder_in_steps(kv_heads, norm):
    decoder = layers.TransformerDecoder(2, num_heads=6, mlp_dim=13, kv_heads=kv_heads, norm=norm, position="rotary")
    x, context = normal(B, T, 24), normal(B, S, 24, seed=1)
    checks.a_decoder_in_steps_equals_the_whole(decoder, x, context, [1, 2, 5], length=T)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recurrent_decoder_in_steps_with_residuals(cell):
    decoder = layers.RecurrentDecoder(13, num_layers=3, cell=cell, attention="additive", residual=True)
    checks.a_decoder_in_steps_equals_the_whole(decoder, normal(B, T, 5), normal(B, S, 17, seed=1), [1, 2, 5])


def test_learned_positions_end():
    with pytest.raises(ValueError, match="max_length"):
        transformer(position="learned", max_length=S).start(inputs(), T)
    with pytest.raises(ValueError, match="max_length"):
        transformer(position="learned", max_length=S - 1).start(inputs())


@pytest.mark.tensorflow
def test_gradients_reach_every_weight():
    """What is trained is used: no weight of either family has a gradient that is zero by construction."""
    for name in MODELS:
        checks.gradients_reach_every_weight(model(name), inputs())
