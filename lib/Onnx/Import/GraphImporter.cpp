//===- GraphImporter.cpp - ONNX graphs to regions -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphImporter.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ganq::onnx;

static std::string getOperatorName(const ::onnx::NodeProto &node) {
  StringRef domain = node.domain();
  if (domain.empty() || domain == "ai.onnx")
    return node.op_type();
  return (domain + "." + node.op_type()).str();
}

/// Calls `visit` with all names that a node reads, also in its graphs, as far
/// as the graphs do not define them.
static void visitReads(const ::onnx::NodeProto &node,
                       llvm::function_ref<void(StringRef)> visit);

static void visitReads(const ::onnx::GraphProto &graph,
                       llvm::function_ref<void(StringRef)> visit) {
  llvm::StringSet<> inner;
  for (const auto &input : graph.input())
    inner.insert(input.name());
  for (const auto &tensor : graph.initializer())
    inner.insert(tensor.name());
  for (const auto &tensor : graph.sparse_initializer())
    inner.insert(tensor.values().name());
  for (const auto &node : graph.node())
    inner.insert(node.output().begin(), node.output().end());
  auto visitOuter = [&](StringRef name) {
    if (!inner.contains(name))
      visit(name);
  };
  for (const auto &node : graph.node())
    visitReads(node, visitOuter);
  for (const auto &output : graph.output())
    visitOuter(output.name());
}

static void visitReads(const ::onnx::NodeProto &node,
                       llvm::function_ref<void(StringRef)> visit) {
  for (const std::string &input : node.input())
    if (!input.empty())
      visit(input);
  for (const auto &attribute : node.attribute()) {
    if (attribute.has_g())
      visitReads(attribute.g(), visit);
    for (const auto &graph : attribute.graphs())
      visitReads(graph, visit);
  }
}

/// All names that the nodes and the outputs of a graph read.
static llvm::StringSet<> getUsedNames(const ::onnx::GraphProto &graph) {
  llvm::StringSet<> used;
  for (const auto &node : graph.node())
    visitReads(node, [&](StringRef name) { used.insert(name); });
  for (const auto &output : graph.output())
    used.insert(output.name());
  return used;
}

GraphImporter::GraphImporter(StringRef path, const llvm::MemoryBuffer &file,
                             const ::onnx::ModelProto &model,
                             MLIRContext *context, const ImportOptions &options)
    : builder(context), model(model), options(options),
      fileLoc(NameLoc::get(builder.getStringAttr(path))),
      types(context, bindings), tensors(path, file, context),
      names(model.graph()) {}

Value GraphImporter::Scope::lookup(StringRef name) const {
  for (const Scope *scope = this; scope; scope = scope->parent)
    if (Value value = scope->values.lookup(name))
      return value;
  return {};
}

Type GraphImporter::Scope::lookupType(StringRef name) const {
  return types.lookup(name);
}

Location GraphImporter::getLoc(StringRef name) const {
  return name.empty() ? fileLoc
                      : Location(NameLoc::get(
                            StringAttr::get(builder.getContext(), name)));
}

LogicalResult GraphImporter::define(Scope &scope, StringRef name, Value value,
                                    Location loc) {
  if (name.empty())
    return emitError(loc) << "expected a name for each value of a graph, but "
                             "got an empty one";
  if (!scope.values.try_emplace(name, value).second)
    return emitError(loc) << "expected one definition of each value, but '"
                          << name << "' has two";
  return success();
}

//===----------------------------------------------------------------------===//
// Model
//===----------------------------------------------------------------------===//

LogicalResult GraphImporter::declareSymbols() {
  llvm::StringSet<> known;
  for (const auto &input : model.graph().input())
    for (const auto &dim : input.type().tensor_type().shape().dim())
      if (!dim.dim_param().empty())
        known.insert(dim.dim_param());
  for (const auto &[name, size] : options.bindings) {
    if (!known.contains(name)) {
      SmallVector<StringRef> list;
      for (const auto &entry : known)
        list.push_back(entry.getKey());
      llvm::sort(list);
      return emitError(fileLoc)
             << "expected a symbolic dimension of an input to bind ("
             << (list.empty() ? "there is none" : llvm::join(list, ", "))
             << "), but got '" << name << "'";
    }
    if (!bindings.try_emplace(name, size).second)
      return emitError(fileLoc)
             << "expected one size for dimension '" << name << "', but got two";
  }
  return success();
}

LogicalResult GraphImporter::collectFunctions() {
  constexpr int kAttributeProto = 11;
  for (const ::onnx::FunctionProto &function : model.functions()) {
    std::string key = function.domain() + ":" + function.name();
    if (!functions.try_emplace(key, &function).second)
      return emitError(getLoc(function.name()))
             << "expected one function of this name, but got two";
    const auto &fields = function.unknown_fields();
    for (int i = 0; i < fields.field_count(); ++i) {
      if (fields.field(i).number() != kAttributeProto ||
          fields.field(i).type() !=
              google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
        continue;
      ::onnx::AttributeProto attribute;
      if (!attribute.ParseFromString(fields.field(i).length_delimited()))
        return emitError(getLoc(function.name()))
               << "expected well-formed default attributes";
      functionDefaults[&function].push_back(std::move(attribute));
    }
  }
  return success();
}

LogicalResult GraphImporter::collectTypes(const ::onnx::GraphProto &graph,
                                          Scope &scope) {
  for (const auto *infos : {&graph.value_info(), &graph.output()})
    for (const ::onnx::ValueInfoProto &info : *infos) {
      if (!info.has_type())
        continue;
      Type type = types.convert(info.type(),
                                [&] { return emitError(getLoc(info.name())); });
      if (!type)
        return failure();
      scope.types[info.name()] = type;
    }
  return success();
}

OwningOpRef<ModuleOp> GraphImporter::run() {
  const ::onnx::GraphProto &graph = model.graph();
  if (failed(declareSymbols()) || failed(collectFunctions()))
    return {};
  Scope scope;
  if (failed(collectTypes(graph, scope)))
    return {};

  llvm::StringSet<> initialized;
  for (const auto &tensor : graph.initializer())
    initialized.insert(tensor.name());
  SmallVector<Type> inputTypes;
  SmallVector<const ::onnx::ValueInfoProto *> inputs;
  SmallVector<DictionaryAttr> inputAttrs;
  auto describe = [&](const ::onnx::ValueInfoProto &info, ArrayAttr dims) {
    NamedAttrList attrs;
    attrs.set("onnx.name", builder.getStringAttr(info.name()));
    if (dims)
      attrs.set("onnx.dims", dims);
    return attrs.getDictionary(builder.getContext());
  };
  for (const ::onnx::ValueInfoProto &input : graph.input()) {
    // An initializer that is also an input is its default value: a constant.
    if (initialized.contains(input.name()))
      continue;
    ArrayAttr dims;
    Type type = types.convert(
        input.type(), [&] { return emitError(getLoc(input.name())); }, &dims);
    if (!type)
      return {};
    inputs.push_back(&input);
    inputTypes.push_back(type);
    inputAttrs.push_back(describe(input, dims));
  }

  OwningOpRef<ModuleOp> module(ModuleOp::create(builder, fileLoc));
  builder.setInsertionPointToEnd(module->getBody());
  auto function = func::FuncOp::create(builder, fileLoc, "main",
                                       builder.getFunctionType(inputTypes, {}));
  Block *body = function.addEntryBlock();
  builder.setInsertionPointToStart(body);
  for (auto [input, value] : llvm::zip_equal(inputs, body->getArguments())) {
    value.setLoc(getLoc(input->name()));
    if (failed(define(scope, input->name(), value, fileLoc)))
      return {};
  }
  if (failed(importInitializers(graph, getUsedNames(graph), scope)) ||
      failed(importNodes(graph.node(), scope, nullptr)))
    return {};

  SmallVector<Value> outputs;
  SmallVector<DictionaryAttr> outputAttrs;
  for (const ::onnx::ValueInfoProto &output : graph.output()) {
    Value value = scope.lookup(output.name());
    if (!value) {
      emitError(fileLoc) << "expected a value for output '" << output.name()
                         << "', but the graph has none";
      return {};
    }
    ArrayAttr dims;
    if (!types.convert(
            output.type(), [&] { return emitError(getLoc(output.name())); },
            &dims))
      return {};
    outputs.push_back(value);
    outputAttrs.push_back(describe(output, dims));
  }
  func::ReturnOp::create(builder, fileLoc, outputs);
  function.setFunctionType(
      builder.getFunctionType(inputTypes, TypeRange(outputs)));
  function.setAllArgAttrs(inputAttrs);
  function.setAllResultAttrs(outputAttrs);
  return module;
}

//===----------------------------------------------------------------------===//
// Initializers
//===----------------------------------------------------------------------===//

LogicalResult GraphImporter::importInitializers(const ::onnx::GraphProto &graph,
                                                const llvm::StringSet<> &used,
                                                Scope &scope) {
  for (const ::onnx::TensorProto &tensor : graph.initializer()) {
    Location loc = getLoc(tensor.name());
    if (!used.contains(tensor.name()))
      continue;
    FailureOr<Value> value = importTensor(tensor, loc, tensor.name());
    if (failed(value) || failed(define(scope, tensor.name(), *value, loc)))
      return failure();
    if (Operation *op = value->getDefiningOp())
      op->setAttr("onnx.node", builder.getStringAttr(tensor.name()));
  }
  for (const ::onnx::SparseTensorProto &tensor : graph.sparse_initializer()) {
    Location loc = getLoc(tensor.values().name());
    FailureOr<Value> value = importSparseTensor(tensor, loc);
    if (failed(value) ||
        failed(define(scope, tensor.values().name(), *value, loc)))
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

/// The order in which every node comes after those that it reads from: the
/// order of the file wherever that is one.
FailureOr<SmallVector<int>> GraphImporter::sortNodes(const Nodes &nodes,
                                                     const Scope &scope) {
  llvm::StringMap<int> producers;
  for (int i = 0; i < nodes.size(); ++i)
    for (const std::string &output : nodes[i].output())
      if (!output.empty())
        producers.try_emplace(output, i);
  enum State : char { Unseen, Open, Done };
  std::vector<State> states(nodes.size(), Unseen);
  SmallVector<int> order, stack;
  for (int root = 0; root < nodes.size(); ++root) {
    stack.push_back(root);
    while (!stack.empty()) {
      int current = stack.back();
      if (states[current] != Unseen) {
        if (states[current] == Open)
          order.push_back(current);
        states[current] = Done;
        stack.pop_back();
        continue;
      }
      states[current] = Open;
      int cyclic = -1;
      visitReads(nodes[current], [&](StringRef name) {
        auto producer = producers.find(name);
        if (producer == producers.end() || scope.lookup(name))
          return;
        if (states[producer->second] == Unseen)
          stack.push_back(producer->second);
        else if (states[producer->second] == Open)
          cyclic = producer->second;
      });
      if (cyclic >= 0)
        return emitError(getLoc(nodes[current].name()))
               << "expected a graph without cycles, but "
               << nodes[current].op_type() << " node '" << nodes[current].name()
               << "' and " << nodes[cyclic].op_type() << " node '"
               << nodes[cyclic].name() << "' need each other";
    }
  }
  return order;
}

LogicalResult GraphImporter::importNodes(const Nodes &nodes, Scope &scope,
                                         const Call *call) {
  FailureOr<SmallVector<int>> order = sortNodes(nodes, scope);
  if (failed(order))
    return failure();
  for (int index : *order)
    if (failed(importNode(nodes[index], scope, call)))
      return failure();
  return success();
}

const ::onnx::AttributeProto *
GraphImporter::resolve(const ::onnx::AttributeProto &attribute,
                       const Call *call) const {
  const ::onnx::AttributeProto *current = &attribute;
  while (!current->ref_attr_name().empty()) {
    if (!call)
      return nullptr;
    const std::string &name = current->ref_attr_name();
    const ::onnx::AttributeProto *found = nullptr;
    for (const auto &given : call->node.attribute())
      if (given.name() == name)
        found = &given;
    if (!found)
      if (auto defaults = functionDefaults.find(&call->function);
          defaults != functionDefaults.end())
        for (const auto &value : defaults->second)
          if (value.name() == name)
            return &value;
    if (!found)
      return nullptr;
    current = found;
    call = call->parent;
  }
  return current;
}

const ::onnx::FunctionProto *
GraphImporter::lookupFunction(const ::onnx::NodeProto &node) const {
  return functions.lookup(node.domain() + ":" + node.op_type());
}

LogicalResult GraphImporter::importNode(const ::onnx::NodeProto &node,
                                        Scope &scope, const Call *call) {
  std::string name = node.name();
  if (call && !call->name.empty())
    name = call->name + "/" + (name.empty() ? node.op_type() : name);
  // A node without a name is told by what it gives.
  Location loc = getLoc(name.empty() && node.output_size() > 0
                            ? "node of " + node.output(0)
                            : name);
  if (node.op_type().empty())
    return emitError(loc) << "expected an operator name, but got an empty one";
  if (const ::onnx::FunctionProto *function = lookupFunction(node)) {
    constexpr unsigned kMaxDepth = 64;
    Call inner{node, *function, call, name, call ? call->depth + 1 : 1};
    if (inner.depth > kMaxDepth)
      return emitError(loc)
             << "expected functions that do not call themselves, but '"
             << function->name() << "' does";
    return importCall(inner, loc, scope);
  }
  std::string opName = getOperatorName(node);
  if (opName == "Constant")
    return importConstant(node, loc, scope, call);

  SmallVector<Value> operands;
  int inputCount = node.input_size();
  while (inputCount > 0 && node.input(inputCount - 1).empty())
    --inputCount;
  for (int i = 0; i < inputCount; ++i) {
    const std::string &input = node.input(i);
    if (input.empty()) {
      if (!scope.none)
        scope.none = createNone(builder, fileLoc);
      operands.push_back(scope.none);
      continue;
    }
    Value value = scope.lookup(input);
    if (!value)
      return emitError(loc) << "expected operand " << i << " of " << opName
                            << " to be a value of the graph, but nothing "
                               "defines '"
                            << input << "'";
    operands.push_back(value);
  }

  OperationState state(loc, "onnx." + opName);
  state.addOperands(operands);
  int outputCount = node.output_size();
  while (outputCount > 1 && node.output(outputCount - 1).empty())
    --outputCount;
  for (int i = 0; i < outputCount; ++i) {
    Type type = scope.lookupType(node.output(i));
    if (node.output(i).empty())
      type = builder.getNoneType();
    state.addTypes(type ? type : types.getUnknown());
  }

  NamedAttrList attrs;
  SmallVector<std::pair<StringRef, const ::onnx::GraphProto *>> graphs;
  for (const ::onnx::AttributeProto &written : node.attribute()) {
    const ::onnx::AttributeProto *attribute = resolve(written, call);
    if (!attribute)
      continue;
    if (written.name().empty() || attrs.get(written.name()))
      return emitError(loc)
             << "expected attributes with names of their own, but got '"
             << written.name() << "'";
    if (attribute->has_g()) {
      graphs.emplace_back(written.name(), &attribute->g());
      continue;
    }
    if (attribute->graphs_size() > 0) {
      for (const ::onnx::GraphProto &graph : attribute->graphs())
        graphs.emplace_back(written.name(), &graph);
      continue;
    }
    ::onnx::AttributeProto named = *attribute;
    named.set_name(written.name());
    if (failed(importAttribute(named, loc, attrs)))
      return failure();
  }
  // then_branch comes before else_branch.
  if (opName == "If")
    llvm::sort(graphs,
               [](const auto &a, const auto &b) { return a.first > b.first; });
  if (!graphs.empty()) {
    SmallVector<Attribute> regionNames;
    for (const auto &[graphName, graph] : graphs)
      regionNames.push_back(builder.getStringAttr(graphName));
    attrs.set("onnx.regions", builder.getArrayAttr(regionNames));
  }
  if (!name.empty())
    attrs.set("onnx.node", builder.getStringAttr(name));
  state.addAttributes(attrs.getAttrs());
  for (const auto &[graphName, graph] : graphs)
    if (failed(importRegion(*graph, loc, *state.addRegion(), scope, call)))
      return failure();
  Operation *op = builder.create(state);
  for (int i = 0; i < outputCount; ++i)
    if (!node.output(i).empty() &&
        failed(define(scope, node.output(i), op->getResult(i), loc)))
      return failure();
  return success();
}

LogicalResult GraphImporter::importCall(const Call &call, Location loc,
                                        Scope &scope) {
  const ::onnx::FunctionProto &function = call.function;
  if (call.node.input_size() > function.input_size() ||
      call.node.output_size() > function.output_size())
    return emitError(loc) << "expected at most " << function.input_size()
                          << " operands and " << function.output_size()
                          << " results for function '" << function.name()
                          << "', but got " << call.node.input_size() << " and "
                          << call.node.output_size();
  Scope inner;
  for (int i = 0; i < function.input_size(); ++i) {
    Value value;
    if (i < call.node.input_size() && !call.node.input(i).empty()) {
      value = scope.lookup(call.node.input(i));
      if (!value)
        return emitError(loc)
               << "expected operand " << i << " of '" << function.name()
               << "' to be a value of the graph, but nothing defines '"
               << call.node.input(i) << "'";
    } else {
      value = createNone(builder, loc);
    }
    if (failed(define(inner, function.input(i), value, loc)))
      return failure();
  }
  if (failed(importNodes(function.node(), inner, &call)))
    return failure();
  for (int i = 0; i < call.node.output_size(); ++i) {
    if (call.node.output(i).empty())
      continue;
    Value value = inner.lookup(function.output(i));
    if (!value)
      return emitError(loc)
             << "expected a value for result '" << function.output(i)
             << "' of function '" << function.name() << "', but it has none";
    if (failed(define(scope, call.node.output(i), value, loc)))
      return failure();
  }
  return success();
}

LogicalResult GraphImporter::importRegion(const ::onnx::GraphProto &graph,
                                          Location loc, Region &region,
                                          const Scope &parent,
                                          const Call *call) {
  Scope scope;
  scope.parent = &parent;
  if (failed(collectTypes(graph, scope)))
    return failure();
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&region);
  for (const ::onnx::ValueInfoProto &input : graph.input()) {
    Location inputLoc = getLoc(input.name());
    Type type =
        types.convert(input.type(), [&] { return emitError(inputLoc); });
    if (!type || failed(define(scope, input.name(),
                               block->addArgument(type, inputLoc), inputLoc)))
      return failure();
  }
  if (failed(importInitializers(graph, getUsedNames(graph), scope)) ||
      failed(importNodes(graph.node(), scope, call)))
    return failure();
  SmallVector<Value> outputs;
  for (const ::onnx::ValueInfoProto &output : graph.output()) {
    Value value = scope.lookup(output.name());
    if (!value)
      return emitError(loc)
             << "expected a value for output '" << output.name()
             << "' of graph '" << graph.name() << "', but it has none";
    outputs.push_back(value);
  }
  YieldOp::create(builder, loc, outputs);
  return success();
}
