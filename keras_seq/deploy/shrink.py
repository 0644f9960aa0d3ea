"""A .tflite in which what is equal is stored once, and what no runtime reads is not stored.

The converter shares the weights among all signatures, but gives each tensor that refers to them scales and zero points
of its own: with a scale a row those of a table of 8,000 rows are 96 kB, ten times over in a model with six signatures.
Each of the thousands of tensors between the ops has a name, an empty buffer and an empty quantisation too.
"""


def shrink(content):
    """The same model in fewer bytes: equal quantisation parameters are one table, which all tensors point to."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    take_in(model, content)
    drop_unread(model)
    seen = {}
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        if tensor.quantization is not None:
            key = content_of(tensor.quantization)
            tensor.quantization = seen.setdefault(key, Once(tensor.quantization)) if any(key) else None
    drop_names(model)
    drop_empty_buffers(model)
    builder = aligned_builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def take_in(model, content):
    """Puts values that lie behind the flatbuffer, as a quantiser writes those of a large model, into it."""
    import numpy as np

    for buffer in model.buffers:
        if buffer.size:
            buffer.data = np.frombuffer(content, "uint8", buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0


def drop_names(model):
    """Leaves the names of what a graph reads and writes."""
    for graph in model.subgraphs:
        kept = {*graph.inputs, *graph.outputs}
        for i, tensor in enumerate(graph.tensors):
            tensor.name = tensor.name if i in kept else None


def drop_unread(model):
    """Takes the values from tensors that nothing reads: a quantiser passes them over, and their type is then wrong."""
    for graph in model.subgraphs:
        read = {*graph.inputs, *graph.outputs, *(i for op in graph.operators for i in (*op.inputs, *op.outputs))}
        details = [tensor.quantization.details for tensor in graph.tensors if tensor.quantization is not None]
        read |= {getattr(each, "scales", None) for each in details}  # of blocks: the number of a tensor
        for index, tensor in enumerate(graph.tensors):
            tensor.buffer = tensor.buffer if index in read else 0


def drop_empty_buffers(model):
    """Points each tensor without data to the first buffer, which is the empty one."""
    full = [i for i, buffer in enumerate(model.buffers) if i and buffer.data is not None and len(buffer.data)]
    place = {old: new for new, old in enumerate(full, 1)}
    model.buffers = [model.buffers[i] for i in [0, *full]]
    for part in [*(tensor for graph in model.subgraphs for tensor in graph.tensors), *(model.metadata or [])]:
        part.buffer = place.get(part.buffer, 0)


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
