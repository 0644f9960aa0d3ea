"""Recipes: one file an app, to read top to bottom, run, copy and change. `python -m apps` lists them."""
