"""What is inside a .tflite: its ops, where they stand, and a clear error for those that a phone has no kernel for."""

import collections

VARIABLE_OPS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")

ADVICE = {
    "Flex": "it is a TensorFlow op without a builtin counterpart; write it with ops that have one "
    "(for example expand_dims instead of x[:, None], gelu instead of erf, a while loop instead of a TensorArray)",
    "Custom": "only a runtime that was built with this op can load the file; write it with builtin ops",
    "Variable": "a weight was not tracked and the file would hold it uninitialised, or a layer keeps state between "
    "calls; state goes in and comes out of `step`",
    "Empty": "the file holds no value for it, and a phone would compute with whatever lies there; let the layer track "
    "its weights (assign them to attributes in `__init__` or `build`) and build the model before the export",
}

Op = collections.namedtuple("Op", "name place")


class UnsupportedOps(ValueError):
    """A model was converted to something that does not run with builtin ops alone."""


def read_ops(content):
    """All operators of a .tflite file.

    Args:
        content: bytes of the file.

    Returns:
        list of `Op(name, place)`: the builtin op's name, or "CUSTOM:name"; and the tensor it writes, whose name begins
        with that of the layer.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(content, 0)
    builtin = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    names = [_op_name(model.OperatorCodes(i), builtin) for i in range(model.OperatorCodesLength())]
    found = []
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        for j in range(graph.OperatorsLength()):
            op = graph.Operators(j)
            found.append(Op(names[op.OpcodeIndex()], _place(graph, op)))
    return found


def check_ops(content):
    """Returns the number of each op, and raises where one of them is not builtin or a weight has no value.

    Raises:
        UnsupportedOps: for Flex, custom and resource-variable ops and for weights without a value, with their names,
            places and what to do.
    """
    found = read_ops(content)
    offending = [op for op in found if kind(op.name)]
    if offending:
        raise UnsupportedOps(describe(offending))
    if empty := empty_weights(content):
        raise UnsupportedOps(f"Expected a value of every weight in the file; got none of {', '.join(empty[:3])}.\n"
                             f"Empty: {ADVICE['Empty']}.")  # fmt: skip
    return collections.Counter(op.name for op in found)


def empty_weights(content):
    """Names of tensors that ops read although nothing writes them and the file holds nothing for them."""
    from ai_edge_litert import schema_py_generated as schema

    model, names = schema.Model.GetRootAsModel(content, 0), {}
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        ops = [graph.Operators(i) for i in range(graph.OperatorsLength())]
        known = {graph.Inputs(i) for i in range(graph.InputsLength())}
        known |= {op.Outputs(i) for op in ops for i in range(op.OutputsLength())}
        for index in {op.Inputs(i) for op in ops for i in range(op.InputsLength())} - known - {-1}:
            tensor = graph.Tensors(index)
            size = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
            buffer = model.Buffers(tensor.Buffer())
            if 0 not in size and not (buffer.DataLength() or buffer.Size()):  # the second: behind the flatbuffer
                names[(tensor.Name() or b"unnamed").decode()] = None
    return list(names)


def kind(name):
    """"Flex", "Custom" or "Variable" for an op that may not be in the file, otherwise None."""
    if name in VARIABLE_OPS:
        return "Variable"
    if name.startswith("CUSTOM:"):
        return "Flex" if name.startswith("CUSTOM:Flex") else "Custom"
    return None


def describe(offending):
    """One line that names the ops and layers, then a line for each kind that says what to do."""
    places = collections.defaultdict(dict)
    for op in offending:
        places[op.name.removeprefix("CUSTOM:")][op.place] = None
    listed = "; ".join(f"{name} ({', '.join(list(where)[:3])})" for name, where in sorted(places.items()))
    advice = [f"{key}: {ADVICE[key]}." for key in sorted({kind(op.name) for op in offending})]
    return "\n".join([f"Expected builtin ops only in the .tflite file; got {listed}.", *advice])


def _op_name(code, builtin):
    name = builtin[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    return "CUSTOM:" + code.CustomCode().decode() if name == "CUSTOM" else name


def _place(graph, op):
    """The name of the tensor that `op` writes (or reads, where it writes none), without what the converter adds."""
    index = op.Outputs(0) if op.OutputsLength() else op.Inputs(0) if op.InputsLength() else -1
    name = (graph.Tensors(index).Name() or b"").decode() if index >= 0 else ""
    name = name.split(";")[0].removesuffix("/Identity")
    return name or "unnamed"
