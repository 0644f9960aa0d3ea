"""A .tflite in which what is equal is stored once, and what no runtime reads is not stored.

The converter shares the weights among all signatures, but gives each tensor that refers to them scales and zero points
of its own: with a scale a row those of a table of 8,000 rows are 96 kB, ten times over in a model with six signatures.
Each of the thousands of tensors between the ops has a name, an empty buffer and an empty quantisation too. And most
tensors and ops are like others: the loop of `generate` is there once more in `text`, and a layer's shapes are the
next one's. A flatbuffer may point to one table from many places.
"""

import numpy as np

SHORT = 256  # bytes of lists that are looked for among those before


def shrink(content):
    """The same model in fewer bytes: equal graphs, ops, tensors and quantisations are one table, which all point to."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    take_in(model, content)
    drop_unread(model)
    drop_names(model)
    drop_empty_buffers(model)
    share(model)
    builder = frugal_builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def take_in(model, content):
    """Puts values that lie behind the flatbuffer, as a quantiser writes those of a large model, into it."""
    for buffer in model.buffers:
        if buffer.size:
            buffer.data = np.frombuffer(content, "uint8", buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0


def drop_names(model):
    """Leaves the names of signatures and of what a graph reads and writes."""
    signatures = {signature.subgraphIndex for signature in model.signatureDefs or []}
    for number, graph in enumerate(model.subgraphs):
        if number not in signatures:
            graph.name = None
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


def share(model):
    """Puts one part in the place of all that are equal, from the smallest to the largest."""
    seen = {}

    def once(part):
        return None if part is None else seen.setdefault(content_of(part), Once(part))

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = once(tensor.quantization) if says_something(tensor.quantization) else None
        for op in graph.operators:
            op.builtinOptions, op.builtinOptions2 = once(op.builtinOptions), once(op.builtinOptions2)
        graph.tensors, graph.operators = list(map(once, graph.tensors)), list(map(once, graph.operators))
    model.subgraphs = list(map(once, model.subgraphs))


def says_something(quantization):
    """Whether it holds anything."""
    parts = () if quantization is None else (quantization.scale, quantization.min, quantization.details)
    return any(part is not None and np.size(part) for part in parts)


class Once:
    """Something that is written at its first use; later ones point there."""

    def __init__(self, part):
        self.part, self.place = part, None

    def Pack(self, builder):
        if self.place is None:
            self.place = self.part.Pack(builder)
        return self.place


def content_of(part):
    """What makes two parts the same: all that they hold."""
    if isinstance(part, np.ndarray):
        return part.dtype.str, part.tobytes()
    if isinstance(part, list):
        return tuple(map(content_of, part))
    if hasattr(part, "__dict__") and not isinstance(part, Once):
        return type(part), *((name, content_of(value)) for name, value in sorted(vars(part).items()))
    return part


def frugal_builder():
    """A flatbuffers builder that writes a short list once.

    It puts weights where a runtime may use them without a copy: at multiples of 16.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):
        def __init__(self, size):
            super().__init__(size)
            self.lists = {}

        def StartVector(self, elemSize, numElems, alignment):
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

        def CreateNumpyVector(self, x):
            if x.nbytes > SHORT:
                return super().CreateNumpyVector(x)
            key = content_of(x)
            if key not in self.lists:
                self.lists[key] = super().CreateNumpyVector(x)
            return self.lists[key]

    return Builder(1 << 20)
