"""Export of language models: the prompt in one call, then a token a call, or the whole continuation in one.

| signature | inputs | outputs |
|---|---|---|
| `prefill` | `prompt` (B, S) int32 | `memory_*`, `state_*`; `memory_first` (B, 1) is the first of `tokens` |
| `decode_step` | `tokens` (B, 1), `index` () int32 from 0 on, `memory_*`, `state_*` | `logits` (B, V), `state_*` |
| `generate` | `prompt` | `tokens` (B, T) int32, `scores` (B,) float32: the likeliest each time |
| `sample` | `prompt`, `noise` (B, T) float32 in [0, 1), `temperature` () float32 | the same, drawn |
| `text`, `text_sample` | `utf8` (1, N) int32 in the place of `prompt` | `utf8` (1, M) int32, `scores` |

The same noise draws the same tokens. `prompt` holds the last S ids of what stands before, then PAD. `text` and
`text_sample` are in a .tflite only; `generate` and `sample` of a SavedModel take `texts` (B,) string and give `text`
(B,) string, and its `generate_ids` and `sample_ids` are those above. A text that is given is the prompt, behind what
the export was told to put `before` it; one that comes out can be appended to it as it is.
"""

import functools

import numpy as np

from keras_seq.deploy import bundle, export, limits, litert, report, savedmodel, signatures
from keras_seq.deploy.bytes import ByteCodec
from keras_seq.deploy.report import clock, log_softmax, mean_kl, ready, sized
from keras_seq.deploy.runners import PAD, LiteRTRunner, SavedModelRunner, following, pad_prompts, stack

NEVER = -1  # no token ends a text that goes on
TEMPERATURE, SEED = 0.8, 0  # of the samples that are compared


def export_language_model(
    model, tokenizer_proto, folder, texts, *, prompt_length=64, max_length=64, top_k=0, top_p=1.0,
    before="", formats=limits.FORMATS, card=None, tolerance=0.02, prompts=50, scored=12, timed=4, dynamic=False,
):  # fmt: skip
    """Writes the SavedModel and one .tflite a format, each compared with the model before it is put in place.

    The SavedModel's text and f32's tokens have to be the model's after every prompt, their samples after nine of ten.
    int8 may lose `tolerance` nats a character of the held-out texts.

    Args:
        model: a trained language model, in float32.
        tokenizer_proto: bytes of its sentencepiece model.
        folder: where the files go; those of an earlier export are replaced when all new ones passed.
        texts: held-out texts. Prompts are cut from them, and so is what is foretold.
        prompt_length: S, ids of a prompt.
        max_length: T, ids that are written in a call.
        top_k, top_p: of the signature `sample`.
        before: what the files put before each text: a line break, for a model of lines that a text begins.
        formats: of "f32", "f16", "int8", "int4"; the last one needs ai-edge-quantizer.
        card: JSON-able facts about the model for the card in the file.
        tolerance: nats a character that a quantised file may lose, or `limits.Limits`, which say more.
        prompts: how many continuations are compared.
        scored: pieces of S + T tokens on which nats are measured.
        timed: prompts on which speed is measured.
        dynamic: also write `model_FORMAT_dynamic.tflite`, which takes any batch and prompts of any length.

    Returns:
        the report, which also lies in `report.json`. Where `report["passed"]` is False, no file was replaced.

    Raises:
        ValueError: for a model that is not in float32, or a tokenizer that cannot be put in a graph.
        UnsupportedOps: where a .tflite would need more than builtin ops.
    """
    limits.check_formats(formats)
    sizes = {"prompt_length": prompt_length, "max_length": max_length}
    shaped = {"top_k": top_k, "top_p": top_p}
    facts = {**(card or {}), **sizes, **shaped, **describe(before)}
    judge = Judge(model, tokenizer_proto, texts, before, sizes, shaped, prompts, scored, timed)

    def built(folder):
        return build(model, tokenizer_proto, folder, before, sizes, shaped, formats, facts, dynamic)

    return export.checked(folder, built, functools.partial(judge.report, tolerance=tolerance), judge.noisy())


def describe(before):
    """What `card.json` in the file says of its inputs and outputs."""
    from keras_seq.decoding import BOS, EOS, UNK

    return {
        "ids": {"pad": PAD, "bos": BOS, "eos": EOS, "unk": UNK},
        "before": before,
        "prompt": "the last ids of `before` and the text so far, then pad",
        "tokens": "ids of what follows",
        "utf8": "bytes of a text, then 0: the text so far, without `before`, or what follows on it",
        "vocabulary": bundle.VOCABULARY,
    }


def build(model, tokenizer_proto, folder, before, sizes, shaped, formats, facts, dynamic):
    """Writes all files into `folder`; returns their paths by name."""
    path = folder / export.SAVED_MODEL
    save(model, tokenizer_proto, path, before, sizes, shaped)
    paths, files = {export.SAVED_MODEL: path}, {bundle.VOCABULARY: tokenizer_proto}
    for is_open in (False, True)[: 1 + dynamic]:
        found = converted(model, tokenizer_proto, before, sizes, shaped, formats, is_open)
        paths |= export.write(folder, *found, facts, files, is_open)
    return paths


def converted(model, tokenizer_proto, before, sizes, shaped, formats, dynamic):
    """{format: bytes} and the description of the signatures."""
    length, codec = sizes["prompt_length"], ByteCodec(tokenizer_proto)
    with litert.for_phones():
        module, functions = module_of(model, *((None, None) if dynamic else (1, length)), sizes["max_length"], shaped)
    module.tables = codec.tables
    for name, search in {"text": "generate", "text_sample": "sample"}.items():
        given = read_by(length, sizes["max_length"], search)
        written = codec.writing(functions[search], signatures.specs(given, 1), follows=True)
        functions[name] = codec.reading(written, "prompt", length, prompt=True, before=before)
    return litert.convert(module, functions, formats), signatures.describe(functions)


def read_by(prompt_length, max_length, search):
    """{name: (shape without the batch axis, dtype)} of what `generate` or `sample` reads."""
    prompt = {"prompt": ((prompt_length,), "int32")}
    drawn = {"noise": ((max_length,), "float32"), "temperature": (None, "float32")}
    return prompt | drawn if search == "sample" else prompt


def module_of(model, batch, prompt_length, max_length, shaped):
    """The model's weights and its signatures of ids."""
    from keras_seq.decoding import search

    inputs = read_by(prompt_length, max_length, "generate")
    shapes = signatures.Shapes(batch, max_length=max_length, inputs=inputs)
    module, functions = signatures.seq2seq_module(model, shapes, eos=NEVER)
    functions = {"prefill" if name == "encode" else name: function for name, function in functions.items()}

    def sample(prompt, noise, temperature):
        import tensorflow as tf

        temperature = tf.maximum(temperature, 1e-3)
        found = search(
            model, {"prompt": prompt}, tf.transpose(noise), max_length, temperature=temperature, eos=NEVER, **shaped
        )
        return {"tokens": found[0][:, 0], "scores": found[1][:, 0]}

    given = read_by(prompt_length, max_length, "sample")
    return module, {**functions, "sample": signatures.trace(sample, **signatures.specs(given, batch))}


def save(model, tokenizer_proto, path, before, sizes, shaped):
    """Writes the SavedModel."""
    from keras_seq.deploy.text import TextCodec

    with savedmodel.for_servers():
        module, functions = module_of(model, None, None, sizes["max_length"], shaped)
    codec = TextCodec(tokenizer_proto)
    for name in ("generate", "sample"):
        functions[f"{name}_ids"] = functions[name]
        written = savedmodel.writing(codec, functions[name], ["scores"], follows=True)
        functions[name] = savedmodel.reading(codec, written, "prompt", sizes["prompt_length"], True, before)
    savedmodel.save(module, functions, path, codec)


class Judge:
    """Holds what the model itself writes and foretells, and compares each file with it."""

    def __init__(self, model, tokenizer_proto, texts, before, sizes, shaped, prompts, scored, timed):
        import sentencepiece

        self.model, self.sizes, self.timed = model, sizes, timed
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_proto)
        ids = [i for row in self.tokenizer.encode(list(texts)) for i in row]
        length = sizes["prompt_length"]
        self.prompts = self.readable(spread(ids, prompts, length))
        begun = self.tokenizer.encode([before + text for text in self.prompts])
        self.rows = [{"prompt": row} for row in pad_prompts(begun, length)]
        self.pieces = spread(ids, scored, length + sizes["max_length"])
        self.characters = sum(map(len, self.decode([row[length:] for row in self.pieces])))
        self.noise = np.random.default_rng(SEED).random((sizes["max_length"], len(self.rows)), "float32").T
        self.expected = self.written(), self.written(temperature=TEMPERATURE, seed=SEED, **shaped)
        self.foretold = [np.asarray(model({"target": row[None, :-1]}))[0, length - 1 :] for row in self.pieces]

    def readable(self, rows):
        """Rows of ids as texts that begin with a character, not with a space that a tokenizer would drop."""
        return [text.lstrip(" ") for text in self.decode(rows)]

    def written(self, **options):
        """The model's own tokens (n, T)."""
        from keras_seq.decoding import generate

        found = generate(self.model, stack(self.rows), self.sizes["max_length"], eos=NEVER, **options)
        return np.asarray(found[0])[:, 0]

    def report(self, paths, tolerance):
        """The report on the files."""
        name = "nats a character"
        results = [{"name": "keras", **self.compare(*self.expected), "metric": self.nats(self.foretold)}]
        for form, path in paths.items():
            row = self.saved_model(path) if form == export.SAVED_MODEL else self.litert(path)
            results.append({"name": form, **sized(path, self.model), **row})
        asked = {"sentences": len(self.rows), "unit": "prompts", **self.sizes, "characters": self.characters}
        return report.judged(self.model, results, name, tolerance, asked, more_is_better=False)

    def noisy(self):
        """The prompts as what `sample` reads."""
        temperature = np.float32(TEMPERATURE)
        return [{**row, "noise": noise, "temperature": temperature} for row, noise in zip(self.rows, self.noise)]

    def compare(self, greedy, sampled):
        """The share of prompts after which the same tokens were written."""
        same = [np.all(found == wanted, axis=1).mean() for found, wanted in zip((greedy, sampled), self.expected)]
        return dict(zip(("agreement", "sample_agreement"), map(float, same)))

    def nats(self, logits):
        """-log p a character of the ends of the pieces, given logits (T, V) of each."""
        ends = [row[self.sizes["prompt_length"] :] for row in self.pieces]
        gains = [log_softmax(found)[np.arange(len(end)), end] for found, end in zip(logits, ends)]
        return -float(np.sum(gains)) / self.characters

    def saved_model(self, path):
        """Texts in, texts out."""
        runner, load_ms = ready(lambda: SavedModelRunner(path), lambda runner: runner(self.prompts[:1]), times=1)
        given = {"noise": self.noise, "temperature": np.float32(TEMPERATURE)}
        sampled = runner.run("sample", texts=np.array(self.prompts, object), **given)["text"]
        pairs = zip((runner(self.prompts), [text.decode() for text in sampled]), self.expected)
        same = [np.mean([a == b for a, b in zip(found, self.following(tokens))]) for found, tokens in pairs]
        speed = self.speed(lambda i: runner(self.prompts[i : i + 1]))
        row = dict(zip(("agreement", "sample_agreement"), map(float, same)))
        return {**row, **self.foretell(runner), "load_ms": load_ms, "ms_per_token": speed}

    def litert(self, path):
        """Ids and bytes in; and what `decode_step` foretells, a token at a time."""
        runner, load_ms = ready(lambda: LiteRTRunner(path), lambda runner: runner.generate(self.rows[:1]))
        noisy = self.noisy()
        greedy, sampled = runner.generate(self.rows), runner.generate(noisy, "sample")
        utf8 = [{"utf8": runner.utf8(text, "text_sample"), "noise": row["noise"], "temperature": row["temperature"]}
                for text, row in zip(self.prompts, noisy)]  # fmt: skip
        pairs = [*zip(runner.text(self.prompts), self.following(greedy)),
                 *zip(runner.text(utf8, "text_sample"), self.following(sampled))]  # fmt: skip
        return {
            **self.compare(greedy, sampled),
            "text_agreement": float(np.mean([a == b for a, b in pairs])),
            **self.foretell(runner),
            "load_ms": load_ms,
            "ms_per_token": self.speed(lambda i: runner.generate(self.rows[i : i + 1])),
        }

    def foretell(self, runner):
        """The metric, and how far the logits are from the model's."""
        length = self.sizes["prompt_length"]
        found = [runner.logits({"prompt": row[:length]}, row[length - 1 : -1]) for row in self.pieces]
        pairs = list(zip(self.foretold, found))
        return {
            "metric": self.nats(found),
            "max_logit_difference": float(max(np.abs(ours - theirs).max() for ours, theirs in pairs)),
            "mean_kl": float(np.mean([mean_kl(log_softmax(ours), log_softmax(theirs)) for ours, theirs in pairs])),
            "same_best_token": float(np.mean([np.mean(a.argmax(-1) == b.argmax(-1)) for a, b in pairs])),
        }

    def following(self, tokens):
        """What follows on each prompt, as text."""
        return following(self.tokenizer, [row["prompt"] for row in self.rows], tokens)

    def decode(self, tokens):
        return self.tokenizer.decode([[int(i) for i in row] for row in tokens])

    def speed(self, call, repeats=5):
        """Milliseconds a token: the best of some runs after each timed prompt, the prompt included."""
        best = [clock(functools.partial(call, i), repeats) for i in range(min(self.timed, len(self.rows)))]
        return 1e3 * float(np.mean(best)) / self.sizes["max_length"]


def spread(ids, count, length):
    """So many pieces (length,) of a text, one as far from the other as there is room for.

    Raises:
        ValueError: for a text that is shorter than a piece.
    """
    if len(ids) < length:
        raise ValueError(f"expected held-out text of at least {length} tokens, got {len(ids)}: hold out more")
    begins = np.linspace(0, len(ids) - length, count).astype(int)
    return [np.array(ids[begin : begin + length], "int32") for begin in begins]
