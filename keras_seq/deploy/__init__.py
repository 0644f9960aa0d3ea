"""The way out of the house: SavedModel, LiteRT, and the report that compares them with the trained model.

    export_checked(model, tokenizer_proto, folder, texts) -> report     build, compare, put in place
    export_seq2seq(model, tokenizer_proto, folder) -> paths             build, put in place
    SavedModelRunner(path)(texts), LiteRTRunner(path)(texts) -> texts   run a file without the model

Names load on first use: running a file needs neither Keras nor, for a .tflite, TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "builtin_ops": ["UnsupportedOps", "check_ops"],
        "export": ["export_checked", "export_seq2seq"],
        "report": ["format_report", "parity_report"],
        "runners": ["LiteRTRunner", "SavedModelRunner"],
    },
)
