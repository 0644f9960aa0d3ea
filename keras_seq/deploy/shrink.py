"""A .tflite in which what is equal is stored once.

The converter shares the weights among all signatures, but gives each tensor that refers to them scales and zero points
of its own: with a scale a row those of a table of 8,000 rows are 96 kB, ten times over in a model with six signatures.
"""


def shrink(content):
    """The same model in fewer bytes: equal quantisation parameters are one table, which all tensors point to."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    seen = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.quantization is not None:
                tensor.quantization = seen.setdefault(content_of(tensor.quantization), Once(tensor.quantization))
    builder = aligned_builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class Once:
    """Something that is written at its first use; later ones point there."""

    def __init__(self, part):
        self.part, self.place = part, None

    def Pack(self, builder):
        if self.place is None:
            self.place = self.part.Pack(builder)
        return self.place


def content_of(quantization):
    """What makes two quantisations the same."""
    import numpy as np

    parts = quantization.min, quantization.max, quantization.scale, quantization.zeroPoint
    arrays = tuple(None if part is None else np.asarray(part).tobytes() for part in parts)
    details = None if quantization.details is None else id(quantization.details)  # not compared
    return *arrays, quantization.quantizedDimension, details


def aligned_builder():
    """A flatbuffers builder that puts weights where a runtime may use them without a copy: at multiples of 16."""
    import flatbuffers

    class Builder(flatbuffers.Builder):
        def StartVector(self, elemSize, numElems, alignment):
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    return Builder(1 << 20)
