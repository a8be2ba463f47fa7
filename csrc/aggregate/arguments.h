// What the CPU's and the GPU's glue of the aggregate family have in common: checks of shapes and types, and tensors as
// the kernels read them, contiguous and of a type that sums are kept in.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

#include "aggregate/csr.h"

namespace dlbench {

using OptionalTensor = std::optional<at::Tensor>;

inline void check_features(const char* name, const at::Tensor& x) {
  TORCH_CHECK_VALUE(x.dim() == 2, name, " must have shape [nodes, features], not ", x.sizes());
  TORCH_CHECK_TYPE(at::isFloatingType(x.scalar_type()), name, " must be of a float type, not ", x.scalar_type());
}

// Half types are summed in float.
inline at::Tensor accumulable(const at::Tensor& x) {
  return x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).contiguous();
}

struct GraphArguments {
  at::Tensor rowptr, col, edge_id;  // edge_id may be undefined

  GraphArguments(const at::Tensor& rowptr_, const at::Tensor& col_, const OptionalTensor& edge_id_,
                 const at::Device& device)
      : rowptr(rowptr_.contiguous()), col(col_.contiguous()), edge_id(edge_id_ ? edge_id_->contiguous() : at::Tensor()) {
    const at::ScalarType index = rowptr.scalar_type();
    TORCH_CHECK_TYPE(index == at::kInt || index == at::kLong, "rowptr must be int32 or int64, not ", index);
    TORCH_CHECK_VALUE(rowptr.dim() == 1 && rowptr.numel() >= 1, "rowptr must have shape [rows + 1], not ",
                      rowptr.sizes());
    TORCH_CHECK_VALUE(col.dim() == 1, "col must have shape [edges], not ", col.sizes());
    TORCH_CHECK_TYPE(col.scalar_type() == index, "col is ", col.scalar_type(), " but rowptr is ", index);
    TORCH_CHECK_VALUE(rowptr.device() == device && col.device() == device, "rowptr on ", rowptr.device(),
                      " and col on ", col.device(), " must be where the features are, on ", device);
    if (!edge_id.defined()) return;
    TORCH_CHECK_VALUE(edge_id.sizes() == col.sizes(), "edge_id has shape ", edge_id.sizes(), " but col ", col.sizes());
    TORCH_CHECK_TYPE(edge_id.scalar_type() == index, "edge_id is ", edge_id.scalar_type(), " but rowptr is ", index);
    TORCH_CHECK_VALUE(edge_id.device() == device, "edge_id on ", edge_id.device(), " must be on ", device);
  }

  int64_t rows() const { return rowptr.numel() - 1; }
  int64_t edges() const { return col.numel(); }

  template <typename Index>
  Csr<Index> view() const {
    return {rowptr.const_data_ptr<Index>(), col.const_data_ptr<Index>(),
            edge_id.defined() ? edge_id.const_data_ptr<Index>() : nullptr, rows()};
  }

  // f(Index, Real), by values that only carry their types.
  template <typename F>
  void visit(at::ScalarType real, F f) const {
    const bool narrow = rowptr.scalar_type() == at::kInt;
    if (real == at::kFloat)
      narrow ? f(int32_t(), float()) : f(int64_t(), float());
    else
      narrow ? f(int32_t(), double()) : f(int64_t(), double());
  }
};

struct AggregateArguments {
  GraphArguments graph;
  at::Tensor x, weight;  // weight may be undefined
  int64_t features;

  AggregateArguments(const at::Tensor& x_, const at::Tensor& rowptr, const at::Tensor& col,
                     const OptionalTensor& edge_id, const OptionalTensor& weight_, c10::string_view reduce)
      : graph(rowptr, col, edge_id, x_.device()) {
    TORCH_CHECK_VALUE(reduce == "sum", "reduce must be 'sum', the only reduction so far, not '", reduce, "'");
    check_features("x", x_);
    x = accumulable(x_);
    features = x.size(1);
    if (!weight_) return;
    TORCH_CHECK_VALUE(weight_->sizes() == col.sizes(), "weight must have shape [edges] = ", col.sizes(), ", not ",
                      weight_->sizes());
    TORCH_CHECK_TYPE(at::isFloatingType(weight_->scalar_type()), "weight must be of a float type, not ",
                     weight_->scalar_type());
    TORCH_CHECK_VALUE(weight_->device() == x.device(), "weight on ", weight_->device(), " must be where x is, on ",
                      x.device());
    weight = weight_->to(x.scalar_type()).contiguous();
  }

  template <typename Real>
  const Real* weight_or_null() const {
    return weight.defined() ? weight.const_data_ptr<Real>() : nullptr;
  }
};

struct EdgeDotArguments {
  GraphArguments graph;
  at::Tensor a, b;
  int64_t features;

  EdgeDotArguments(const at::Tensor& a_, const at::Tensor& b_, const at::Tensor& rowptr, const at::Tensor& col,
                   const OptionalTensor& edge_id)
      : graph(rowptr, col, edge_id, a_.device()) {
    check_features("a", a_);
    check_features("b", b_);
    TORCH_CHECK_VALUE(a_.size(0) == graph.rows(), "a must have a row for each of the ", graph.rows(), " targets, not ",
                      a_.size(0));
    TORCH_CHECK_VALUE(a_.size(1) == b_.size(1), "a has ", a_.size(1), " features but b has ", b_.size(1));
    TORCH_CHECK_TYPE(a_.scalar_type() == b_.scalar_type(), "a is ", a_.scalar_type(), " but b is ", b_.scalar_type());
    TORCH_CHECK_VALUE(a_.device() == b_.device(), "a is on ", a_.device(), " but b is on ", b_.device());
    a = accumulable(a_);
    b = accumulable(b_);
    features = a.size(1);
  }
};

}  // namespace dlbench
