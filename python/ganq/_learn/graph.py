"""An ONNX model as nodes, constants, products with constant weights, and decoder blocks."""

import hashlib
import math
import os
from collections import defaultdict
from dataclasses import dataclass, field

import onnx
import onnx.inliner
import torch
from onnx import numpy_helper

from .._tools import GanqError
from . import operators
from .branches import captured, take_branches
from .names import weight_keys
from .weights import Weights, to_tensor

# What a value depends on, from least to most.
CONSTANT, SHAPE, TOKENS, STREAM = range(4)


@dataclass(eq=False)
class Node:
    op: str  # with its domain, unless that is the default one
    name: str
    inputs: list
    outputs: list
    attributes: dict
    opset: int

    def __str__(self):
        return f"node '{self.name or self.outputs[0]}' ({self.op})"


@dataclass(eq=False)
class Product:
    """x W^T with a constant W [n, k]."""

    node: Node
    key: str
    weight: str  # the constant that holds W
    transposed: bool  # the constant is [k, n]
    n: int
    k: int


@dataclass(eq=False)
class Block:
    """Nodes between two cuts through the residual stream."""

    input: str
    output: str
    products: list  # those to quantize, in the order of the graph
    attentions: list  # values that hold softmaxed attention
    nodes: list = field(default_factory=list)
    down: object = None  # the last product, by which the MLP writes to the stream


def _attribute(attribute):
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return list(value) if attribute.type in (6, 7, 8) else value


class Graph:
    """What calibration needs to know of a model.

    Raises GanqError for a file that is no ONNX model, for operators that are unknown, and for
    models without a stream of activations that starts at an embedding of the tokens.
    """

    def __init__(self, path, given=None):
        """given: {input name: array} of inputs that calibration cannot make up, of one or of all rows."""
        path, self.given = os.fspath(path), dict(given or {})
        self.path = path
        try:
            with open(path, "rb") as file:
                digest = hashlib.sha256()
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            self.sha256 = digest.hexdigest()
            model = onnx.load(path, load_external_data=False)
            if model.functions:
                model = onnx.inliner.inline_local_functions(model)
        except OSError as error:
            raise GanqError(f"cannot read {path}: {error.strerror or error}") from None
        except Exception as error:  # protobuf's and onnx's errors share no base class
            raise GanqError(f"expected an ONNX model, but got {path}: {str(error)[:200]}") from None
        graph = model.graph
        self.weights, self.nodes = Weights(path), []
        for tensor in graph.initializer:
            self.weights.add(tensor.name, tensor)
        self._opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
        for node in graph.node:
            self.add(node)
        self.inputs = [info for info in graph.input if info.name not in self.weights]
        self.sort()
        self._find_roles()
        take_branches(self)
        self._keys = weight_keys(graph, {name: self.weights.bytes(name) for name in self.weights})
        self._find_stream([info.name for info in graph.output])
        self._find_products()

    # Reading

    def add(self, node):
        """Adds a NodeProto, and what a fused one is made of."""
        domain = "" if node.domain in ("", "ai.onnx") else node.domain
        op = f"{domain}.{node.op_type}" if domain else node.op_type
        if op in ("com.microsoft.SimplifiedLayerNormalization", "com.microsoft.LayerNormalization"):
            op = node.op_type
        opset = self._opsets.get(domain or "ai.onnx", 1)
        attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
        inputs, outputs = list(node.input), list(node.output)
        while outputs and not outputs[-1]:
            outputs.pop()
        if op == "Constant" and "value" in attributes:
            self.weights.add(outputs[0], attributes["value"])
            return
        if op == "If":  # reads what its branches read
            inside = [x for branch in node.attribute for x in captured(branch.g)]
            inputs += [name for name in dict.fromkeys(inside) if name not in inputs]
        for name, value in attributes.items():
            if isinstance(value, onnx.TensorProto):
                attributes[name] = to_tensor(numpy_helper.to_array(value))
        made = Node(op, node.name, inputs, outputs, attributes, opset)
        if not operators.is_expanded(op):
            self.nodes.append(made)
            return
        for part, inputs, outputs, attributes in operators.expand(made):
            self.nodes.append(Node(part, node.name, inputs, outputs, attributes, opset))

    def sort(self):
        """Puts nodes behind those whose results they read, and leaves their order else."""
        self.producer = {output: node for node in self.nodes for output in node.outputs if output}
        ordered, done = [], set()
        for node in self.nodes:
            pending = [node]
            while pending:
                last = pending[-1]
                before = [self.producer[x] for x in last.inputs if x in self.producer]
                before = [x for x in before if id(x) not in done]
                if len(pending) > len(self.nodes):
                    raise GanqError(f"expected a graph without cycles, but got one at {last} in {self.path}")
                if before:
                    pending.append(before[0])
                    continue
                pending.pop()
                if id(last) not in done:
                    done.add(id(last))
                    ordered.append(last)
        self.nodes = ordered

    def _find_roles(self):
        """What to feed: see inputs_for."""
        self.roles, self.tokens = {}, None
        for info in self.inputs:
            shape = info.type.tensor_type.shape.dim
            rank, name = len(shape), info.name.lower()
            integer = info.type.tensor_type.elem_type in (6, 7)
            if info.name in self.given:
                role = "given"
            elif "mask" in name and rank == 2:
                role = "mask"
            elif "position" in name and rank == 2 and integer:
                role = "positions"
            elif ("type" in name or "segment" in name) and rank == 2 and integer:
                role = "segments"
            elif rank == 2 and integer and self.tokens is None:
                role, self.tokens = "tokens", info.name
            elif "past" in name and rank >= 3:
                role = "past"
            else:
                raise GanqError(
                    "expected inputs to be tokens [batch, sequence], attention mask, positions, segments or "
                    f"caches, but got '{info.name}' of rank {rank} in {self.path}; "
                    f"give its value with --input {info.name}=FILE.npy"
                )
            self.roles[info.name] = role
        if self.tokens is None:
            raise GanqError(f"expected an integer input [batch, sequence], but {self.path} has none")
        for name in self.given:
            if name not in self.roles:
                raise GanqError(f"expected an input named '{name}', but {self.path} has {list(self.roles)}")

    # Analysis

    def _find_stream(self, outputs):
        kinds = {name: CONSTANT for name in self.weights}
        by_row = {name for name, array in self.given.items() if len(array) > 1}
        kinds.update(
            (name, TOKENS if role == "tokens" or name in by_row else SHAPE)
            for name, role in self.roles.items()
        )
        kinds[""] = CONSTANT
        self.vocabulary, sources = None, []
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in kinds]
            if missing:
                raise GanqError(f"expected a node to make '{missing[0]}', which {node} reads")
            kind = max((kinds[name] for name in node.inputs), default=CONSTANT)
            if node.op in ("Shape", "Size", "ganq.Positions"):
                kind = min(kind, SHAPE)
            rows = self._embedding_rows(node, kinds)
            if rows:
                kind = STREAM
                sources.append(node)
                self.vocabulary = min(self.vocabulary or rows, rows)
            kinds.update((output, kind) for output in node.outputs if output)
        self.kinds = kinds
        streams = [name for name in outputs if kinds.get(name) == STREAM]
        self.logits = next(
            (name for name in streams if "logit" in name.lower()), streams[0] if streams else None
        )
        if not sources or self.logits is None:
            raise GanqError(
                "expected an embedding of the tokens (Gather of a constant table) that leads to an output, "
                f"but {self.path} has none"
            )
        self.nodes = self.needed([self.logits], stop=set())
        unknown = defaultdict(list)
        for node in self.nodes:
            if not operators.is_known(node.op):
                unknown[node.op].append(node)
        if unknown:
            listed = "; ".join(f"{op} ({len(nodes)}, first {nodes[0]})" for op, nodes in unknown.items())
            raise GanqError(f"expected operators that calibration knows, but got {listed} in {self.path}")
        self._sources = {id(node) for node in sources}

    def _embedding_rows(self, node, kinds):
        """The rows of the constant table from which a node takes those of the tokens, or 0."""
        if node.op not in ("Gather", "com.microsoft.GatherBlockQuantized") or (
            [kinds[name] for name in node.inputs[:2]] != [CONSTANT, TOKENS]
        ):
            return 0
        codes = node.op != "Gather"
        if node.attributes.get("gather_axis" if codes else "axis", 0) != 0:
            return 0
        found = self._trace(node.inputs[0], ("Transpose", "Cast", "Identity", "DequantizeLinear"))
        decoded = codes or (found and found[2])
        if not found or not (decoded or self.weights.is_float(found[0])):
            return 0
        shape = self.weights.shape(found[0])
        return shape[-1 if found[1] else 0] if len(shape) == 2 else 0

    def needed(self, outputs, stop):
        """The nodes that compute `outputs` from the values `stop`, in their order."""
        marked, pending = set(), list(outputs)
        while pending:
            name = pending.pop()
            node = self.producer.get(name)
            if name not in stop and node is not None and id(node) not in marked:
                marked.add(id(node))
                pending.extend(node.inputs)
        return [node for node in self.nodes if id(node) in marked]

    def _trace(self, name, through=("Transpose", "Cast", "Identity")):
        """(constant, transposed, decoded) behind operators that keep a matrix, or None."""
        transposed = decoded = False
        while name not in self.weights:
            node = self.producer.get(name)
            if node is None or node.op not in through:
                return None
            if node.op == "Transpose":
                if node.attributes.get("perm") not in (None, [1, 0]):
                    return None
                transposed = not transposed
            decoded |= node.op == "DequantizeLinear"
            name = node.inputs[0]
        return name, transposed, decoded

    def _find_products(self):
        self.products = []
        for node in self.nodes:
            if node.op not in ("MatMul", "Gemm") or node.attributes.get("transA", 0):
                continue
            found = self._trace(node.inputs[1])
            if not found or self.kinds[node.inputs[0]] != STREAM or found[0] not in self._keys:
                continue
            name, transposed, _ = found
            if len(self.weights.shape(name)) != 2 or not self.weights.is_float(name):
                continue
            if not node.attributes.get("transB", 0):
                transposed = not transposed
            n, k = self.weights.shape(name)[:: -1 if transposed else 1]
            self.products.append(Product(node, self._keys[name], name, transposed, n, k))
        by_node = {id(product.node): product for product in self.products}
        # The head's value reaches the logits through nothing but shapes, constants and activations.
        self.heads, name = set(), self.logits
        while node := self.producer.get(name):
            if id(node) in by_node:
                self.heads.add(by_node[id(node)].key)
                break
            streams = [x for x in node.inputs if self.kinds[x] == STREAM]
            if len(streams) != 1 or node.op.endswith(("Normalization", "MatMul", "Gemm")):
                break
            name = streams[0]

    def _cuts(self):
        """The stream values that every path from the embedding to the logits goes through, in order."""
        nodes = [node for node in self.nodes if any(self.kinds[x] == STREAM for x in node.outputs)]
        before, after = defaultdict(int), defaultdict(int)
        for node in nodes:
            paths = 1 if id(node) in self._sources else sum(before[x] for x in node.inputs)
            for output in node.outputs:
                before[output] = paths
        after[self.logits] = 1
        for node in reversed(nodes):
            paths = sum(after[output] for output in node.outputs)
            for name in node.inputs:
                if self.kinds[name] == STREAM:
                    after[name] += paths
        total = before[self.logits]
        return nodes, [
            output for node in nodes for output in node.outputs if before[output] * after[output] == total
        ]

    def blocks(self, chosen):
        """Decoder blocks with the products whose keys are in `chosen`.

        A block ends where a single value of the stream is live, after the products of one attention and
        what follows up to the next attention; without attention, after each product.
        """
        nodes, cuts = self._cuts()
        order = {name: i for i, name in enumerate(cuts)}
        last_cut, segments = {}, defaultdict(list)  # segment i lies between cuts i and i + 1
        for node in nodes:
            places = [last_cut[x] for x in node.inputs if x in last_cut]
            place = max(places, default=-1)
            segments[place].append(node)
            for output in node.outputs:
                last_cut[output] = order.get(output, place)
        by_node = {id(product.node): product for product in self.products}

        def attends(node):
            streams = [x for x in node.inputs if self.kinds[x] == STREAM]
            many = node.op in ("MatMul", "Einsum", "com.microsoft.FusedMatMul") and len(streams) > 1
            return many or node.op in operators.ATTENTION_MAPS

        groups = []  # lists of consecutive segments
        attention = {i: any(map(attends, segments[i])) for i in segments}
        fresh, attended = True, False
        for i in sorted(segments):
            if attention[i] and attended:
                fresh = True
            attended |= attention[i]
            products = [by_node[id(node)] for node in segments[i] if id(node) in by_node]
            if not any(product.key in chosen for product in products):
                continue
            if i < 0:
                raise GanqError(
                    f"expected products after the token embedding, but got one in {self.path} before it"
                )
            if fresh or not any(attention.values()):
                groups.append([])
                fresh = False
            groups[-1].append(i)
        if not groups:
            raise GanqError(f"expected products with weights to quantize, but {self.path} has none")
        # A block begins where the one before it ended.
        firsts = [groups[0][0]] + [group[-1] + 1 for group in groups[:-1]]
        blocks = []
        for first, group in zip(firsts, groups):
            inside = [node for i in range(first, group[-1] + 1) for node in segments[i]]
            products = [by_node[id(node)] for node in inside if id(node) in by_node]
            blocks.append(
                Block(
                    cuts[first],
                    cuts[group[-1] + 1],
                    [product for product in products if product.key in chosen],
                    [node.outputs[0] for node in inside if node.op in operators.ATTENTION_MAPS],
                )
            )
        for block in blocks:
            stop = {block.input} | {x for x, kind in self.kinds.items() if kind in (CONSTANT, SHAPE)}
            block.nodes = self.needed([block.output, *block.attentions], stop)
            reached, ends = set(), {}
            for node in reversed(block.nodes):  # products that lead to no other one
                product = by_node.get(id(node))
                if product in block.products and not reached.intersection(node.outputs):
                    ends[product] = product.k
                if product in block.products or reached.intersection(node.outputs):
                    reached.update(node.inputs)
            block.down = max(ends, key=ends.get)
        return blocks

    # Values

    def inputs_for(self, tokens, first=0):
        """{input name: tensor} for token ids [batch, length] without a past; `first` is their first row."""
        batch, length = tokens.shape
        values = {}
        for info in self.inputs:
            kind = info.type.tensor_type
            role = self.roles[info.name]
            if role == "tokens":
                value = tokens
            elif role == "given":
                value = to_tensor(self.given[info.name])
                value = value[first : first + batch] if len(value) > 1 else value
            elif role == "positions":
                value = torch.arange(length).expand(batch, length)
            elif role == "segments":
                value = torch.zeros(batch, length)
            elif role == "mask":
                value = torch.ones(batch, length)
            else:
                sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
                place = max(len(sizes) - 4, 0)
                sizes[place] = sizes[place] or batch
                value = torch.zeros(sizes)
            values[info.name] = operators.cast(value, kind.elem_type)
        return values

    def weight(self, product, device):
        """W [n, k] in f32."""
        if device.type == "meta":
            return torch.empty(product.n, product.k, device=device)
        weight = self.weights[product.weight].to(device)
        return (weight.T if product.transposed else weight).contiguous()


class Constants:
    """Values that follow from constants alone, computed when they are asked for."""

    def __init__(self, graph, device, limit=math.inf):
        """limit: bytes to keep; what is dropped is computed again."""
        self.graph, self.device, self.limit = graph, device, limit
        self.values, self.bytes = {}, 0

    def clear(self):
        self.values, self.bytes = {}, 0

    def _is_large(self, name):
        return self.graph.weights.is_float(name) and self.graph.weights.bytes(name) > 1024

    def __getitem__(self, name):
        if name not in self.values:
            if name in self.graph.weights and self.device.type == "meta" and self._is_large(name):
                results = {name: torch.empty(self.graph.weights.shape(name), device="meta")}
            elif name in self.graph.weights:
                value = self.graph.weights[name]
                # Integers are sizes and indices: they stay on the CPU, and so do scalars.
                moves = value.is_floating_point() and value.dim() and self.device.type != "meta"
                results = {name: value.to(self.device) if moves else value}
            else:
                node = self.graph.producer[name]
                operands = [self[x] if x else None for x in node.inputs]
                results = dict(zip(node.outputs, operators.apply(node, operands)))
            if self.bytes > self.limit:
                self.clear()
            self.values.update(results)
            self.bytes += sum(value.numel() * value.element_size() for value in results.values())
        return self.values[name]


def run(graph, nodes, values, constants, outputs, products=None):
    """Computes `outputs` by `nodes` from `values`, {name: tensor}, which it extends.

    products: {id(node): function of (node, operands)} in place of the operator.
    Without gradients, values are dropped after their last use.
    """
    products = products or {}
    keep = set(outputs) | {name for name in values}
    left = defaultdict(int)
    if not torch.is_grad_enabled():
        for node in nodes:
            for name in node.inputs:
                left[name] += 1
    for node in nodes:
        operands = []
        for i, name in enumerate(node.inputs):
            if not name or (i == 1 and id(node) in products):
                operands.append(None)
            else:
                operands.append(values[name] if name in values else constants[name])
        replacement = products.get(id(node))
        results = (replacement(node, operands),) if replacement else operators.apply(node, operands)
        values.update((name, value) for name, value in zip(node.outputs, results) if name)
        for name in node.inputs:
            left[name] -= 1
            if not left[name] and name not in keep:
                values.pop(name, None)
    return [values[name] for name in outputs]
