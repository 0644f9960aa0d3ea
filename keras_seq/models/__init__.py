"""Models made of the layers; all generative ones have `start`, `step` and `call`."""

from keras_seq.models.base import Model
from keras_seq.models.captioner import Captioner, RecurrentCaptioner, TransformerCaptioner
from keras_seq.models.classifier import BagClassifier, Classifier, Committee, RecurrentClassifier, TransformerClassifier
from keras_seq.models.detector import Autoencoder, Detector
from keras_seq.models.forecaster import (
    Forecaster,
    RecurrentForecaster,
    Seq2SeqForecaster,
    TransformerForecaster,
)
from keras_seq.models.language import LanguageModel, RecurrentLanguageModel, TransformerLanguageModel
from keras_seq.models.masked_lm import MaskedLM
from keras_seq.models.picture_classifier import PictureClassifier
from keras_seq.models.recognizer import CTCRecognizer, RecurrentRecognizer, TransformerRecognizer
from keras_seq.models.seq2seq import RecurrentSeq2Seq, Seq2Seq, TransformerSeq2Seq
from keras_seq.models.tagger import RecurrentTagger, Tagger, TaggerCommittee, TransformerTagger
from keras_seq.models.word_tagger import WordTagger

__all__ = [
    "Model",
    "Captioner", "RecurrentCaptioner", "TransformerCaptioner",
    "Classifier", "BagClassifier", "Committee", "RecurrentClassifier", "TransformerClassifier",
    "MaskedLM", "PictureClassifier",
    "LanguageModel", "RecurrentLanguageModel", "TransformerLanguageModel",
    "Autoencoder", "Detector",
    "Forecaster", "RecurrentForecaster", "Seq2SeqForecaster", "TransformerForecaster",
    "CTCRecognizer", "RecurrentRecognizer", "TransformerRecognizer",
    "RecurrentSeq2Seq", "Seq2Seq", "TransformerSeq2Seq",
    "RecurrentTagger", "Tagger", "TaggerCommittee", "TransformerTagger", "WordTagger",
]  # fmt: skip
