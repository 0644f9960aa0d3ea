"""The examples in docstrings run, and print what they say: those of layers, models and decoding on every backend."""

import doctest
import importlib
import inspect
import pkgutil
import warnings

import keras
import pytest

import keras_seq
from keras_seq import layers, models

MODULES = ["keras_seq.decoding"] + [
    f"{package.__name__}.{module.name}"
    for package in (layers, models)
    for module in pkgutil.iter_modules(package.__path__)
]
OTHERS = sorted({module.name for module in pkgutil.walk_packages(keras_seq.__path__, "keras_seq.")} - set(MODULES))


def examples(names):
    """Every docstring with an example, by the dotted name of what it is of."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in names for test in finder.find(importlib.import_module(name)) if test.examples]
    return {test.name.removeprefix("keras_seq."): test for test in found}


EXAMPLES = examples(MODULES)


@pytest.mark.tensorflow
@pytest.mark.parametrize("module", [name for name in OTHERS if not name.endswith("__main__")])
def test_the_examples_of_a_module_print_what_they_say(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in examples([module]).values():
        runs(example)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_says(name):
    runs(EXAMPLES[name])


def runs(example):
    """Runs the example of a docstring."""
    printed = []
    keras.backend.clear_session()  # the names of layers count from the first again
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy")  # as in tox.ini
        failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=printed.append)
    assert not failed, "".join(printed)


def test_every_public_layer_and_model_has_an_example():
    public = [getattr(module, name) for module in (layers, models) for name in module.__all__]
    classes = [each for each in public if inspect.isclass(each)]
    bases = [each for each in classes if any(each in other.__mro__[1:] for other in classes)]
    assert not [each.__name__ for each in classes if each not in bases and ">>> " not in (each.__doc__ or "")]
