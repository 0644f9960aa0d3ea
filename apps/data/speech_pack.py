"""Makes the speech pack: the prompts of a telephone exchange, spoken by one voice, and what is said in them.

    python -m apps.data.build speech
"""

import gzip
import hashlib
import io
import pathlib
import re

from apps.data import debian, packages

ABOUT = "540 spoken prompts with their texts, 24 minutes of one voice, CC BY-SA 3.0"
FOLDER = pathlib.Path(__file__).parent / "speech"
VERSION = "1.6.1-1"
SOUNDS, TEXTS = "asterisk-core-sounds-en-wav", "asterisk-core-sounds-en"
NAME = "prompts:"  # begins the name of a prompt where a path of a file is asked for
RATE = 8000  # samples a second of the source
GAP = 800  # samples of silence after each prompt
BITS = 20_000  # a second, of the compressed sound
TEST, VALID = 20, 10  # per cent of the prompts of three words or more
LONGEST = 12  # seconds of a held-out prompt
MARKS = {"*": " star ", "#": " pound ", "&": " and ", "%": " percent "}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def transcripts(text):
    """{name of a prompt: what is said}, in the order of the source, without sounds that are no speech.

    Example:
        >>> transcripts("; notes\\n\\nbeep: [a tone]\\nvm/press: Press 1, or #.")
        {'vm/press': 'press one or pound'}
    """
    found = {}
    for line in text.splitlines():
        name, colon, said = line.partition(":")
        if colon and not line.startswith(";") and not re.search(r"[\[<(]", said) and said.strip():
            found[name.strip()] = as_said(said)
    return {name: said for name, said in found.items() if said}


def as_said(text):
    """Words as they are said; numbers up to ten are spelled out.

    Example:
        >>> as_said("Dial 2 now...  It's the 3D audio, A.M.")
        "dial two now it's the three d audio a m"
    """
    from keras_seq.data import spoken_text

    text = re.sub(r"\d+", lambda digits: f" {spelled(digits.group())} ", "".join(MARKS.get(c, c) for c in text))
    return spoken_text(text)


def spelled(digits):
    """A number up to ten as its word, others digit by digit."""
    return NUMBERS[int(digits)] if int(digits) < len(NUMBERS) else " ".join(NUMBERS[int(digit)] for digit in digits)


def split_of(said, seconds):
    """The split of a prompt, by a hash of its words: the same words stand in one split."""
    if len(said.split()) < 3 or seconds > LONGEST:
        return "train"
    return packages.drawn(said, TEST, VALID)


def add_flags(parser):
    """The flags of `python -m apps.data.build speech`."""
    packages.add_flags(parser, "the two .deb files", "apt-get")


def build(folder=None, out=FOLDER):
    """Writes the sound, the table of the prompts, the facts and the card into `out`."""
    import numpy as np

    found = debian.fetch((SOUNDS, TEXTS), VERSION, folder)
    (_, listing), = debian.files(found[TEXTS], "/core-sounds-en.txt.gz")
    said = transcripts(gzip.decompress(listing).decode("utf-8"))
    waves = {name.split("/sounds/", 1)[1].split("/", 1)[1].removesuffix(".wav"): wave(data)
             for name, data in debian.files(found[SOUNDS], ".wav") if "/sounds/" in name}  # fmt: skip
    rows, parts, begin = [], [], 0
    for name in sorted(said.keys() & waves.keys()):
        sound = waves[name]
        rows.append((split_of(said[name], len(sound) / RATE), name, begin, len(sound), said[name]))
        parts += [sound, np.zeros(GAP, "int16")]
        begin += len(sound) + GAP
    contents = {"speech.tsv.gz": packages.tsv(rows), "speech.ogg": compressed(np.concatenate(parts))}
    facts = facts_of(rows, contents, found)
    packages.write(out, contents, "speech.json", facts, CARD)
    print(f"speech: {facts['prompts']}, {sum(facts['bytes'].values()):,} bytes")


def wave(data):
    """The samples int16 (N,) of a .wav of one channel."""
    import wave as reader

    import numpy as np

    with reader.open(io.BytesIO(data)) as file:
        found = file.getframerate(), file.getnchannels(), file.getsampwidth()
        if found != (RATE, 1, 2):
            raise ValueError(f"expected {RATE} samples a second of one channel and two bytes, got {found}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def compressed(sound):
    """Samples int16 (N,) as Opus in Ogg."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg", options={"serial_offset": "1"}) as file:
        stream = file.add_stream("libopus", rate=16000)
        stream.layout, stream.bit_rate = "mono", BITS
        stream.options = {"application": "voip"}
        resampler = av.AudioResampler("s16", "mono", 16000)
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            for packet in stream.encode(part):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return buffer.getvalue()


def facts_of(rows, contents, found):
    """What `speech.json` says."""
    splits = {name: [row for row in rows if row[0] == name] for name in ("train", "valid", "test")}
    return {
        "sources": {f"{name} {VERSION}": debian.sha256(data) for name, data in found.items()},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "bytes": {name: len(content) for name, content in contents.items()},
        "prompts": {name: len(part) for name, part in splits.items()},
        "minutes": {name: round(sum(row[3] for row in part) / RATE / 60, 1) for name, part in splits.items()},
        "words": {name: sum(len(row[4].split()) for row in part) for name, part in splits.items()},
    }


CARD = f"""# Speech pack

Prompts of a telephone exchange in English, spoken by one woman, and what is said in them: "the conference is now muted".

- Source: Debian packages `{SOUNDS}` and `{TEXTS}` {VERSION}: the core sounds of Asterisk.
- Licence: copyright 2003-2010 Allison Smith, recorded with financial contributions by Digium, Inc.;
  [CC BY-SA 3.0](https://creativecommons.org/licenses/by-sa/3.0/). What is made of them has to be shared alike.
- Made by `python -m apps.data.build speech` (needs `apt-get`, or the two .deb files: `--from DIR`). Another version of the
  Opus encoder may compress to other bytes. `load_speech()` in `apps/data` reads the pack and checks the SHA-256 of each
  file, written in `speech.json`.
- Form: `speech.ogg` has all prompts one after the other, each followed by {GAP / RATE} s of silence. `speech.tsv.gz` has gzipped
  UTF-8 lines, `split TAB name TAB first sample TAB samples TAB text`, counted in samples of {RATE} a second.
- **Changed**: the sounds ({RATE} samples a second) were joined and compressed as Opus at {BITS // 1000} kbit/s; of the texts, case and
  punctuation were left out and numbers written as words. Sounds that are no speech were left out.

## The splits

{TEST} % of the prompts of three words or more and of at most {LONGEST} s are the test and {VALID} % validation, by a hash of their
words; single words (numbers, letters, days) are for training. Many of the words of the test stand in no other prompt:
this pack shows how all works, and is far too small to learn English from.

## Facts

"""
