"""Words of a text: what a person writes as words, and words as the pieces that a model reads."""

import functools
import re

from keras_seq.data.tokenizer import SPACE

CLITICS = ("n't", "'s", "'re", "'ve", "'ll", "'m", "'d", "n’t", "’s", "’re", "’ve", "’ll", "’m", "’d")
TOKEN = re.compile(
    r"""(?:https?://|www\.)\S*[\w/]      # addresses
    |[\w.+-]+@[\w-]+\.[\w.-]*\w          # of mail
    |[@\#]\w+                            # of people, and topics
    |(?:[^\W\d_]\.){2,}                  # U.S.
    |\w+(?:[.,:]\d+)+                    # 3.14, 10:30
    |\w+(?:[-'’&/]\w+)*                  # words, with a hyphen or an apostrophe inside
    |\.{2,}|-{2,}|``|''                  # marks of several characters
    |\S""",
    re.VERBOSE,
)
UNICODE = {  # what Python's \w and the like are, for other regular expressions; the longer ones first
    r"[^\W\d_]": r"[\p{L}\p{Nl}\p{No}]", r"[\w": r"[\p{L}\p{N}_", r"\w": r"[\p{L}\p{N}_]", r"\d": r"\p{Nd}",
    r"\S": r"[^\p{Z}]",
}  # fmt: skip


def split_words(text, known=(), clitics=()):
    """A text as words and marks, cut as the words that a model has learned are.

    A part between spaces that is known stays whole, as in text that is cut already; a full stop stays with a known
    abbreviation. Where quotes are learned as `` and '', plain ones become those in turns.

    Args:
        text: What a person writes.
        known: A collection of known words.
        clitics: Endings that are words of their own: `n't` in English Web Treebank, none in Brown.

    Returns:
        list of words.

    Example:
        >>> split_words("Mr. Day's cat didn't sit, 3.5 times.", {"Mr."}, ["n't", "'s"])
        ['Mr.', 'Day', "'s", 'cat', 'did', "n't", 'sit', ',', '3.5', 'times', '.']
    """
    words = [word for chunk in text.split() for word in cut(chunk, known, clitics)]
    if '"' in known or "``" not in known:
        return words
    marks = iter(["``", "''"] * len(words))
    return [next(marks) if word == '"' else word for word in words]


def cutting(known, clitics):
    """How `split_words` cuts with these, as plain data for programs that have only the exported file.

    Returns:
        {"pattern", a regular expression of words and marks for Python, "unicode_pattern", the same for JavaScript, Java
        and ICU, whose \\w and \\d are others, "whole", the known words that it would cut, "clitics", "quotes": whether
        plain quotes become `` and '' in turns}. With `whole` in place of all known words `split_words` cuts the same.

    Example:
        >>> cutting({"Mr.", "cat"}, ["n't"])["whole"]
        ['Mr.']
    """
    pattern = "".join(re.sub(r"\s+(#.*)?$", "", line).strip() for line in TOKEN.pattern.splitlines())
    whole = sorted(word for word in known if cut(word, (), clitics) != [word] or word[1:].endswith("."))
    quotes = "``" in known and '"' not in known
    pattern = pattern.replace(r"\#", "#")
    written = functools.reduce(lambda text, part: text.replace(*part), UNICODE.items(), pattern)
    return {"pattern": pattern, "unicode_pattern": written, "whole": whole, "clitics": list(clitics), "quotes": quotes}


def cut(chunk, known, clitics):
    """What stands between two spaces, as words."""
    if chunk in known:
        return [chunk]
    words = []
    for token in TOKEN.findall(chunk):
        if token == "." and words and words[-1] + "." in known:
            words[-1] += "."
        else:
            words += parted(token, known, clitics)
    return words


def parted(token, known, clitics):
    """A word without its clitic, and the clitic."""
    if token in known:
        return [token]
    end = next((end for end in clitics if token.lower().endswith(end) and len(token) > len(end)), "")
    return [token[: -len(end)], token[-len(end) :]] if end else [token]


def spaced(words):
    """Words as the text that a tokenizer cuts into pieces: a space between them, and none inside.

    Example:
        >>> spaced(["10 000", "cats"])
        '10000 cats'
    """
    return " ".join("".join(word.replace(SPACE, "_").split()) or "_" for word in words)


def written(words):
    """Words as a person writes them: without the spaces before marks and inside quotes and brackets.

    Example:
        >>> written(["``", "No", "''", ",", "he", "said", "(", "twice", ")", "."])
        '"No", he said (twice).'
    """
    text, opened, tight = "", False, True
    for word in words:
        quote = word in ("``", "''", '"')
        closes = word in CLOSING or (quote and (word == "''" or (word == '"' and opened)))
        text += ("" if tight or closes else " ") + ('"' if quote else word)
        opened = not closes if quote else opened
        tight = word in OPENING or (quote and not closes)
    return text


OPENING, CLOSING = ("(", "[", "{", "$"), (".", ",", ";", ":", "?", "!", ")", "]", "}", "%", *CLITICS)


def in_words(ids, parts):
    """The pieces of each word: a list of lists of ids.

    Args:
        ids: Pieces of a text.
        parts: For each id what it is in a word, see `word_parts`.

    Example:
        >>> in_words([1, 2, 1], [0, 1, 2])
        [[1, 2], [1]]
    """
    words = []
    for i in ids:
        if parts[i] == 1:
            words.append([])
        if parts[i]:
            words[-1].append(i)
    return words


def windows(ids, parts, room):
    """A long text in rows of at most `room` pieces, cut between words; of a word that is longer the end is left out.

    Example:
        >>> windows([1, 2, 1, 1, 2], [0, 1, 2], room=3)
        [[1, 2, 1], [1, 2]]
    """
    rows = [[]]
    for word in in_words(ids, parts):
        word = word[:room]
        if len(rows[-1]) + len(word) > room:
            rows.append([])
        rows[-1] += word
    return rows
