"""The page of an exported file: a browser without network says what Keras says; its server shows nothing else."""

import base64
import contextlib
import dataclasses
import functools
import http.client
import http.server
import io
import json
import re
import socket
import tarfile

import av
import keras
import numpy as np
import pytest
from PIL import Image

from keras_seq import demo, layers, models
from keras_seq.app import Trained
from keras_seq.app import demo as command
from keras_seq.data import cut_at_quiet, cutting, packages, read_frames, read_picture, shown, with_mask
from keras_seq.decoding import generate
from keras_seq.demo import runtime
from keras_seq.demo.loopback import PAGE
from keras_seq.deploy import bundle, language, litert, predictor, signatures
from keras_seq.deploy.bytes import ByteCodec
from keras_seq.deploy.runners import LiteRTRunner, following, pad_prompts, pad_sources
from tests.browser import Tab, chromium, needs_chromium, serving
from tests.test_deploy import tokenizer, tokenizer_proto
from tests.toy import APP

S, T = 11, 9  # ids of a source and of what is written
SIZE, FRAMES, HEIGHT, WIDTH = 12, 7, 10, 14
RATE, SAMPLES = 8000, 7919
LABELS = ["none", "one", "two"]


def lively(model, seed=5):
    """The model with weights so large that what it answers depends on what it reads."""
    noise = np.random.default_rng(seed)
    for weight in model.weights[1:]:
        weight.assign(weight + 0.5 * noise.normal(size=weight.shape))
    return model


def write(folder, contents, card):
    """The .tflite files with the vocabulary and a card inside."""
    for form, content in contents.items():
        files = {bundle.VOCABULARY: tokenizer_proto()}
        (folder / f"model_{form}.tflite").write_bytes(bundle.with_card(content, card, files))


def translator(folder):
    keras.utils.set_random_seed(5)
    size = tokenizer().get_piece_size()
    model = lively(models.TransformerSeq2Seq(size, dim=20, num_heads=2, num_layers=1, mlp_dim=23, position="rotary"))
    shapes = signatures.Shapes(1, S, T)
    contents, _ = litert.convert_seq2seq(model, shapes, ("f32", "int8"), tokenizer_proto=tokenizer_proto())
    write(folder, contents, {})
    return model


def writer(folder):
    """A language model: its f32 file writes T tokens after a prompt of S at most."""
    keras.utils.set_random_seed(5)
    model = lively(models.TransformerLanguageModel(tokenizer().get_piece_size(), 20, 2, 1, 23, "rotary", 0.0))
    sizes, shaped = {"prompt_length": S, "max_length": T}, {"top_k": 0, "top_p": 1.0}
    contents, _ = language.converted(model, tokenizer_proto(), "", sizes, shaped, ("f32",), dynamic=False)
    write(folder, contents, {})
    return model


def forecaster(folder):
    """It reads S rows of two series and their times, and tells T rows to come."""
    keras.utils.set_random_seed(5)
    common = {"horizon": T, "context": S, "mean": [3.0, -1.0], "deviation": [2.0, 1.5], "quantiles": [0.1, 0.5, 0.9]}
    model = models.RecurrentForecaster(**common, calendar=True, units=7, num_layers=1)
    read = {"past": ((S, 2), "float32"), "time": ((S + T,), "int32")}
    answer = predictor.Signature(lambda **inputs: {"forecast": model(inputs)}, read)
    with litert.for_phones():
        functions = {"predict": answer.traced()}
    card = {"targets": ["cars", "bikes"], "quantiles": common["quantiles"]}
    write(folder, litert.convert(signatures.tracked(model), functions, ("f32",)), card)
    return model


def detector(folder):
    """It judges rows of two series, after S that it reads."""
    keras.utils.set_random_seed(5)
    network = models.TransformerForecaster(
        1, S, [0.0] * 2, [1.0] * 2, calendar=False, window=True, patch=S, dim=8, num_heads=2, num_layers=1
    )
    model = models.Detector(network, S, 2)
    values = np.random.default_rng(3).normal(size=(60, 2))
    model.calibrate(values, values.mean(axis=0), values.std(axis=0), 1.2)

    def step(row, **state):
        scores, flags, state = model.step(row[:, None], state)
        return {"score": scores[:, 0], "flag": flags[:, 0], **state}

    read = {"row": (2,), "past": (S, 2), "mean": (2,), "variance": (2,)}
    read = {name: (shape, "float32") for name, shape in read.items()}
    with litert.for_phones():
        functions = {"step": predictor.Signature(step, read).traced()}
    facts = {name: np.array(getattr(model, name)).tolist() for name in ("deviation", "error_mean", "error_variance")}
    write(folder, litert.convert(signatures.tracked(model), functions, ("f32",)), {"variables": ["a", "b"], **facts})
    return model


def captioner(folder):
    keras.utils.set_random_seed(5)
    encoder, shape = layers.PatchEncoder(20, 4, 2, 1, 23), (SIZE, SIZE, 3)
    model = lively(models.TransformerCaptioner(tokenizer().get_piece_size(), encoder, shape, 2, 1, mlp_dim=23))
    shapes = signatures.Shapes(1, None, T, {"image": (shape, "float32")})
    write(folder, litert.convert_seq2seq(model, shapes, ("f32",), tokenizer_proto=tokenizer_proto())[0], {})
    return model


def classifier(folder):
    keras.utils.set_random_seed(5)
    model = lively(models.TransformerClassifier(tokenizer().get_piece_size(), len(LABELS), 12, 0.0, None, 2, 1, 17))
    read = {"tokens": ((S,), "int32")}
    answer = predictor.Signature(lambda tokens: {"probabilities": model.probabilities(tokens)}, read)
    module, functions = signatures.tracked(model), {"predict": answer.traced()}
    codec = ByteCodec(tokenizer_proto())
    module.tables, functions["text"] = codec.tables, codec.reading(functions["predict"], "tokens", S)
    write(folder, litert.convert(module, functions, ("f32",)), {"labels": {"names": LABELS}})
    return model


def writer_of_tags(folder):
    """A label for each piece of a text: what the embedding says of it."""
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((S,), dtype="int32")
    x = keras.layers.Embedding(tokenizer().get_piece_size(), 5)(x)
    model = lively(keras.Model(inputs, keras.layers.Dense(len(LABELS), activation="softmax")(x)))
    answer = predictor.Signature(lambda tokens: {"probabilities": model(tokens)}, {"tokens": ((S,), "int32")})
    module, functions, codec = signatures.tracked(model), {"predict": answer.traced()}, ByteCodec(tokenizer_proto())
    module.tables, functions["text"] = codec.tables, codec.reading(functions["predict"], "tokens", S)
    write(folder, litert.convert(module, functions, ("f32",)), {"tags": LABELS, "words": cutting({"a."}, ["'s"])})
    return model


def filler(folder):
    """A piece of the vocabulary for a text: what the embeddings of its pieces say together."""
    keras.utils.set_random_seed(5)
    size, proto = tokenizer().get_piece_size(), with_mask(tokenizer_proto())
    x = inputs = keras.Input((S,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(size, 5)(x))
    model = lively(keras.Model(inputs, keras.layers.Dense(size, activation="softmax")(x)))
    answer = predictor.Signature(lambda tokens: {"probabilities": model(tokens)}, {"tokens": ((S,), "int32")})
    module, functions, codec = signatures.tracked(model), {"predict": answer.traced()}, ByteCodec(proto)
    module.tables, functions["text"] = codec.tables, codec.reading(functions["predict"], "tokens", S)
    write(folder, litert.convert(module, functions, ("f32",)), {"hidden": "[MASK]"})
    return model


def tagger(folder):
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((FRAMES, HEIGHT, WIDTH, 1))
    x = keras.layers.Reshape((FRAMES, HEIGHT * WIDTH))(x)
    model = lively(keras.Model(inputs, keras.layers.Dense(len(LABELS), activation="softmax")(x)))
    names = {"frames": ((FRAMES, HEIGHT, WIDTH, 1), "float32"), "length": ((), "int32")}

    def answer(frames, length):
        keep = keras.ops.arange(FRAMES)[None, :, None] < keras.ops.reshape(length, (-1, 1, 1))
        return {"probabilities": keras.ops.where(keep, model(frames), 0.0)}

    functions = {"predict": predictor.Signature(answer, names).traced()}
    write(folder, litert.convert(signatures.tracked(model), functions, ("f32",)), {"labels": LABELS})
    return model


def listener(folder):
    keras.utils.set_random_seed(5)
    encoder = layers.SoundEncoder(12, {"name": "recurrent", "units": 10}, rate=RATE, bands=13)
    model = lively(models.CTCRecognizer(tokenizer().get_piece_size(), encoder))
    inputs = {"sound": ((SAMPLES,), "float32"), "length": ((), "int32")}

    def answer(sound, length):
        return {"tokens": model.tokens(model({"sound": sound, "length": length}))}

    with litert.for_phones():
        codec, read = ByteCodec(tokenizer_proto()), signatures.specs(inputs, 1)
        functions = {"text": codec.writing(predictor.Signature(answer, inputs).traced(), read)}
    module = signatures.tracked(model)
    module.tables = codec.tables
    write(folder, litert.convert(module, functions, ("f32",)), {"rate": RATE})
    return model


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def opened(driver, tmp_path):
    """A function that writes a model's files and opens its page: (model, tab)."""
    with_server = []

    def of(make, **page):
        model = make(tmp_path)
        files = {path.stem.removeprefix("model_"): path for path in sorted(tmp_path.glob("*.tflite"))}
        formats = {form: {"file": path.name, "bytes": path.stat().st_size} for form, path in files.items()}
        about = {"app": "toy", "summary": "A toy.", "formats": formats, **page}
        context = serving(demo.server(tmp_path, about, demo.runtime_folder()))
        with_server.append(context)
        return model, Tab(driver, context.__enter__(), len(page.get("samples", ())))

    yield of
    for context in with_server:
        context.__exit__(None, None, None)


def greedy(model, inputs):
    """What Keras writes: tokens and text."""
    tokens = np.array(generate(model, inputs, max_length=T)[0])[:, 0]
    return tokens, tokenizer().decode(tokens.tolist())[0]


def weights_of_words(model, text):
    """What the map of the page should show: attention summed over the pieces of each source word, with EOS a word."""
    source = pad_sources(tokenizer().encode([text]), S)
    tokens, _ = greedy(model, {"source": source})
    target = np.concatenate([[[1]], tokens[:, :-1]], axis=1)
    weights = np.array(model.attention_weights({"source": source, "target": target}))[0].mean(axis=0)
    rows, columns = (words(ids) for ids in (tokens[0], source[0]))
    ends = np.flatnonzero(source[0] == 2)
    columns = [*columns, (ends[0], ends[0] + 1)]
    return [[weights[a:b, c:d].sum() / (b - a) for c, d in columns] for a, b in rows]


def words(ids):
    """(first piece, one after the last) of each word."""
    ids = ids[: ([*ids, 2].index(2))]
    starts = [i for i, piece in enumerate(ids) if i == 0 or tokenizer().id_to_piece(int(piece)).startswith("\u2581")]
    return list(zip(starts, [*starts[1:], len(ids)]))


# ---------- in the browser ----------


@needs_chromium
def test_a_text_is_answered_as_keras_does_and_offline(opened):
    sample = {"text": "save a copy", "said": "by Keras", "wanted": "by a person"}
    model, tab = opened(translator, title="from here to there", samples=[sample])
    assert tab.find("h1").text.lower() == "from here to there"
    assert tab.find("#input").get_attribute("value") == sample["text"]  # the first sample is there at once
    assert "by Keras" in tab.find("#beside").text
    tab.does(tab.find("input[value=f32]").click)
    for text in ("open the file", "click the copy"):
        tab.types(text)
        expected = greedy(model, {"source": pad_sources(tokenizer().encode([text]), S)})[1]
        assert tab.output() == expected
        shares = tab.js("""return [...document.querySelectorAll('g.row')].map((row) =>
            [...row.querySelectorAll('.cell')].map((cell) => Number(cell.style.getPropertyValue('--share'))))""")
        np.testing.assert_allclose(shares, weights_of_words(model, text), atol=1e-3)
    loaded = tab.js("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert {re.match(r"\w+://[^:/]+", address)[0] for address in loaded} == {"http://127.0.0.1"}
    assert tab.errors() == []


@needs_chromium
def test_a_text_goes_on_as_keras_and_the_file_say(opened, tmp_path):
    model, tab = opened(writer, samples=[{"text": "open the"}])

    def after(text):
        prompts = pad_prompts(tokenizer().encode([text]), S)
        tokens = np.array(generate(model, {"prompt": prompts}, max_length=T, eos=-1)[0])[:, 0]
        return following(tokenizer(), prompts, tokens)[0]

    drawn = tab.output()
    noise = np.array(tab.js("return [...page.noise[0]]"), "float32")
    runner = LiteRTRunner(tmp_path / "model_f32.tflite")
    given = {"utf8": runner.utf8("open the", "text_sample"), "noise": noise, "temperature": np.float32(0.8)}
    assert [drawn] == runner.text([given], "text_sample")
    tab.does(lambda: tab.sets("#temperature", 0))
    assert tab.output() == after("open the") != drawn
    tab.does(tab.find("#more").click)
    twice = after("open the") + after("open the" + after("open the"))
    assert tab.output() == twice
    assert tab.find("#output").get_property("textContent") == "open the" + twice
    before = tab.runs()
    tab.js("for (const _ of [1, 2]) document.querySelector('#more').click()")
    tab.wait(before + 2)
    assert tab.output() == twice + after("open the" + twice)  # asked twice at once, it writes once
    tab.does(lambda: tab.sets("#temperature", 0.8))
    assert tab.output() == drawn  # of the same noise
    tab.does(tab.find("#other").click)
    assert tab.output() != drawn
    assert tab.errors() == []


@needs_chromium
def test_rows_to_come_are_foretold_as_keras_does_and_if_others_had_been(opened):
    past = np.random.default_rng(3).normal(size=(S, 2)).astype("float32")
    time = 60 * np.arange(S + T) + 25_000_000
    sample = {"text": "one", "past": past.tolist(), "time": time.tolist(), "came": past[:T].tolist()}
    model, tab = opened(forecaster, samples=[sample])

    def expected(column, factor):
        changed = np.where(np.arange(S)[:, None] < S - T, past, np.float32(factor) * past)
        found = model({"past": changed[None], "time": time[None].astype("int32")})
        return np.array(found)[0, :, column, 1]

    np.testing.assert_allclose(json.loads(tab.output()), expected(0, 1), rtol=1e-4)
    tab.does(lambda: tab.sets("#factor", 1.5))
    np.testing.assert_allclose(json.loads(tab.output()), expected(0, 1.5), rtol=1e-4)
    tab.sets("#target", 1, "change")
    np.testing.assert_allclose(json.loads(tab.output()), expected(1, 1.5), rtol=1e-4)
    lines = tab.js("return [...document.querySelectorAll('polyline')].map((x) => [x.classList[0], x.points.length])")
    assert lines == [["past", S], ["came", T], ["foretold", T]]
    assert f"80 % of what comes should lie in the band: of these {T} rows " in tab.find("#output + .note").text
    assert tab.errors() == []


@needs_chromium
def test_rows_are_judged_as_keras_does_and_if_some_were_off(opened):
    rows = np.random.default_rng(4).normal(size=(S + 40, 2)).astype("float32")
    model, tab = opened(detector, samples=[{"text": "one", "rows": rows.tolist(), "windows": [[20, 22]]}])

    def expected(by):
        changed = rows.copy()
        changed[S + 8] += np.float32(by) * np.array(model.deviation, "float32")  # a sixteenth of S, at a fifth
        scores, flags, _ = model.step(changed[None, S:], model.start(changed[None, :S]))
        return np.array(scores)[0], np.array(flags)[0]

    for by in (0, 4, -3):
        if by:
            tab.does(lambda: tab.sets("#off", by))  # noqa: B023
        found, (scores, flags) = json.loads(tab.output()), expected(by)
        np.testing.assert_allclose(found["scores"], scores, rtol=2e-3, atol=1e-4)
        assert found["flags"] == flags.tolist()
        told = f"{int(flags.sum())} of 40 rows are flagged; labelled as unusual: rows 20 to 22."
        assert tab.find("#output + .note").text == told
    assert flags.any()
    assert not flags.all()
    assert tab.errors() == []


@needs_chromium
def test_the_page_needs_no_server_once_it_is_there(opened, driver):
    model, tab = opened(classifier)
    assert tab.find("#output").text == ""  # no sample, nothing said
    driver.execute_cdp_cmd("Network.enable", {})
    network = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", network)
    try:
        tab.types("click here to save")
    finally:
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**network, "offline": False})
    odds = np.array(model.probabilities(pad_sources(tokenizer().encode(["click here to save"]), S)))[0]
    assert tab.output() == LABELS[odds.argmax()]
    assert float(tab.output("share")) == pytest.approx(odds.max(), abs=1e-5)
    assert tab.js("return document.querySelectorAll('.running .word').length") == 4  # what each adds


@needs_chromium
def test_each_word_has_the_label_of_its_first_piece(opened):
    model, tab = opened(writer_of_tags)
    tab.types("a. copy's end.")
    ids = pad_sources(tokenizer().encode(["a. copy 's end ."]), S)
    best = np.array(model(ids))[0].argmax(axis=-1)
    assert tab.output().split() == [LABELS[best[first]] for first, _ in words(ids[0])]


@needs_chromium
def test_what_is_hidden_is_told_as_keras_does(opened):
    model, tab = opened(filler, shows={"kind": "pieces"})
    tab.types("close the[mask].")
    ids = pad_sources([[*tokenizer().encode("close the"), 1, *tokenizer().encode("x.")[-1:]]], S)
    odds = np.array(model(ids))[0]
    piece = tokenizer().id_to_piece(int(odds.argmax()))
    assert tab.output() == (piece[1:] if piece.startswith("\u2581") else f"-{piece}")
    assert float(tab.output("share")) == pytest.approx(odds.max(), rel=1e-4)
    tab.types("close the file")
    assert (tab.find("#cut").text, tab.find("#output").text) == ("Write [MASK] in the place of a word.", "")
    assert tab.errors() == []


@needs_chromium
def test_numbers_are_run_all_the_same(opened):
    tab = opened(tagger, reads={"kind": "numbers"}, samples=[{}])[1]
    assert "7 × 10 × 14 × 1 float32" in tab.find("table").text
    assert "predict" in tab.find("#output").text


@needs_chromium
def test_a_picture_is_seen_as_python_sees_it_and_captioned_as_keras_does(opened, tmp_path):
    noise = np.random.default_rng(3)
    soft = Image.fromarray(noise.integers(0, 256, (5, 7, 4), dtype="uint8")).resize((61, 40), Image.Resampling.BICUBIC)
    opaque = soft.convert("RGB")
    pictures = {"soft.png": soft, "wide.png": opaque.resize((300, 130)), "tall.jpg": opaque.resize((90, 301))}
    model, tab = opened(captioner)
    for name, picture in pictures.items():
        picture.save(tmp_path / name, quality=95)
        tab.does(lambda: tab.find("#input").send_keys(str(tmp_path / name)))  # noqa: B023
        found = np.array(tab.js("return Array.from(page.image)"), "float32").reshape(SIZE, SIZE, 3)
        expected = shown(read_picture(tmp_path / name, SIZE), SIZE)
        np.testing.assert_allclose(found, expected, atol=0.03 if name.endswith("jpg") else 0.01)
        assert tab.output() == greedy(model, {"image": found[None]})[1]
    looks = tab.js("return document.querySelectorAll('button.look').length")
    assert looks == len(words(greedy(model, {"image": found[None]})[0][0]))


def video(path, frames, rate):
    """A file with grey frames, each 8 times as large."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libvpx", rate=rate, options={"crf": "4", "b": "4M"})
        stream.height, stream.width, stream.pix_fmt = 8 * frames.shape[1], 8 * frames.shape[2], "yuv420p"
        for frame in np.kron(frames, np.ones((1, 8, 8), "uint8")):
            packets = stream.encode(av.VideoFrame.from_ndarray(np.stack([frame] * 3, -1), "rgb24"))
            file.mux(packets)
        file.mux(stream.encode())


@needs_chromium
def test_a_clip_has_the_labels_that_keras_gives_it(opened, tmp_path):
    rate, frames = 10.0, np.random.default_rng(3).integers(0, 256, (FRAMES + 4, HEIGHT, WIDTH), dtype="uint8")
    said = [[0.0, 1.1, "one"]]
    page = {"reads": {"rate": rate}, "samples": [{**demo.strip(frames), "said": said, "wanted": said}]}
    model, tab = opened(tagger, **page)
    assert np.array_equal(seen(tab), frames)
    assert [span[2] for span in labels_of(tab, rate)] == keras_labels(model, frames)
    assert len(tab.js("return [...document.querySelectorAll('.timeline .row')]")) == 3
    video(tmp_path / "clip.webm", frames, int(rate))
    tab.does(lambda: tab.find("#input").send_keys(str(tmp_path / "clip.webm")))
    found = seen(tab)
    expected = read_frames(tmp_path / "clip.webm", HEIGHT, WIDTH, rate)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4
    assert [span[2] for span in labels_of(tab, rate)] == keras_labels(model, found)


@needs_chromium
def test_a_sound_is_heard_as_python_hears_it(opened, tmp_path):
    noise = np.random.default_rng(3)
    sounds = [(3000 * noise.normal(size=n)).astype("int16") for n in (5003, 2 * SAMPLES)]
    page = {"samples": [{"sound": demo.wav(sounds[0], RATE), "said": "by Keras", "wanted": "noise"}]}
    model, tab = opened(listener, **page)
    assert np.abs(np.array(tab.js("return [...page.sound]")) - sounds[0] / 32768).max() < 1e-3
    assert tab.output() == said(model, sounds[0])
    assert "by Keras" in tab.find("#beside").text
    (tmp_path / "long.wav").write_bytes(base64.b64decode(demo.wav(sounds[1], RATE).partition(",")[2]))
    tab.does(lambda: tab.find("#input").send_keys(str(tmp_path / "long.wav")))
    parts = cut_at_quiet(sounds[1], SAMPLES, RATE // 100)
    assert len(parts) > 1
    assert tab.output() == " ".join(text for part in parts if (text := said(model, part)))


def said(model, sound):
    """What the model hears in a sound."""
    x = {"sound": sound[None].astype("float32") / 32768, "length": np.int32([len(sound)])}
    return tokenizer().decode(np.array(model.tokens(model(x))).astype(int).tolist())[0]


def seen(tab):
    """The frames that the page has read."""
    return np.array(tab.js("return page.frames.map((frame) => [...frame])"), "uint8").reshape(-1, HEIGHT, WIDTH)


def labels_of(tab, rate):
    """A span for each frame, by what the page shows."""
    spans = json.loads(tab.output())
    return [span for span in spans for _ in range(round((span[1] - span[0]) * rate))]


def keras_labels(model, frames):
    """The best label of each frame: two pieces, of which the second counts from a quarter of the window on."""
    starts = [0, len(frames) - FRAMES]
    odds = [np.array(model(frames[None, s : s + FRAMES, ..., None] / np.float32(255)))[0] for s in starts]
    joined = np.concatenate([odds[0][: starts[1] + FRAMES // 4], odds[1][FRAMES // 4 :]])
    return [LABELS[i] for i in joined.argmax(axis=-1)]


# ---------- the server and the command ----------


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "model_f32.tflite").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    with serving(demo.server(folder, {"app": "toy"}, folder)) as url:
        yield url


def get(url, path, host=None, method="GET"):
    """The status and the headers of an answer, and what it holds."""
    connection = http.client.HTTPConnection(url.split("/")[2])
    connection.request(method, path, headers={"Host": host} if host else {})
    with contextlib.closing(connection), connection.getresponse() as answer:
        return answer.status, answer.headers, answer.read()


def test_the_server_hands_out_the_page_and_the_model_and_nothing_else(url):
    assert get(url, "/")[0] == 200
    assert get(url, "/model/model_f32.tflite")[2] == b"weights"
    assert json.loads(get(url, "/about.json")[2]) == {"app": "toy"}
    assert get(url, "/host/litert.mjs")[1]["Content-Type"].startswith("text/javascript")
    status, headers, content = get(url, "/model/model_f32.tflite", method="HEAD")
    assert (status, headers["Content-Length"], content) == (200, "7", b"")
    hidden = "/model/config.json", "/page/../loopback.py", "/page/%2e%2e/loopback.py", "/etc/passwd", "/model/", "/x"
    for path in hidden:
        assert get(url, path)[0] == 404, path
    assert get(url, "/", host="elsewhere.example")[0] == 403


def test_the_page_may_load_nothing_from_elsewhere(url):
    policy = get(url, "/")[1]["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    for file in PAGE.iterdir():
        if file.suffix in (".html", ".css", ".mjs"):
            text = file.read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
            assert not re.search(r"(https?:)?//[\w-]+\.\w", text)


def test_only_this_machine_is_served(url):
    assert url.startswith("http://127.0.0.1:")
    other = next((i[4][0] for i in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)), "127.0.0.1")
    if not other.startswith("127."):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other, int(url.split(":")[2].strip("/"))), timeout=2).close()


def trained(folder, *files):
    """A folder as a training leaves it, as far as the command looks."""
    (folder / "config.json").write_text(json.dumps({"app": "toy", "config": {}, "assets": {}}))
    for name in files:
        (folder / name).write_bytes(b"")
    return folder


def test_without_an_export_the_command_says_what_to_do(tmp_path, capsys):
    assert APP.run(["demo", "--no-open", "--output", str(tmp_path)]) == 2
    assert re.match(r"error: no trained model in .*: run `.* train --output .*` first\n$", capsys.readouterr().err)
    assert APP.run(["demo", "--no-open", "--output", str(trained(tmp_path))]) == 2
    error = capsys.readouterr().err
    assert re.match(r"error: expected exported files in .*: run `.* export --output .*` first\n$", error)
    (tmp_path / "model_f32.tflite").write_bytes(b"")
    assert APP.run(["demo", "--no-open", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert re.match(r"error: expected files exported from .*earlier one: run `.* export --output .*` again\n$", error)


def test_the_facts_of_a_page_are_those_of_the_export(tmp_path):
    folder = trained(tmp_path, "model_f32.tflite", "model_int8.tflite", "model_f32_dynamic.tflite", "report.json")
    (folder / "demo.json").write_text('{"title": "Toys"}')
    facts = command.facts(APP, folder)
    assert list(facts["formats"]) == ["f32", "int8"]
    assert facts["title"] == "Toys"
    assert facts["summary"] == APP.doc.partition("\n")[0]


def test_an_export_writes_what_the_app_says_of_its_page(tmp_path):
    app = dataclasses.replace(APP, demo=lambda config, model, assets, rows: {"samples": rows[:1]})
    command.write_page(app, Trained(APP.Config(), None, {}, tmp_path), tmp_path, [{"text": "a"}, {"text": "b"}])
    trained(tmp_path, "model_f32.tflite", "report.json")
    assert command.facts(app, tmp_path)["samples"] == [{"text": "a"}]


def test_a_port_that_is_taken(tmp_path, url):
    port = int(url.split(":")[2].strip("/"))
    with pytest.raises(command.UserError, match=f"expected a free port, got {port} .* --port"):
        command.opened(tmp_path, {}, tmp_path, port)


# ---------- LiteRT.js ----------


def archive(files):
    """The bytes of a .tgz as npm packs it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_another_file_than_the_pinned_one_is_refused(no_cache):
    for place in ("core", "wasm-utils"):
        (no_cache / f"litertjs-{place}-{runtime.VERSION}.tgz").write_bytes(archive({"dist/index.js": b"other"}))
    with pytest.raises(ValueError, match="expected SHA-256 a97660833e9e7e10"):
        demo.runtime_folder(no_cache)
    assert not list(no_cache.rglob("index.js"))


def test_without_a_network_the_error_says_what_to_do(no_cache, monkeypatch, capsys):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(ValueError, match=r"cannot download @litertjs/core .*core-2.5.3.tgz elsewhere.* --runtime DIR"):
        demo.runtime_folder()
    assert "once" in capsys.readouterr().err


def test_without_npm_the_archive_comes_from_the_registry(tmp_path, monkeypatch):
    place = tmp_path / "@a" / "b" / "-"
    place.mkdir(parents=True)
    (place / "b-1.0.tgz").write_bytes(archive({"x.js": b"x"}))
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    registry = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    registry.url = f"http://127.0.0.1:{registry.server_address[1]}/"
    with serving(registry) as url:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", url)
        packages.download("npm", "@a/b", "1.0", tmp_path / "a-b-1.0.tgz")
    assert packages.files((tmp_path / "a-b-1.0.tgz").read_bytes()) == {"x.js": b"x"}
