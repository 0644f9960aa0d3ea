"""The formats of a .tflite, and how far a file may be from the model that it was made of. Standard library only."""

import dataclasses
import importlib.util

FORMATS = ("f32", "int8")
ALL_FORMATS = ("f32", "f16", "int8", "int4")
DYNAMIC = "_dynamic"  # ends the name of a file that takes any batch and length


@dataclasses.dataclass(frozen=True)
class Limits:
    """How far a file may be from the model.

    Args:
        tolerance: points of the metric that f16 and int8 may lose on the whole test split.
        tolerance_int4: points that int4 may lose.
        agreement: share of the items on which the SavedModel and f32 have to give the model's output.
        kl: mean divergence of the output of f32, f16 and int8 from the model's, in nats, where it is a distribution.
        kl_int4: the same for int4.
        difference: of the numbers that an output or a signature beside the main one gives in the SavedModel and f32,
            such as a stream's `step`; relative to the largest of them where that is above 1. Of whole numbers beside
            the main output the share that is not the model's.
        samples: share of the items on which the SavedModel and f32 have to draw the model's sample: a number between
            two tokens may fall to the other one in the last digit, and the text goes on from there.
    """

    tolerance: float = 0.3
    tolerance_int4: float = 1.5
    agreement: float = 1.0
    kl: float = 0.02
    kl_int4: float = 0.2
    difference: float = 1e-3
    samples: float = 0.9

    @classmethod
    def of(cls, tolerance):
        """`Limits` as they are, or those with this tolerance."""
        return tolerance if isinstance(tolerance, cls) else cls(tolerance)

    def loss(self, name):
        """Points of the metric that a file may lose."""
        return self.tolerance_int4 if form(name) == "int4" else self.tolerance

    def divergence(self, name):
        """The mean KL that a file may have."""
        return self.kl_int4 if form(name) == "int4" else self.kl


def form(name):
    """The format of a file: int8 of int8_dynamic."""
    return name.removesuffix(DYNAMIC)


def check_formats(formats):
    """Raises ValueError for a format that is not known, or that needs what is not installed."""
    unknown = [name for name in formats if name not in ALL_FORMATS]
    if unknown or not formats:
        raise ValueError(f"Expected formats of {', '.join(ALL_FORMATS)}; got {', '.join(unknown) or 'none'}.")
    if "int4" in formats and not importlib.util.find_spec("ai_edge_quantizer"):
        raise ValueError(
            "Expected ai-edge-quantizer to be installed for the format int4; got none. "
            "Run `pip install ai-edge-quantizer`, or leave int4 out."
        )
