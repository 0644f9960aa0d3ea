"""The number to beat: TF-IDF with logistic regression on the split of the sentiment app.

    pip install -e ".[bench]"
    python -m benchmarks.sentiment_baseline                              # half a minute
    python -m benchmarks.sentiment_baseline --model saved_models/sentiment

Words and pairs of words, sublinear counts, cases folded; the strength of the regularisation is chosen on the validation
split. Two baselines: one reads the movie snippets alone, the other all texts and words that the app reads too. With
`--model` the metrics of a trained app stand beside them.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

from apps.data import load_sentiment
from apps.sentiment import NEUTRAL, SETS, polar

STRENGTHS = (1.0, 3.0, 10.0)
TOKEN = r"\b\w+'\w+\b|\b\w+\b|[!?]|[^\w\s]{2,}"  # words, marks that shout, emoticons


def baseline(train, valid):
    """A function from texts to labels, fitted on rows; C is the best of some on the validation rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN)
    x, y = tfidf.fit_transform(texts(train)), labels(train)
    fitted = [LogisticRegression(C=strength, max_iter=300).fit(x, y) for strength in STRENGTHS]
    held, right = tfidf.transform(texts(valid)), labels(valid)
    best = max(fitted, key=lambda model: model.score(held, right))
    return lambda some: best.predict(tfidf.transform(some))


def texts(rows):
    return [row["text"] for row in rows]


def labels(rows):
    return np.array([row["label"] for row in rows])


def accuracies(predict, tests):
    """{set: percent right}."""
    return {name: 100 * float(np.mean(predict(texts(rows)) == labels(rows))) for name, rows in tests.items()}


def table(columns):
    """{name: {set: number}} as text, a row a set."""
    names = list(columns)
    lines = ["".join([f"{'':10}", *(f"{name:>26}" for name in names)])]
    for part in next(iter(columns.values())):
        lines.append("".join([f"{part:10}", *(f"{columns[name][part]:26.1f}" for name in names)]))
    return "\n".join(lines)


def trained(folder):
    """The accuracies that a trained app has left."""
    metrics = json.loads((pathlib.Path(folder) / "metrics.json").read_text(encoding="utf-8"))
    return {name: scores["accuracy"] for name, scores in metrics["test"]["by_set"].items()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="DIR", help="folder of a trained app to put beside the baselines")
    args = parser.parse_args(argv)
    pack = load_sentiment()
    tests = {name: polar(pack[part], name) for part, name in SETS.items()}
    valid = [row for row in pack["valid"] if row.domain == "movies"]
    movies = [row for row in pack["train"] if row.domain == "movies"]
    columns = {
        "TF-IDF, movies": accuracies(baseline(polar(movies, ""), polar(valid, "")), tests),
        "TF-IDF, all texts": accuracies(baseline(polar(pack["train"], ""), polar(pack["valid"], "")), tests),
    }
    if args.model:
        columns["apps.sentiment"] = trained(args.model)
    counts = ", ".join(f"{name} {len(rows):,}" for name, rows in tests.items())
    print(f"per cent right of texts whose mean rating is beyond {NEUTRAL} ({counts})\n{table(columns)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
