"""Packaging of keras_seq. The recipes in apps/ are run from the checkout and are not installed."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

REQUIRES = [
    "tensorflow>=2.20,<2.22",
    "keras>=3.15,<4",  # an older one leaves nested lists of layers out of the weights it saves
    "tensorboard>=2.20",
    "sentencepiece>=0.2.3,<0.3",  # an older one draws other pieces when the same seed is set again
    "sacrebleu>=2.4,<3",
    "matplotlib>=3.8",
    "scipy>=1.11",
    "pillow>=10",  # decodes pictures
    "av>=12",  # decodes video and sound
    "lazy_loader>=0.4",
    "holidays>=0.50",  # of countries, for forecasts
    # writes, opens and runs a .tflite; an older one cannot be loaded beside tensorflow
    "ai-edge-litert>=2.1; platform_system != 'Windows'",
]

EXTRAS = {
    "quantize": ["ai-edge-quantizer>=0.8; platform_system != 'Windows'"],  # int4
    "datasets": ["tensorflow-datasets>=4.9"],
    "jax": ["jax>=0.6"],
    "torch": ["torch>=2.6"],
    "lint": ["ruff>=0.9"],
    "bench": [  # the peers that benchmarks/ compares with
        "scikit-learn>=1.5,<2",
        "keras-hub>=0.23,<1",
        "torch>=2.6",
        "ctranslate2>=4.5",
        "onnxruntime>=1.20",
        "tf2onnx>=1.17",
    ],
    "entities": ["seqeval>=1.2,<2"],  # F1 of names; an older pip needs `pip install --use-pep517`
    "build": ["lxml>=5"],  # apps/data/build.py reads the sources of the packs
    "test": [
        "pytest>=8",
        "pytest-xdist>=3.7",  # a worker for each core
        "hypothesis>=6.100",
        "seqeval>=1.2,<2",
        "selenium>=4.20",  # drives the demo's page in Chromium
        "keras-hub>=0.23,<1",  # once keras-nlp: its layers are what ours are held equal to
        "tensorflow-text>=2.20,<2.22; platform_system != 'Windows'",  # its tokenizer gives the same ids as ours
    ],
}


def version() -> str:
    """Returns `__version__` as written in the package, without importing it."""
    for line in (ROOT / "keras_seq" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise RuntimeError("keras_seq/__init__.py states no __version__.")


setup(
    name="keras-seq",
    version=version(),
    description="Sequence models in Keras: layers to compose, apps to train, files a phone runs",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",  # as tensorflow
    packages=find_packages(include=["keras_seq", "keras_seq.*"]),
    package_data={"keras_seq.deploy": ["hosts/*/*"], "keras_seq.demo": ["page/*"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
