"""A .tflite with weights in int4: each 32 of them share a scale, activations are quantised to int8 as they come.

What has no such kernel - a convolution, a matrix whose rows are no multiple of 32 - has its weights in int8.
"""

import re

BLOCK = 32


def in_blocks(content):
    """The float model `content` with its weights in int4."""
    from ai_edge_quantizer import quantizer, recipe

    eight, four = recipe.dynamic_wi8_afp32(), recipe.dynamic_wi4b32_afp32()
    rules = [*eight, *scoped(four, ".+")]  # the last rule that fits an op holds
    for name in indivisible(content):
        rules += scoped(eight, re.escape(name))
    engine = quantizer.Quantizer(content, rules)
    return bytes(engine.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)


def scoped(rules, regex):
    """The same rules for ops that write tensors of such names."""
    return [{**rule, "regex": regex} for rule in rules]


def indivisible(content):
    """Names of what is written by ops that read a matrix of floats whose rows are no multiple of 32."""
    from ai_edge_litert import schema_py_generated as schema

    model, names = schema.Model.GetRootAsModel(content, 0), {}
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        for op in (graph.Operators(i) for i in range(graph.OperatorsLength())):
            tensors = [graph.Tensors(i) for i in op.InputsAsNumpy() if i >= 0] if op.InputsLength() else []
            if any(tensor.ShapeLength() > 1 and tensor.Shape(tensor.ShapeLength() - 1) % BLOCK for tensor in tensors
                   if model.Buffers(tensor.Buffer()).DataLength() and tensor.Type() == schema.TensorType.FLOAT32):
                names |= {graph.Tensors(i).Name().decode(): None for i in op.OutputsAsNumpy()}
    return list(names)
