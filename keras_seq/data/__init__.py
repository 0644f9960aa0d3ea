"""From files to batches: sentence pairs, subword tokens, rows of like length. Nothing here knows a model."""

from keras_seq.data.batches import Bucketed
from keras_seq.data.pairs import Pairs, Split, fold, read_pairs, references, split_pairs
from keras_seq.data.tokenizer import Tokenizer

__all__ = ["Bucketed", "Pairs", "Split", "Tokenizer", "fold", "read_pairs", "references", "split_pairs"]
