"""Learning-rate schedules."""

import math

import keras
from keras import ops

from keras_seq.layers.core import register


@register
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Up in a line to `peak` over `warmup` steps, then down half a cosine to `peak * floor` at step `steps`.

    Args:
        peak: highest learning rate.
        warmup: steps until the peak.
        steps: steps in all; the rate stays at its lowest afterwards.
        floor: last rate as a share of the peak.

    Reference: Loshchilov and Hutter 2017.
    """

    def __init__(self, peak, warmup, steps, floor=0.0):
        self.peak, self.warmup, self.steps, self.floor = peak, warmup, steps, floor

    def __call__(self, step):
        step = ops.cast(step, "float32")
        up = (step + 1.0) / max(self.warmup, 1)
        along = ops.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
        down = self.floor + (1 - self.floor) * 0.5 * (1 + ops.cos(math.pi * along))
        return self.peak * ops.minimum(up, down)

    def get_config(self):
        return {"peak": self.peak, "warmup": self.warmup, "steps": self.steps, "floor": self.floor}


@register
class WarmupInverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """peak * min(step / warmup, sqrt(warmup / step)): needs no number of steps in advance.

    Reference: Vaswani et al. 2017.
    """

    def __init__(self, peak, warmup):
        self.peak, self.warmup = peak, warmup

    def __call__(self, step):
        step, warmup = ops.cast(step, "float32") + 1.0, max(self.warmup, 1)
        return self.peak * ops.minimum(step / warmup, ops.sqrt(warmup / step))

    def get_config(self):
        return {"peak": self.peak, "warmup": self.warmup}
