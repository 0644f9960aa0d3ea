"""The driver of every app: `App`, and what an app's functions give it."""

from keras_seq.app.app import App, Block, Data, Preview, Run, Trained
from keras_seq.app.cli import UserError
from keras_seq.app.options import ExportOptions
from keras_seq.app.results import result_path

__all__ = ["App", "Block", "Data", "ExportOptions", "Preview", "Run", "Trained", "UserError", "result_path"]
