"""Subword tokens learned from the user's own corpus: sentencepiece's unigram model."""

import io
import random

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPACE = "\u2581"  # sentencepiece's visible space
MAX_TEXTS = 100_000  # texts to learn from; more make training slower and the pieces no better


class Tokenizer:
    """Texts to lists of ids and back, keeping case and punctuation.

    A wrapper of one sentencepiece model, whose bytes are all there is to save. They work unchanged in
    `tensorflow_text.SentencepieceTokenizer`, so the ids are the same in training and in a SavedModel. What a
    re-implementation elsewhere needs to know is little, for the characters of a text are never changed: runs of spaces
    become one and outer spaces go; one space is put in front; every space is written U+2581; then Viterbi finds the
    pieces of the highest sum of scores, and a character in no piece is UNK, whose score is the lowest of all minus 10.
    Neighbouring unknown characters make one UNK. No piece has BOS, EOS or PAD in it: the batches add them.

    Args:
        model_proto: The bytes of a sentencepiece model.

    Example:
        >>> tokenizer = Tokenizer.train(["Open the file.", "Close the file."] * 10, vocab_size=40)
        >>> tokenizer.decode(tokenizer.encode(["Close the file."]))
        ['Close the file.']
    """

    def __init__(self, model_proto):
        import sentencepiece

        self.model_proto = bytes(model_proto)
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=self.model_proto)
        except RuntimeError as error:
            raise ValueError(f"model_proto: expected the bytes of a sentencepiece model, got {len(self.model_proto):,} "
                             "bytes of something else; train the tokenizer again") from error

    @classmethod
    def train(cls, texts, vocab_size=8000, seed=0):
        """A tokenizer learned from texts; the same texts, size and seed give the same bytes.

        Args:
            texts: Iterable of str: of the training split, and of both languages for a joint vocabulary.
            vocab_size: Pieces at most; a small corpus yields fewer.
            seed: Chooses the texts where there are more than 100,000.

        Raises:
            ValueError: for no text, or a vocabulary smaller than the corpus has characters.
        """
        import sentencepiece

        texts = _sample([text for text in texts if text.strip()], seed)
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts), model_writer=model, vocab_size=vocab_size, model_type="unigram",
                pad_id=PAD, bos_id=BOS, eos_id=EOS, unk_id=UNK,
                normalization_rule_name="identity",  # nothing is lost
                character_coverage=1.0 - 1e-5,  # all but characters seen once in 100,000
                split_digits=True,  # a number is learned digit by digit
                seed_sentencepiece_size=max(5 * vocab_size, 1000),  # candidates: as good as a million, and quicker
                hard_vocab_limit=False, num_threads=2, minloglevel=2)
        except RuntimeError as error:
            raise ValueError(f"no tokenizer of {vocab_size} pieces can be learned from {len(texts):,} texts: "
                             f"{str(error).splitlines()[-1].strip()}; give more text or another vocab_size") from error
        return cls(model.getvalue())

    @classmethod
    def characters(cls, texts):
        """A tokenizer whose pieces are the characters of texts; it keeps every space and every line break.

        Example:
            >>> tokenizer = Tokenizer.characters(["to be"])
            >>> tokenizer.encode(["bet  o!"]), tokenizer.vocab_size
            ([[5, 6, 8, 4, 4, 7, 3]], 9)
        """
        return cls.of_pieces(sorted(set().union(*texts)))

    @classmethod
    def of_words(cls, words):
        """A tokenizer of whole words; any other word is unknown.

        Example:
            >>> tokenizer = Tokenizer.of_words(["blue", "bin"])
            >>> tokenizer.encode(["bin blue", "bin red"]), tokenizer.decode([[5, 4]])
            ([[5, 4], [5, 3]], ['bin blue'])
        """
        return cls.of_pieces([f" {word}" for word in words], keep_spaces=False, prefix=True)

    @classmethod
    def of_pieces(cls, pieces, keep_spaces=True, prefix=False):
        """A tokenizer of given pieces: the fewest of them that make up a text.

        Args:
            pieces: List of distinct, non-empty texts; the first has the id 4.
            keep_spaces: Whether spaces count as they stand; else a text begins with none, nor does one that is decoded.
            prefix: Whether a text is read as if a space stood before it, as it does before each word.

        Example:
            >>> tokenizer = Tokenizer.of_pieces(["a", "t", " AE", " T"], keep_spaces=False)
            >>> tokenizer.encode(["at"]), tokenizer.decode([[6, 7]])
            ([[4, 5]], ['AE T'])
        """
        from sentencepiece import sentencepiece_model_pb2

        model = sentencepiece_model_pb2.ModelProto()
        types = model.SentencePiece
        special = {"<pad>": types.CONTROL, "<s>": types.CONTROL, "</s>": types.CONTROL, "<unk>": types.UNKNOWN}
        for name, kind in special.items():
            model.pieces.add(piece=name, score=0.0, type=kind)
        for piece in pieces:
            model.pieces.add(piece=piece.replace(" ", SPACE), score=-1.0)
        trainer, spec = model.trainer_spec, model.normalizer_spec
        trainer.model_type, trainer.vocab_size = trainer.UNIGRAM, len(model.pieces)
        trainer.pad_id, trainer.bos_id, trainer.eos_id, trainer.unk_id = PAD, BOS, EOS, UNK
        spec.name, spec.add_dummy_prefix, spec.remove_extra_whitespaces = "identity", prefix, not keep_spaces
        spec.escape_whitespaces = True
        return cls(model.SerializeToString())

    @property
    def vocab_size(self):
        """Number of ids."""
        return self._model.get_piece_size()

    def pieces(self, text):
        """The pieces of one text as they are spelled, for a person to look at."""
        return self._model.encode(text, out_type=str)

    def piece(self, i):
        """How the piece of an id is spelled."""
        return self._model.id_to_piece(i)

    def encode(self, texts, sample=0.0, seed=0):
        """Lists of ids, without BOS and EOS.

        Args:
            texts: List of str.
            sample: 0 for the best pieces; else subword regularisation (Kudo, 2018): pieces are drawn with this
                sharpness, 0.1 wild to 0.5 tame, differently for each seed.
            seed: Of what is drawn.
        """
        if not sample:
            return self._model.encode(list(texts))
        import sentencepiece

        sentencepiece.set_random_generator_seed(seed)
        return [self._model.encode(text, enable_sampling=True, alpha=sample, nbest_size=-1) for text in texts]

    def decode(self, ids):
        """Lists of ids (no PAD, BOS or EOS needed; they are left out) back to texts."""
        return self._model.decode([[int(i) for i in row] for row in ids]) if len(ids) else []


def _sample(texts, seed):
    return texts if len(texts) <= MAX_TEXTS else random.Random(seed).sample(texts, MAX_TEXTS)
