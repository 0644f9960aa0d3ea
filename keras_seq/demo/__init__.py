"""A page that runs an exported .tflite in the browser: no Python, no server but the one that hands out the files.

    runtime_folder() -> path              LiteRT.js, fetched once
    server(folder, about, runtime)        hands out the page, the model and the runtime on 127.0.0.1
    few(rows), rounded(numbers)           some rows for samples, and numbers for them
    png(picture), strip(frames)           samples as pictures that a page can show
    wav(sound, rate)                      a sample as a sound that it can play

What is read and what is shown follows from the signatures in the file and its card: text where there is `utf8`, a
picture where there is `image`, a clip where there are `frames`, a sound where there is `sound`; text where `utf8` comes
out, else a bar for each label. Where a prompt is read the text goes on, piece by piece, as warm as a slider says.
An app may say more, as plain data, all of it optional:

    {"title": "English to French", "summary": "What a visitor should know.",
     "reads": {"kind": "text" | "picture" | "clip" | "sound" | "numbers", "label": "English", "hint": "Type a sentence",
               "rate": 25.0, "crop": [left, top, width, height]},            rate of clips and sounds, crop of clips
     "shows": {"kind": "text" | "labels" | "spans" | "tags", "label": "French", "labels": [...], "quiet": [...]},
     "samples": [{"text": "...", "said": "...", "wanted": "..."},            what the model answers, and what is right
                 {"picture": png(...), "said": "...", "wanted": "..."},
                 {"sound": wav(...), "said": "...", "wanted": "..."},
                 {**strip(frames), "said": [[start, end, label], ...], "wanted": [...]},
                 {"text": "...", "past": [...], "time": [...], "came": [...]},   a forecaster's inputs, and what came
                 {"text": "...", "rows": [...], "windows": [[first, last]]}]}    a detector's, from the first read on

`spans` are labels of frames over time, in seconds; `tags` are labels of the pieces of a text. Of labels, `said` is
[label, probability].
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loopback": ["server"], "runtime": ["runtime_folder"], "samples": ["few", "png", "rounded", "strip", "wav"],
    },  # fmt: skip
)
