"""The driver of every app: `App`, and what an app's functions give it."""

from keras_seq.app.app import App, Block, Data, Preview, Run, Trained
from keras_seq.app.cli import UserError

__all__ = ["App", "Block", "Data", "Preview", "Run", "Trained", "UserError"]
