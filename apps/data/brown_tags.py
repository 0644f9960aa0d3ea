"""The tags of the Brown corpus as fewer ones: 86 coarse tags, and the 12 universal ones."""

import functools
import re

RARE = {"ap$": "ap", "rb$": "rb", "dt$": "dt", "cd$": "cd", "jj$": "jj", "rn": "rb"}  # fewer than ten words each
UNIVERSAL = {
    "VERB": "be bed bedz beg bem ben ber bez do dod doz hv hvd hvg hvn hvz md vb vbd vbg vbn vbz",
    "NOUN": "nn nn$ nns nns$ np np$ nps nps$ nr nr$ nrs pn pn$",
    "PRON": "pp$$ ppl ppls ppo pps ppss wpo wps",
    "ADJ": "ap jj jjr jjs jjt od",
    "ADV": "* ql qlp rb rbr rbt wql wrb",
    "ADP": "cs in",
    "CONJ": "cc",
    "DET": "abl abn abx at dt dti dts dtx ex pp$ wdt wp$",
    "NUM": "cd",
    "PRT": "rp to uh",
    ".": "' '' ( ) , -- . : ``",
    "X": "nil",
}
OF_COARSE = {tag: name for name, tags in UNIVERSAL.items() for tag in tags.split()}


@functools.cache
def coarse(tag):
    """A published tag as one of 86: what it says of a word, without where the word stands.

    Example:
        >>> [coarse(tag) for tag in ("np-tl", "fw-at+nn-hl", "bedz*", "*", "pp$", "jj$")]
        ['np', 'at', 'bedz', '*', 'pp$', 'jj']
    """
    first = re.sub(r"-(tl|hl|nc)\b", "", tag.removeprefix("fw-")).partition("+")[0]
    first = first.removesuffix("*") or "*"
    return RARE.get(first, first)


@functools.cache
def universal(tag):
    """A published tag as one of the 12 that all languages share; foreign words are X.

    Reference: Petrov, Das and McDonald 2012.

    Example:
        >>> [universal(tag) for tag in ("np-tl", "fw-nn", "ppss+bem", "to", "``")]
        ['NOUN', 'X', 'PRON', 'PRT', '.']
    """
    return "X" if tag.startswith("fw-") else OF_COARSE[coarse(tag)]
