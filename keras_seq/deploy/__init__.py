"""The way out of the house: SavedModel, LiteRT, and the report that compares them with the trained model.

    export_checked(model, tokenizer_proto, folder, items) -> report     a model that writes: build, compare, place
    export_seq2seq(model, tokenizer_proto, folder) -> paths             the same, not compared
    export_language_model(model, tokenizer_proto, folder, texts)        a model that goes on with a text
    export_predictor(model, signatures, folder, items) -> report        a model that predicts
    hand_over(folder, to)                                               the bundle for a mobile developer

    SavedModelRunner(path)(items), LiteRTRunner(path)(items) -> texts   run a file without the model
    SavedModelPredictor(path)(items), LiteRTPredictor(path)(items) -> [{name: array}, ...]

Names load on first use: running a file needs neither Keras nor, for a .tflite, TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "builtin_ops": ["UnsupportedOps", "check_ops"],
        "export": ["export_checked", "export_seq2seq"],
        "handover": ["hand_over"],
        "language": ["export_language_model"],
        "limits": ["Limits"],
        "parity": ["parity_report"],
        "pictures": ["decode_pictures", "picture_card"],
        "predictor": ["Signature", "export_predictor"],
        "report": ["format_report", "outcome"],
        "runners": ["LiteRTPredictor", "LiteRTRunner", "SavedModelPredictor", "SavedModelRunner"],
        "signatures": ["flatten", "unflatten"],
    },
)
