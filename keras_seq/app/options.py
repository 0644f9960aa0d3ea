"""The flags of `export` that are the same for all apps."""

import dataclasses

from keras_seq.app.cli import at_least
from keras_seq.deploy.limits import Limits, check_formats


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """What an app's own options of `export` begin with; a field of the same name there sets another default.

    Example:

        @dataclasses.dataclass(frozen=True)
        class Export(ExportOptions):
            beams: int = 4  # of the signature generate_beam

        report = deploy.export_checked(..., beams=options.beams, **options.settings())
    """

    formats: str = "f32,int8"  # of the .tflite files: f32, int8, f16, and int4, which wants ai-edge-quantizer
    dynamic: bool = False  # also write files for any batch and length: not for browsers and Kotlin, which cannot resize
    bundle: str = ""  # folder for all that a mobile developer needs: the files, what they are, and code that runs them
    tolerance: float = 0.3  # points of the metric that f16 and int8 may lose on the whole test split
    tolerance_int4: float = 1.5  # points that int4 may lose
    agreement: float = 100.0  # percent of the items on which SavedModel and f32 must give the model's own output
    kl: float = 0.02  # mean divergence of f32, f16 and int8 from the model's distributions, in nats
    kl_int4: float = 0.2  # the same for int4

    def __post_init__(self):
        check_formats(self.names())
        if not 0 <= self.agreement <= 100:
            raise ValueError(f"expected --agreement from 0 to 100, got {self.agreement}")
        at_least(0, self, "tolerance", "tolerance_int4", "kl", "kl_int4")

    def names(self):
        """The formats, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.formats.split(",") if name.strip()))

    def settings(self):
        """The arguments of `deploy.export_checked` and `deploy.export_predictor` that these flags stand for."""
        limits = Limits(self.tolerance, self.tolerance_int4, self.agreement / 100, self.kl, self.kl_int4)
        return {"formats": self.names(), "dynamic": self.dynamic, "tolerance": limits}
