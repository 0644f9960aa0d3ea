"""The driver of every app: `App`, and what an app's functions give it."""

from keras_seq.app.app import App, Block, Data, Preview, Run, Trained
from keras_seq.app.cli import UserError, above_zero, at_least, below_one
from keras_seq.app.options import ExportOptions
from keras_seq.app.results import result_paths

__all__ = [
    "App",
    "Block",
    "Data",
    "ExportOptions",
    "Preview",
    "Run",
    "Trained",
    "UserError",
    "above_zero",
    "at_least",
    "below_one",
    "result_paths",
]
