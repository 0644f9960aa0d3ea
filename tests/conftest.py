"""Which backend the tests run on, and the settings of the tools they use."""

import importlib.metadata
import os

import pytest
from hypothesis import settings

from benchmarks._race import torch_first

BACKENDS = ("tensorflow", "jax", "torch")

settings.register_profile("keras_seq", max_examples=20, deadline=None, derandomize=True, database=None)
settings.register_profile("few", settings.get_profile("keras_seq"), max_examples=5)


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        choices=BACKENDS,
        default=os.environ.get("KERAS_BACKEND", "tensorflow"),
        help="the Keras backend; on jax and torch only the backend-free laws run (tests/test_laws_*.py)",
    )


def quick_compilation():
    """Flags of XLA: jax compiles each op for each shape, here for a single use, so that optimising does not pay."""
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    if importlib.metadata.version("jaxlib").startswith("0.10."):  # XLA stops at a flag that it does not know
        flags += " --xla_cpu_use_fusion_emitters=false"  # a third less time
    return flags


def pytest_configure(config):
    backend = config.getoption("backend")
    os.environ["KERAS_BACKEND"] = backend  # before anything imports keras; children inherit it
    if backend == "jax":
        os.environ.setdefault("XLA_FLAGS", quick_compilation())
    settings.load_profile("few" if backend == "jax" else "keras_seq")  # jax compiles every op for every shape
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MPLBACKEND", "Agg")
    torch_first()


def pytest_ignore_collect(collection_path, config):
    """Off tensorflow only the laws are collected: the other files import tensorflow or need a SavedModel."""
    if config.getoption("backend") == "tensorflow" or collection_path.is_dir():
        return None
    name = collection_path.name
    return True if name.startswith("test_") and not name.startswith("test_laws") else None


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.path.name != "test_readme.py")  # the longest file first: no worker is left with it
    if config.getoption("backend") == "tensorflow":
        return
    left_out = [item for item in items if item.get_closest_marker("tensorflow")]
    items[:] = [item for item in items if not item.get_closest_marker("tensorflow")]
    config.hook.pytest_deselected(items=left_out)


def pytest_report_header(config):
    return f"keras backend: {config.getoption('backend')}"


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled():
    """On jax, drops what a file has compiled: programs keep pages mapped, and Linux allows a process 65,530 maps."""
    yield
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        jax.clear_caches()


@pytest.fixture(autouse=True)
def _seeded():
    """Every test draws the same numbers whichever tests ran before it."""
    import keras

    keras.utils.set_random_seed(17)
