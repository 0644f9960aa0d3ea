"""Models made of the layers; all generative ones have `start`, `step` and `call`."""

from keras_seq.models.seq2seq import RecurrentSeq2Seq, Seq2Seq, TransformerSeq2Seq

__all__ = ["Seq2Seq", "RecurrentSeq2Seq", "TransformerSeq2Seq"]
