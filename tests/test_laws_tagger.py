"""Taggers and their clip encoder: any split equals the whole, the future and padding are invisible, all reloads."""

import json

import keras
import numpy as np
import pytest

from keras_seq import layers, models
from tests import checks
from tests.checks import array, close, normal

B, T, H, W, C, V, CLASSES = 2, 13, 7, 11, 3, 23, 5


def clips(causal, **options):
    return layers.ClipEncoder(12, filters=(3, 5), sizes=(3, 5), causal=causal, dropout=0.1, **options)


STACKS = {
    "transformer": lambda encoder, shape, causal: models.TransformerTagger(
        CLASSES, encoder, shape, causal, num_heads=3, num_layers=2, mlp_dim=17, window=5),
    "alibi": lambda encoder, shape, causal: models.TransformerTagger(
        CLASSES, encoder, shape, causal, num_heads=2, num_layers=1, mlp_dim=17, position="alibi", window=29),
    "lstm": lambda encoder, shape, causal: models.RecurrentTagger(CLASSES, encoder, shape, causal, units=11),
    "gru": lambda encoder, shape, causal: models.RecurrentTagger(
        CLASSES, encoder, shape, causal, units=11, num_layers=1, cell="gru"),
    "committee": lambda encoder, shape, causal: models.TaggerCommittee(
        [STACKS["lstm"](encoder, shape, causal), STACKS["alibi"](twin_of(encoder), shape, causal)]),
}  # fmt: skip


def twin_of(encoder):
    return type(encoder).from_config(encoder.get_config())


FRAMES = {
    "clips": (clips, (H, W, C), normal(B, T, H, W, C)),
    "words": (lambda _: layers.TokenEmbedding(V, 12), (), np.random.default_rng(3).integers(1, V, (B, T), "int32")),
    "series": (lambda _: layers.Linear(12), (C,), normal(B, T, C)),
}
CASES = [("transformer", "clips"), ("alibi", "series"), ("lstm", "clips"), ("gru", "words"), ("committee", "clips")]
every_case = pytest.mark.parametrize(("stack", "kind"), CASES, ids=["_".join(case) for case in CASES])
made = {}


def tagger(stack, kind, causal):
    """A tagger with random weights, what it reads and what it answers; made once."""
    if (stack, kind, causal) not in made:
        encoder, shape, frames = FRAMES[kind]
        model = checks.shake(STACKS[stack](encoder(causal), shape, causal))
        made[stack, kind, causal] = model, frames, array(checks.call(model, frames))
    return made[stack, kind, causal]


def in_steps(model, frames, cuts):
    state, found = checks.method(model, "start", len(frames))(), []
    for first, last in checks.pieces(frames.shape[1], cuts):
        logits, state = checks.method(model, "step")(frames[:, first:last], first, state)
        found.append(array(logits))
    return np.concatenate(found, axis=1)


@every_case
@pytest.mark.parametrize("cuts", [range(1, T), (3, 4, 11), ()], ids=["one_by_one", "pieces", "at_once"])
def test_any_split_equals_the_whole(stack, kind, cuts):
    model, frames, whole = tagger(stack, kind, True)
    assert whole.shape == (B, T, CLASSES)
    close(in_steps(model, frames, cuts), whole, 3e-5)


@every_case
def test_the_future_is_invisible(stack, kind):
    model, frames, whole = tagger(stack, kind, True)
    changed, at = frames.copy(), 7
    changed[:, at] = frames[:, at - 1] + 1
    after = array(checks.call(model, changed))
    np.testing.assert_array_equal(after[:, :at], whole[:, :at])
    assert np.abs(after[:, at:] - whole[:, at:]).max() > 1e-4


@every_case
def test_a_tagger_that_is_not_causal_looks_both_ways(stack, kind):
    model, frames, whole = tagger(stack, kind, False)
    changed = frames.copy()
    changed[:, 7] = frames[:, 6] + 1
    moved = np.abs(array(checks.call(model, changed)) - whole).max(axis=(0, 2)) > 1e-5
    assert moved[6]
    assert moved[7]
    with pytest.raises(ValueError, match="causal=True"):
        model.start()


@every_case
@pytest.mark.parametrize("causal", [True, False])
def test_padding_is_invisible(stack, kind, causal):
    model, frames, whole = tagger(stack, kind, causal)
    short, key = 8, "tokens" if kind == "words" else "frames"
    alone = array(checks.call(model, frames[:1, :short]))
    both = array(checks.call(model, {key: frames, "length": np.array([short, T], "int32")}))
    close(both[:1, :short], alone, 3e-5)
    close(both[1:], whole[1:], 3e-5)


def test_the_padding_of_tokens_is_known():
    model, tokens, _ = tagger("gru", "words", False)
    padded = np.pad(tokens, ((0, 0), (0, 3)))
    close(array(checks.call(model, padded))[:, :T], array(checks.call(model, tokens)), 3e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_the_encoder_reads_no_padding(causal):
    encoder, x = clips(causal), normal(B, T, H, W, C)
    checks.shake_built(encoder, x)
    mask = np.arange(T)[None] < np.array([[8], [T]])
    close(array(encoder(x, x_mask=mask))[:1, :8], encoder(x[:1, :8]), 3e-5)


def test_a_frame_sees_as_far_as_the_encoder_says():
    """Two convolutions over three frames each: two frames either way, or four back."""
    x, t, s = normal(1, T, H, W, C), np.arange(T)[:, None], np.arange(T)
    for causal, sees in ((False, abs(t - s) <= 2), (True, (s <= t) & (t - s <= 4))):
        encoder = layers.ClipEncoder(5, filters=(3, 5), sizes=(3, 3), causal=causal)
        checks.shake_built(encoder, x)
        whole = array(encoder(x))
        for at in (0, 6, T - 1):
            changed = x.copy()
            changed[:, at] *= -1  # adding a number would change its light only
            moved = np.abs(array(encoder(changed)) - whole).max(axis=(0, 2)) > 1e-5
            np.testing.assert_array_equal(moved, sees[:, at])


@pytest.mark.parametrize("kind", FRAMES)
def test_a_config_makes_the_same_model_again(kind):
    model, frames, whole = tagger({"clips": "lstm", "words": "gru", "series": "alibi"}[kind], kind, True)
    twin = checks.plain_config(model)
    close(checks.copy_weights(model, twin)(frames), whole, 1e-6)
    assert json.loads(json.dumps(model.get_config()))["num_classes"] == CLASSES


def test_models_compose_and_reload_in_a_fresh_process(tmp_path):
    made_ = {"_".join(case): tagger(*case, True)[:2] for case in (CASES[0], CASES[3])}
    checks.reload_in_fresh_process(
        {name: (checks.functional(model, frames), [frames]) for name, (model, frames) in made_.items()}, tmp_path
    )


def test_the_encoder_keeps_the_laws_of_layers():
    x = normal(B, T, H, W, C)
    checks.round_trip(clips(True), x)
    checks.half_precision(lambda dtype: clips(False, dtype=dtype), x)


def test_half_precision():
    keras.utils.set_random_seed(3)
    encoder, shape, frames = FRAMES["clips"]
    full = STACKS["lstm"](encoder(True), shape, True)
    half = models.RecurrentTagger(
        CLASSES, layers.ClipEncoder(12, (3, 5), (3, 5), causal=True, dtype="mixed_bfloat16"), shape, True, units=11,
        dtype="mixed_bfloat16",
    )  # fmt: skip
    checks.copy_weights(full, half)
    assert keras.backend.standardize_dtype(half(frames).dtype) == "float32"
    close(half(frames), full(frames), 0.1)
    close(in_steps(half, frames, range(1, T)), half(frames), 0.03)


def test_a_causal_tagger_needs_a_causal_encoder():
    with pytest.raises(ValueError, match="causal encoder"):
        STACKS["lstm"](clips(False), (H, W, C), True)


def test_each_member_learns_from_its_own_rows():
    members = [models.RecurrentTagger(CLASSES, layers.Linear(12), (C,), dropout=0.0, units=11) for _ in range(3)]
    net, frames = checks.shake(models.TaggerCommittee(members)), normal(8, T, C)
    length = np.arange(3, 11, dtype="int32")
    shares = zip(members, np.split(frames, [2, 5]), np.split(length, [2, 5]))
    found = net({"frames": frames, "length": length}, training=True)
    close(found, np.concatenate([array(m({"frames": x, "length": n}, training=True)) for m, x, n in shares]), 1e-6)
    close(checks.call(net, frames), np.mean([array(checks.call(member, frames)) for member in members], axis=0), 1e-6)


def test_members_of_a_committee_are_alike():
    causal = [STACKS["gru"](layers.Linear(12), (C,), causal) for causal in (True, False)]
    with pytest.raises(ValueError, match="all causal, or all not"):
        models.TaggerCommittee(causal)
