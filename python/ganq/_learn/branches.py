"""If nodes: the branch that a model takes for every size of its inputs, in place of the node."""

import onnx
import torch

from .._tools import GanqError

# Batch and length of the tokens for which conditions are evaluated: all must agree.
_SIZES = [(1, 5), (2, 8)]


def captured(graph):
    """Names from outside that a branch reads, in order."""
    inside = {tensor.name for tensor in graph.initializer}
    found = []
    for node in graph.node:
        found += [name for name in node.input if name and name not in inside]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += [name for name in captured(attribute.g) if name not in inside]
        inside.update(node.output)
    return found + [info.name for info in graph.output if info.name not in inside]


def _rename(graph, prefix):
    """The nodes of a branch and its constants {name: TensorProto}, with names of their own."""
    names = {tensor.name: f"{prefix}/{tensor.name}" for tensor in graph.initializer}
    constants, nodes = {names[tensor.name]: tensor for tensor in graph.initializer}, []
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        _replace(copy, names)
        names.update((name, f"{prefix}/{name}") for name in node.output if name)
        copy.output[:] = [names.get(name, name) for name in node.output]
        nodes.append(copy)
    return nodes, constants, [names.get(info.name, info.name) for info in graph.output]


def _replace(node, names):
    """Renames what a node reads, in its own branches too."""
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            own = {tensor.name for tensor in attribute.g.initializer}
            own.update(name for inner in attribute.g.node for name in inner.output)
            outer = {name: new for name, new in names.items() if name not in own}
            for inner in attribute.g.node:
                _replace(inner, outer)
            for info in attribute.g.output:
                info.name = outer.get(info.name, info.name)


def _evaluate(graph, node):
    """The condition of an If, or None when it depends on more than sizes."""
    from .graph import Constants, run

    found = set()
    for size in _SIZES:
        values = graph.inputs_for(torch.zeros(size, dtype=torch.int64))
        # Sizes need no weights: the values of large tensors are left out.
        values = {name: x.to("meta") if x.is_floating_point() else x for name, x in values.items()}
        constants = Constants(graph, torch.device("meta"))
        needed = graph.needed([node.inputs[0]], set(values))
        with torch.no_grad():
            (condition,) = run(graph, needed, values, constants, [node.inputs[0]])
        found.add(None if condition.device.type == "meta" else bool(condition.item()))
    return found.pop() if len(found) == 1 else None


def take_branches(graph):
    """Replaces each If by the branch that it takes."""
    while node := next((node for node in graph.nodes if node.op == "If"), None):
        condition = _evaluate(graph, node)
        if condition is None:
            raise GanqError(
                f"expected a condition that is the same for all sizes of the inputs, but got another at {node}"
            )
        branch = node.attributes["then_branch" if condition else "else_branch"]
        nodes, constants, outputs = _rename(branch, node.outputs[0])
        for name, tensor in constants.items():
            graph.weights.add(name, tensor)
        graph.nodes.remove(node)
        for inner in nodes:
            graph.add(inner)
        for inner, outer in zip(outputs, node.outputs):
            graph.add(onnx.helper.make_node("Identity", [inner], [outer], node.name))
        graph.sort()
