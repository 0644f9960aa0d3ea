"""From files to batches: sentence pairs, subword tokens, rows of like length. Nothing here knows a model."""

from keras_seq.data.batches import Bucketed
from keras_seq.data.casing import any_case, shared_rows
from keras_seq.data.clips import Changes, ClipBatches
from keras_seq.data.images import read_captions, read_picture, read_pictures, shown, split_captions
from keras_seq.data.labelled import Labelled
from keras_seq.data.pairs import Pairs, Split, fold, read_pairs, references, split_pairs
from keras_seq.data.picture_batches import Jitter, PictureBatches
from keras_seq.data.spans import Span, aligned_scores, frame_labels, runs, segment_f1
from keras_seq.data.tables import Rows, read_rows, split_rows
from keras_seq.data.tokenizer import Tokenizer
from keras_seq.data.video import Clip, read_all, read_clips, read_frames, resize

__all__ = [
    "aligned_scores", "resize",
    "Bucketed", "Changes", "Clip", "ClipBatches", "Pairs", "Span", "Split", "Tokenizer", "fold", "frame_labels",
    "read_all", "read_clips", "read_frames", "read_pairs", "references", "runs", "segment_f1", "split_pairs",
    "Jitter", "PictureBatches", "read_captions", "read_picture", "read_pictures", "shown", "split_captions",
    "Labelled", "Rows", "any_case", "read_rows", "shared_rows", "split_rows",
]  # fmt: skip
