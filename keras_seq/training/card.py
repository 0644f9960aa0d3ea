"""The model card: the short README.md that is handed on with a trained model."""

CARD = """# {name}: a trained model

{summary}

Trained on {date} with `{command} train{flags}{output}`, seed {seed}:
{epochs}, {steps}, {minutes} minutes ({cpu} CPU minutes); the weights are those of epoch {kept_epoch}.
{weights} weights.

## Data

{data}

## Results

On {test} held-out test examples{note}:

```
{results}
```

{pictures}

## Use

```sh
{command} predict --help
{command} evaluate{output}
{command} export{output}
```

```python
from {module} import APP

trained = APP.load("{folder}")  # .config, .model (a keras.Model in float32) and .assets
print(trained.predict(["..."]))  # as the command `predict`; its flags are keywords
```

## Settings

```
{config}
```

## Files

{files}

Made with {versions}.
{about}"""

FILES = {
    "config.json": "the settings, and the list of the assets",
    "model.weights.h5": "the weights: `keras.Model.load_weights` reads them",
    "metrics.json": "the test metrics, the history and the numbers of the training",
    "test.json": "the test examples",
    "learning_curves.png": "training and validation by epoch",
    "checkpoint.npz": "what `train --resume` continues from: the largest file, and not needed to use the model",
    "logs/": "for TensorBoard: `tensorboard --logdir {folder}/logs`",
}


def model_card(facts: dict, assets: list[str], pictures: list[str]) -> str:
    """Returns the card as Markdown.

    Args:
        facts: a value for each name in CARD but `pictures` and `files`.
        assets: names of the files that belong to the model beside those of FILES.
        pictures: names of the PNG files.
    """
    known = {name: text.format(**facts) for name, text in FILES.items()}
    known |= dict.fromkeys(assets, "made from the training data; belongs to the model")
    files = "\n".join(f"- `{name}`: {text}" for name, text in known.items())
    shown = "\n\n".join(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in pictures)
    about = f"\n{facts['about'].strip()}\n" if facts["about"].strip() else ""
    return CARD.format(**{**facts, "about": about}, files=files, pictures=shown)
