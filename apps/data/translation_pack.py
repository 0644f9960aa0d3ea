"""Makes the translation pack: the paragraphs of LibreOffice's help, which carry the same id in every language.

    python -m apps.data.build translation --languages fr
"""

import collections
import json
import pathlib
import re
import unicodedata

from apps.data import debian, packages
from apps.data.near_copies import RULE, unlike, without_near

ABOUT = "pairs of paragraphs from the help of LibreOffice, MPL-2.0"
VERSION = "4:7.4.7-1+deb12u14"  # Debian 12; in snapshot.debian.org for good
SOURCE = "en-us"
FOLDER = pathlib.Path(__file__).parent / "translation"
SPLITS = ("train", "valid", "test")
ENGLISH, SIDES = 1, (1, 2)  # where the English text of a row stands, and both texts
HELD = 6  # per cent of the pages for validation, and as many for the test
MAX_WORDS = 60  # of a side; longer paragraphs are whole sections
MIN_WORDS = 3  # of the English side in validation and test
RATIO = 2.5  # characters of one side for one of the other, 10 each for free
BLOCKS = ["p", "h1", "h2", "h3", "h4", "h5", "h6"]
LISTINGS = {"code", "codeintable", "smathcode", "example"}  # programs and formulas are no prose
INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))


# Paragraphs ---------------------------------------------------------------------------------------------------------


def paragraphs(package):
    """{(page, id): text} of a help package's bytes."""
    import lxml.html

    found = {}
    for path, html in debian.files(package, ".html"):
        if "/text/" not in path:
            continue
        page = path.split("/text/", 1)[1].removesuffix(".html")
        root = lxml.html.fromstring(html.decode("utf-8"))
        for node in root.iter(BLOCKS):
            name = node.get("id", "")
            if name.startswith(("par_", "hd_")) and not LISTINGS & set(node.get("class", "").split()):
                found.setdefault((page, name), clean(spoken(node)))
    return found


def spoken(node):
    """The text of an HTML element. Of variants (Mac or not, Writer or Calc) one is read: the default, or the first.

    Example:
        >>> import lxml.html
        >>> spoken(lxml.html.fromstring('<p>Press<br><span class="switchinline"><span class="MAC">Command</span>'
        ...                             '<span>Ctrl</span></span>+F</p>'))
        'Press Ctrl+F'
    """
    children = [child for child in node if isinstance(child.tag, str)]
    if set(node.get("class", "").split()) & {"switch", "switchinline"} and children:
        return spoken(next((child for child in children if not child.get("class")), children[0]))
    inner = "".join((" " if child.tag == "br" else spoken(child)) + (child.tail or "")
                    for child in node if isinstance(child.tag, str))
    return (node.text or "") + inner


def clean(text):
    """One line of composed characters with single plain spaces; case and punctuation stay.

    Example:
        >>> clean("Fichier\\u00a0:\\n   ouvrir\\u200b ")
        'Fichier : ouvrir'
    """
    return " ".join(unicodedata.normalize("NFC", text).translate(INVISIBLE).split())


# Pairs --------------------------------------------------------------------------------------------------------------


def unfit(english, foreign):
    """Why a pair cannot teach translation, or None."""
    if not english or not foreign:
        return "empty"
    if english == foreign:
        return "the same in both languages"
    if not (re.search(r"[^\W\d_]", english) and re.search(r"[^\W\d_]", foreign)):
        return "without letters"
    if max(len(english.split()), len(foreign.split())) > MAX_WORDS:
        return f"longer than {MAX_WORDS} words"
    short, long = sorted((len(english), len(foreign)))
    return f"of very different length (more than {RATIO} to 1)" if long > RATIO * short + 10 else None


def aligned(english, foreign):
    """Distinct rows (page, English, foreign) of paragraphs with the same page and id; and counts of what was left."""
    rows, dropped = {}, collections.Counter()
    for key in sorted(english.keys() & foreign.keys()):
        pair = english[key], foreign[key]
        reason = unfit(*pair)
        if reason:
            dropped[reason] += 1
        else:
            rows.setdefault((key[0], *pair), None)
    return list(rows), dict(sorted(dropped.items()))


def split_of(page):
    """The split of a help page, by a hash of its name: the same in every language."""
    return packages.drawn(page, HELD, HELD)


def split(rows):
    """Rows (split, page, English, foreign) without copies or near copies from one split in another; and the counts."""
    parts = {name: [row for row in rows if split_of(row[0]) == name] for name in SPLITS}
    counts = {"pairs on pages of each split": {name: len(part) for name, part in parts.items()}}
    parts["test"] = unlike(long_enough(parts["test"]), ENGLISH)
    parts["valid"], near = without_near(unlike(long_enough(parts["valid"]), ENGLISH), parts["test"], *SIDES)
    counts["near copies of test removed from validation"] = near
    parts["train"], near = without_near(unique(parts["train"]), parts["test"] + parts["valid"], *SIDES)
    counts["near copies of validation and test removed from training"] = near
    counts["pairs"] = {name: len(part) for name, part in parts.items()}
    return [(name, *row) for name in SPLITS for row in parts[name]], counts


def unique(rows):
    """The first row of each pair of texts."""
    return list({row[1:]: row for row in reversed(rows)}.values())[::-1]


def long_enough(rows):
    """The rows to test on, of three English words or more."""
    return [row for row in rows if len(row[ENGLISH].split()) >= MIN_WORDS]


# The pack -----------------------------------------------------------------------------------------------------------


def add_flags(parser):
    """The flags of `python -m apps.data.build translation`."""
    parser.add_argument("--languages", default="fr", type=lambda names: names.split(","),
                        help="Debian's names with commas between: fr,de,es (default: fr)")
    packages.add_flags(parser, "the .deb files", "apt-get")


def build(languages, folder=None, out=FOLDER):
    """Writes `en-<language>.tsv.gz` with its facts and the card of all languages into `out`.

    Args:
        languages: Debian's names of languages: `["fr", "pt-br"]`.
        folder: Where the .deb files lie; None downloads them with apt-get.
        out: Folder of the pack.
    """
    names = {language: f"libreoffice-help-{language}" for language in [SOURCE, *languages]}
    found = debian.fetch(list(names.values()), VERSION, folder)
    english = paragraphs(found[names[SOURCE]])
    for language in languages:
        rows, dropped = aligned(english, paragraphs(found[names[language]]))
        rows, counts = split(rows)
        data = packages.tsv(rows)
        facts = {"language": language, "version": VERSION,
                 "sources": {name: debian.sha256(found[name]) for name in (names[SOURCE], names[language])},
                 "sha256": debian.sha256(data), "bytes": len(data), "paragraphs dropped": dropped, **counts}
        write(pathlib.Path(out), language, data, facts)
        print(f"en-{language}: {counts['pairs']}, {len(data):,} bytes, sha256 {facts['sha256']}")


def write(out, language, data, facts):
    out.mkdir(parents=True, exist_ok=True)
    (out / f"en-{language}.tsv.gz").write_bytes(data)
    (out / f"en-{language}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    every = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("en-*.json"))]
    (out / "README.md").write_text(card(every), encoding="utf-8")


CARD = f"""# Translation pack

Paragraphs of the help of LibreOffice, English and other languages: technical prose, with menu names and short headings.

- Source: the Debian packages `libreoffice-help-en-us` and `libreoffice-help-<language>`, version {VERSION}.
- Licence: [MPL-2.0](https://www.mozilla.org/MPL/2.0/); copyright 2000, 2010 Oracle and/or its affiliates, and
  LibreOffice contributors and/or their affiliates. Only the form was changed, as said below.
- Made by `python -m apps.data.build translation --languages fr` (`pip install -e ".[build]"`); the same packages give the
  same bytes. `load_translation()` in `apps/data` reads it, and checks the SHA-256 written in `en-<language>.json`.
- Form: gzipped UTF-8 lines, `split TAB page TAB English TAB translation`.

## How it was made

1. A paragraph or heading of a page has the same id in every language; those with equal page and id are a pair. Program
   listings are left out. Of variants by system or application the default is kept (Ctrl, not Command).
2. White space becomes one plain space (the French space before a colon too), characters are composed (NFC). Case and
   punctuation stay.
3. Dropped: empty, equal in both languages, without a letter, longer than {MAX_WORDS} words, or with one side longer
   than {RATIO} times the other plus 10 characters; and pairs that occur twice.

## The splits

A page belongs to one split, by a hash of its name: {HELD} % of the pages for the test, {HELD} % for validation,
whatever the language. A page says much that others say too, so near copies are removed: within the test and within
validation (English side), from validation those of the test, and from training those of either, by the English *or*
the translated side, so that both directions may be tested.

{RULE}

In test and validation only segments of {MIN_WORDS} English words or more are kept: shorter ones are names of menus and
functions, which are looked up rather than translated, and would count as sentences in the score. Training keeps them.
Since what is repeated is kept out of training, the test is harder than a split by paragraph would be.
"""


def card(every):
    """The README.md of the pack, from the facts of its languages."""
    return CARD + "".join(f"\n## English - {facts['language']}\n\n{packages.table(facts)}" for facts in every)
