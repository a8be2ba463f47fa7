// What the CPU's and the GPU's glue of the aggregate family have in common: checks of shapes and types, and tensors as
// the kernels read them, contiguous, and weights in the type in which sums are kept.
#pragma once
#include <ATen/ops/empty.h>

#include "aggregate/aggregate.h"
#include "fresh.h"
#include "row_arguments.h"

namespace dlbench {

inline void check_features(const char* name, const at::Tensor& x) {
  TORCH_CHECK_VALUE(x.dim() == 2 || x.dim() == 3, name, " must have shape [nodes, features] or [nodes, heads, features], "
                    "not ", x.sizes());
  check_floats(name, x);
}

inline Reduction reduction_of(c10::string_view name) {
  if (name == "sum") return Reduction::sum;
  if (name == "mean") return Reduction::mean;
  if (name == "max") return Reduction::max;
  if (name == "min") return Reduction::min;
  TORCH_CHECK_VALUE(name == "std", "reduce must be 'sum', 'mean', 'max', 'min' or 'std', not '", name, "'");
  return Reduction::std;
}

template <typename Element>
const Element* elements(const at::Tensor& x) {
  return x.defined() ? static_cast<const Element*>(x.const_data_ptr()) : nullptr;
}

template <typename Element>
Element* mutable_elements(const at::Tensor& x) {
  return x.defined() ? static_cast<Element*>(x.mutable_data_ptr()) : nullptr;
}

// Features [nodes, heads, features], or without heads, beside weights [edges] or [edges, heads].
struct HeadArguments {
  at::Tensor weight;  // may be undefined
  int64_t heads = 1, features;

  HeadArguments(const at::Tensor& x, const GraphTensors& graph, const OptionalTensor& weight_)
      : features(c10::multiply_integers(x.sizes().slice(1))) {
    if (!weight_) return;
    const bool by_head = weight_->dim() == 2 && x.dim() == 3;
    TORCH_CHECK_VALUE(weight_->dim() >= 1 && weight_->size(0) == graph.edges() &&
                          (by_head ? weight_->size(1) == x.size(1) : weight_->dim() == 1),
                      "weight must have shape [edges], or [edges, heads] beside x of [nodes, heads, features]; with ",
                      graph.edges(), " edges and x of ", x.sizes(), " it cannot have ", weight_->sizes());
    TORCH_CHECK_TYPE(at::isFloatingType(weight_->scalar_type()), "weight must be of a float type, not ",
                     weight_->scalar_type());
    TORCH_CHECK_VALUE(weight_->device() == x.device(), "weight on ", weight_->device(), " must be where x is, on ",
                      x.device());
    weight = weight_->to(widened(x.scalar_type())).contiguous();
    if (!by_head) return;
    heads = x.size(1);
    features = x.size(2);
  }
};

struct AggregateArguments {
  GraphTensors graph;
  at::Tensor x;
  HeadArguments parts;
  Reduction reduction;
  at::Tensor out, position;  // position is undefined where it is not wanted

  AggregateArguments(const at::Tensor& x_, const at::Tensor& rowptr, const at::Tensor& col,
                     const OptionalTensor& edge_id, const OptionalTensor& weight, c10::string_view reduce,
                     bool wants_position)
      : graph(rowptr, col, edge_id, x_.device()), x((check_features("x", x_), x_.contiguous())),
        parts(x, graph, weight), reduction(reduction_of(reduce)) {
    at::DimVector shape(x.sizes());
    shape[0] = graph.rows();
    out = fresh(shape, x.options());
    if (!wants_position) return;
    TORCH_CHECK_VALUE(reduction == Reduction::max || reduction == Reduction::min, "'", reduce,
                      "' has no winners; reduce must be 'max' or 'min'");
    position = fresh(shape, col.options());
  }

  bool empty() const { return out.numel() == 0; }

  // f(Aggregation), whose partial results have no place yet.
  template <typename F>
  void visit(F f) const {
    visit_index(graph.rowptr, [&](auto index) {
      using Index = decltype(index);
      visit_elements("x", x.scalar_type(), [&](auto element) {
        using Element = decltype(element);
        f(Aggregation<Element, Index>{graph.view<Index>(), reduction, elements<Element>(x),
                                      elements<Widened<Element>>(parts.weight), parts.heads, parts.features,
                                      mutable_elements<Element>(out), mutable_elements<Index>(position), nullptr,
                                      x.size(0)});
      });
    });
  }
};

struct SddmmArguments {
  GraphTensors graph;
  at::Tensor a, b;
  int64_t heads, features;
  at::Tensor out;

  SddmmArguments(const at::Tensor& a_, const at::Tensor& b_, const at::Tensor& rowptr, const at::Tensor& col,
                 const OptionalTensor& edge_id)
      : graph(rowptr, col, edge_id, a_.device()) {
    check_features("a", a_);
    check_features("b", b_);
    TORCH_CHECK_VALUE(a_.size(0) == graph.rows(), "a must have a row for each of the ", graph.rows(), " targets, not ",
                      a_.size(0));
    TORCH_CHECK_VALUE(a_.sizes().slice(1) == b_.sizes().slice(1), "a has shape ", a_.sizes(), " but b ", b_.sizes(),
                      "; all but the nodes must agree");
    TORCH_CHECK_TYPE(a_.scalar_type() == b_.scalar_type(), "a is ", a_.scalar_type(), " but b is ", b_.scalar_type());
    TORCH_CHECK_VALUE(a_.device() == b_.device(), "a is on ", a_.device(), " but b is on ", b_.device());
    a = a_.contiguous();
    b = b_.contiguous();
    heads = a.dim() == 3 ? a.size(1) : 1;
    features = a.size(-1);
    const auto options = a.options().dtype(widened(a.scalar_type()));
    out = a.dim() == 3 ? at::empty({graph.edges(), heads}, options) : at::empty({graph.edges()}, options);
  }
};

// The gradients of max and min: everything in the type in which sums are kept.
struct WinnerArguments {
  GraphTensors graph;
  at::Tensor grad, position;

  WinnerArguments(const at::Tensor& grad_, const at::Tensor& position_, const at::Tensor& rowptr, const at::Tensor& col,
                  const OptionalTensor& edge_id)
      : graph(rowptr, col, edge_id, grad_.device()) {
    check_features("grad", grad_);
    TORCH_CHECK_VALUE(grad_.size(0) == graph.rows(), "grad must have a row for each of the ", graph.rows(),
                      " targets, not ", grad_.size(0));
    TORCH_CHECK_VALUE(position_.sizes() == grad_.sizes(), "position has shape ", position_.sizes(), " but grad ",
                      grad_.sizes());
    TORCH_CHECK_TYPE(position_.scalar_type() == col.scalar_type(), "position is ", position_.scalar_type(),
                     " but col is ", col.scalar_type());
    TORCH_CHECK_VALUE(position_.device() == grad_.device(), "position is on ", position_.device(), " but grad is on ",
                      grad_.device());
    grad = grad_.to(widened(grad_.scalar_type())).contiguous();
    position = position_.contiguous();
  }

  // f(Index, Real), by values that only carry their types.
  template <typename F>
  void visit(F f) const {
    visit_index(graph.rowptr, [&](auto index) {
      visit_real(grad.scalar_type(), [&](auto real) { f(index, real); });
    });
  }
};

struct ScatterArguments : WinnerArguments {
  HeadArguments parts;

  ScatterArguments(const at::Tensor& grad_, const at::Tensor& position_, const at::Tensor& rowptr,
                   const at::Tensor& col, const OptionalTensor& edge_id, const OptionalTensor& weight)
      : WinnerArguments(grad_, position_, rowptr, col, edge_id), parts(grad, graph, weight) {}

  at::DimVector shape(int64_t sources) const {
    at::DimVector shape(grad.sizes());
    shape[0] = sources;
    return shape;
  }
};

struct WinnerDotsArguments : WinnerArguments {
  at::Tensor x;
  at::DimVector shape;  // of the dots
  int64_t heads, features;

  WinnerDotsArguments(const at::Tensor& grad_, const at::Tensor& x_, const at::Tensor& position_,
                      const at::Tensor& rowptr, const at::Tensor& col, const OptionalTensor& edge_id, bool by_head)
      : WinnerArguments(grad_, position_, rowptr, col, edge_id) {
    check_features("x", x_);
    TORCH_CHECK_VALUE(x_.sizes().slice(1) == grad.sizes().slice(1), "x has shape ", x_.sizes(), " but grad ",
                      grad.sizes(), "; all but the nodes must agree");
    TORCH_CHECK_VALUE(!by_head || x_.dim() == 3, "weights by head need x of [nodes, heads, features], not ", x_.sizes());
    TORCH_CHECK_VALUE(x_.device() == grad.device(), "x is on ", x_.device(), " but grad is on ", grad.device());
    x = x_.to(grad.scalar_type()).contiguous();
    heads = by_head ? x.size(1) : 1;
    features = heads == 0 ? 0 : width() / heads;
    shape.push_back(graph.edges());
    if (by_head) shape.push_back(heads);
  }

  int64_t width() const { return c10::multiply_integers(x.sizes().slice(1)); }
};

}  // namespace dlbench
