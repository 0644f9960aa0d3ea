"""From files to batches: sentence pairs, subword tokens, rows of like length. Nothing here knows a model."""

from keras_seq.data.batches import Bucketed
from keras_seq.data.casing import any_case, case_forms, shared_rows, word_parts
from keras_seq.data.clips import Changes, ClipBatches
from keras_seq.data.cooccurrence import cooccurrence_vectors
from keras_seq.data.documents import hold_out, read_documents
from keras_seq.data.images import grey, read_captions, read_picture, read_pictures, shown, split_captions
from keras_seq.data.labelled import Labelled, TaggedWords, by_length
from keras_seq.data.masked import MASK, Masked, with_mask
from keras_seq.data.nab import read_nab
from keras_seq.data.pairs import Pairs, Split, fold, read_pairs, references, split_pairs
from keras_seq.data.picture_batches import Jitter, LabelledPictures, PictureBatches
from keras_seq.data.picture_folders import Seen, other_files, read_idx, read_labelled_pictures, split_labelled
from keras_seq.data.series import (
    Series,
    filled,
    holiday_flags,
    moments,
    read_series,
    regular,
    repeated,
    seasons,
    stamp,
)
from keras_seq.data.series_windows import SeriesWindows
from keras_seq.data.sound import (
    SoundBatches,
    Spoken,
    cut_at_quiet,
    read_sound,
    read_spoken,
    samples,
    split_spoken,
    spoken_text,
)
from keras_seq.data.spans import Span, aligned_scores, frame_labels, runs, segment_f1
from keras_seq.data.streams import Stream
from keras_seq.data.tables import Rows, read_columns, read_rows, split_rows
from keras_seq.data.tagged import Tagged, read_parts, read_tagged
from keras_seq.data.texts import read_texts, some, split_texts
from keras_seq.data.tokenizer import Tokenizer
from keras_seq.data.video import Clip, read_all, read_clips, read_frames, resize
from keras_seq.data.words import cutting, in_words, spaced, split_words, windows, written

__all__ = [
    "aligned_scores", "resize",
    "Bucketed", "Changes", "Clip", "ClipBatches", "Pairs", "Span", "Split", "Tokenizer", "fold", "frame_labels",
    "read_all", "read_clips", "read_frames", "read_pairs", "references", "runs", "segment_f1", "split_pairs",
    "Jitter", "LabelledPictures", "PictureBatches", "Seen", "grey", "read_captions", "read_idx",
    "other_files", "read_labelled_pictures", "split_labelled",
    "read_picture", "read_pictures", "shown", "split_captions",
    "cooccurrence_vectors",
    "Labelled", "Rows", "any_case", "by_length", "case_forms", "read_rows", "shared_rows", "split_rows", "word_parts",
    "MASK", "Masked", "with_mask",
    "Tagged", "TaggedWords", "cutting", "in_words", "read_parts", "read_tagged", "spaced", "split_words", "windows",
    "read_texts", "some", "split_texts", "written",
    "SoundBatches", "Spoken", "cut_at_quiet", "read_sound", "read_spoken", "samples", "split_spoken", "spoken_text",
    "Stream", "hold_out", "read_documents",
    "Series", "SeriesWindows", "filled", "holiday_flags", "moments", "read_columns", "read_nab",
    "read_series", "regular", "repeated", "seasons", "stamp",
]  # fmt: skip
