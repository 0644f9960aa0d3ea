"""Language models: any split equals the whole, a prompt is what stands before, whatever it is padded with."""

import numpy as np
import pytest

from keras_seq import generate, models
from keras_seq.layers import positions
from tests import checks
from tests.checks import array, close

B, S, T, V = 3, 5, 7, 23
SIZES = (5, 3, 1)  # tokens of the prompts


def transformer(**options):
    return models.TransformerLanguageModel(V, **{"dim": 18, "num_heads": 3, "num_layers": 2, "mlp_dim": 13} | options)


def recurrent(**options):
    return models.RecurrentLanguageModel(V, **{"dim": 13, "units": 11, "num_layers": 2} | options)


MODELS = {
    **{f"transformer_{name}": (transformer, {"position": name}) for name in positions.POSITIONS},
    "transformer_post_norm": (transformer, {"norm_first": False, "norm": "rms", "activation": "swiglu"}),
    "transformer_local": (transformer, {"attention": {"name": "local", "window": 3}}),
    "lstm": (recurrent, {}),
    "lstm_residual": (recurrent, {"residual": True, "units": 13}),
    "gru": (recurrent, {"cell": "gru", "num_layers": 1}),
    "rnn": (recurrent, {"cell": "rnn"}),
}
every_model = pytest.mark.parametrize("name", MODELS)
made = {}


def model(name):
    """The model with shaken weights, its inputs and its logits; made once."""
    if name not in made:
        make, options = MODELS[name]
        net = checks.shake(make(**options))
        inputs = {"target": np.random.default_rng(5).integers(4, V, (B, S + T), "int32")}
        made[name] = net, inputs, array(checks.call(net, inputs))
    return made[name]


def parted(target):
    """The target cut after its first tokens, another number in each row: prompts with PAD after their end, and rests.

    A rest begins with the last token of its prompt, as a translation begins with BOS.
    """
    prompt = np.where(np.arange(S) < np.array(SIZES)[:, None], target[:, :S], 0)
    rest = np.stack([row[size - 1 :][:T] for row, size in zip(target, SIZES)])
    return {"prompt": prompt, "target": rest}


@every_model
@pytest.mark.parametrize("cuts", [[*range(1, S + T)], [1, 4]], ids=str)
def test_split_anywhere_equals_whole(name, cuts):
    checks.split_anywhere_equals_whole(*model(name), cuts)


@every_model
def test_the_future_is_invisible(name):
    checks.future_is_invisible(*model(name), at=4)


@every_model
def test_prompts_of_several_lengths_in_one_batch_equal_the_whole(name):
    net, inputs, whole = model(name)
    expected = np.stack([row[size - 1 :][:T] for row, size in zip(whole, SIZES)])
    both = parted(inputs["target"])
    close(net(both), expected, 2e-5)
    checks.split_anywhere_equals_whole(net, both, expected, [1, 4], length=T + 2)
    wider = {**both, "prompt": np.pad(both["prompt"], ((0, 0), (0, 2)))}
    close(net(wider), expected, 2e-5)


@every_model
def test_each_row_sees_its_own_prompt_and_no_other(name):
    net, inputs, _ = model(name)
    both = parted(inputs["target"])
    other = {**both, "prompt": both["prompt"].copy()}
    other["prompt"][0, 3] = 5 if other["prompt"][0, 3] != 5 else 6
    moved = np.abs(array(net(other)) - array(net(both))).max(axis=(1, 2))
    assert moved[0] > 1e-4
    assert not moved[1:].any()


@every_model
def test_greedy_agrees_with_teacher_forcing(name):
    net, inputs, _ = model(name)
    prompt = parted(inputs["target"])["prompt"]
    tokens, score = (array(x)[:, 0] for x in generate(net, {"prompt": prompt}, max_length=T, eos=-1))
    for row, before, size, total in zip(tokens, prompt, SIZES, score):
        text = np.concatenate([before[:size], row])[None]
        logits = array(net({"target": text}))[0, size - 1 : -1]
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        np.testing.assert_array_equal(logits.argmax(-1), row)
        close(total, log_p.max(-1).sum(), 1e-4)


@pytest.mark.parametrize("prompt", [[[5, 6], [0, 7]], [[5, 6], [0, 0]], [[5, 0, 7], [5, 6, 0]], [[], []]], ids=str)
def test_a_prompt_that_would_be_read_as_another_is_refused(prompt):
    with pytest.raises(ValueError, match="padding behind their end only; look at row"):
        generate(transformer(), {"prompt": np.array(prompt, "int32")}, max_length=2)


@pytest.mark.parametrize("name", ["transformer_rotary", "lstm"])
def test_beams_and_samples_share_the_prompt(name):
    net, inputs, _ = model(name)
    prompt = {"prompt": parted(inputs["target"])["prompt"]}
    greedy = array(generate(net, prompt, max_length=T, eos=-1)[0])
    many = array(generate(net, prompt, max_length=T, temperature=1.0, top_k=1, results=2, eos=-1)[0])
    np.testing.assert_array_equal(many, np.repeat(greedy, 2, axis=1))
    alone = generate(net, {"prompt": prompt["prompt"][1:2, :3]}, max_length=T, beams=3, eos=-1)
    together = generate(net, prompt, max_length=T, beams=3, eos=-1)
    close(alone, [x[1:2] for x in together], 1e-4)


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("transformer")])
def test_beams_side_by_side_write_what_rows_of_their_own_write(name):
    net, inputs, _ = model(name)
    checks.beams_side_by_side(net, {"prompt": parted(inputs["target"])["prompt"]}, max_length=T)


@every_model
def test_its_config_makes_it_again(name):
    checks.config_makes_it_again(*model(name))


def test_saved_models_reload_in_a_fresh_process(tmp_path):
    checks.reload_in_fresh_process({name: model(name)[:2] for name in ("transformer_rotary", "lstm")}, tmp_path)


def test_learned_positions_end():
    net, prompt = transformer(position="learned", max_length=S + T), {"prompt": np.ones((1, S), "int32")}
    generate(net, prompt, max_length=T)
    with pytest.raises(ValueError, match="max_length"):
        generate(net, prompt, max_length=T + 1)


@pytest.mark.tensorflow
def test_gradients_reach_every_weight():
    for name in MODELS:
        checks.gradients_reach_every_weight(*model(name)[:2], training=True)
