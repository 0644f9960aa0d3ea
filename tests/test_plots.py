"""Pictures: they have the panels, cells and words they should, and files are whole or not there."""

import numpy as np
import pytest

from keras_seq import plots

WORDS = ["▁Click", "▁on", "▁the", "▁icon", "▁for", "▁$5", "."]
MOTS = ["▁Cliquez", "▁sur", "▁l", "'", "icône"]


def weights(t=5, s=7):
    raw = np.random.default_rng(0).random((t, s)) ** 4
    return raw / raw.sum(axis=1, keepdims=True)


def test_a_panel_for_each_metric_and_a_line_for_the_kept_epoch():
    history = {"loss": [3.0, 2.0, 1.5], "val_loss": [3.1, 2.5, 2.6], "bleu": [None, 7.0, 9.0]}
    fig = plots.learning_curves(history, best=2)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["loss", "bleu"]
    training, validation, kept = fig.axes[0].lines
    np.testing.assert_array_equal(training.get_ydata(), [3.0, 2.0, 1.5])
    np.testing.assert_array_equal(validation.get_ydata(), [3.1, 2.5, 2.6])
    assert list(kept.get_xdata()) == [2, 2]
    assert list(fig.axes[1].lines[0].get_xdata()) == [2, 3]  # the epoch without a value leaves a gap


def test_one_epoch_can_be_drawn_and_none_is_an_error():
    assert len(plots.learning_curves({"loss": [2.0]}).axes) == 1
    with pytest.raises(ValueError, match="at least one value"):
        plots.learning_curves({"loss": []})


def test_the_attention_map_shows_the_weights_and_marks_the_largest():
    expected = weights()
    fig = plots.attention_map(expected, WORDS, MOTS, "heads averaged")
    ax = fig.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), expected, rtol=1e-6)
    np.testing.assert_array_equal(ax.collections[0].get_offsets()[:, 0], expected.argmax(axis=1))
    assert [t.get_text() for t in ax.get_xticklabels()][:2] == ["·Click", "·on"]
    assert len(ax.get_yticks()) == len(MOTS)


@pytest.mark.parametrize("draw", [
    lambda title: plots.attention_map([[1.0]], ["a"], ["b"], title),
    lambda title: plots.confusion_matrix([[1]], ["a"], title),
])  # fmt: skip
def test_dollars_of_a_title_are_no_mathematics(draw):
    assert draw("from $5 to $9").get_suptitle() == r"from \$5 to \$9"


def test_weights_of_another_shape_are_an_error_that_says_which():
    with pytest.raises(ValueError, match=r"5 target tokens, 7 source tokens.*\(7, 5\)"):
        plots.attention_map(weights().T, WORDS, MOTS)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (83, 70)])
def test_every_token_stands_inside_the_picture(size):
    t, s = size
    fig = plots.attention_map(weights(t, s), [f"▁mot{i}" for i in range(s)], [f"▁tok{i}" for i in range(t)], "a title")
    image = plots.pixels(fig)
    assert image.dtype == np.uint8
    assert max(image.shape[:2]) < 2000
    border = np.concatenate([image[:3].reshape(-1, 3), image[-3:].reshape(-1, 3), image[:, :3].reshape(-1, 3)])
    assert (border == 255).all()  # nothing is cut off at the edges


def test_a_saved_figure_is_a_png_and_a_failed_one_leaves_the_old(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "map.png"
    plots.save(plots.attention_map(weights(), WORDS, MOTS), path)
    before = path.read_bytes()
    assert before[:4] == b"\x89PNG"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots.style.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        plots.save(plots.learning_curves({"loss": [1.0]}), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["map.png"]
