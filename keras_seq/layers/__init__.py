"""Layers for sequence models; they need Keras only and run on every backend."""

from keras_seq.layers import masks, positions
from keras_seq.layers.attention import AdditiveAttention, Attention, DotProductAttention, MultiHeadAttention, attend
from keras_seq.layers.clips import ClipEncoder
from keras_seq.layers.core import Dropout, Linear
from keras_seq.layers.ctc import CTCHead, ctc_loss, ctc_tokens
from keras_seq.layers.embeddings import FrameEmbedding, PatchEmbedding, TokenEmbedding
from keras_seq.layers.images import ImageEncoder, PatchEncoder, attention_rollout
from keras_seq.layers.masks import attention_mask, padding_mask
from keras_seq.layers.positions import (
    ALiBi,
    Learned,
    Learned2D,
    Position,
    Relative,
    RelativeBias,
    Rotary,
    Sinusoidal,
    Sinusoidal2D,
)
from keras_seq.layers.projective import ProjectiveAttention
from keras_seq.layers.recurrent import RecurrentDecoder, RecurrentEncoder
from keras_seq.layers.report import mask_report
from keras_seq.layers.sound import LogMel, SoundEncoder, SpecAugment
from keras_seq.layers.sparse import (
    BlockSparseAttention,
    LocalAttention,
    RandomAttention,
    SparseAttention,
    StridedAttention,
)
from keras_seq.layers.texts import PairEmbedding, TextEncoder, WordPooling
from keras_seq.layers.transformer import Block, FeedForward, TransformerDecoder, TransformerEncoder

__all__ = [
    "masks", "positions", "attend", "attention_mask", "attention_rollout", "padding_mask",
    "Position", "Sinusoidal", "Sinusoidal2D", "Learned", "Learned2D", "Rotary", "Relative", "RelativeBias", "ALiBi",
    "Attention", "AdditiveAttention", "DotProductAttention", "MultiHeadAttention", "Linear", "Dropout",
    "SparseAttention", "LocalAttention", "StridedAttention", "RandomAttention", "BlockSparseAttention",
    "ProjectiveAttention",
    "TokenEmbedding", "PatchEmbedding", "FrameEmbedding", "ClipEncoder", "ImageEncoder", "PatchEncoder",
    "FeedForward", "Block", "TransformerEncoder", "TransformerDecoder",
    "RecurrentEncoder", "RecurrentDecoder", "TextEncoder", "PairEmbedding", "WordPooling",
    "LogMel", "SpecAugment", "SoundEncoder", "CTCHead", "ctc_loss", "ctc_tokens",
    "mask_report",
]  # fmt: skip
