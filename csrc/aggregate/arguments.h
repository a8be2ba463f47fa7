// What the CPU's and the GPU's glue of the aggregate family have in common.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

#include "aggregate/csr.h"

namespace dlbench {

using OptionalTensor = std::optional<at::Tensor>;

// Shapes and types of a graph; that its numbers are in range is the caller's to check.
inline void check_graph(const at::Tensor& rowptr, const at::Tensor& col, const OptionalTensor& edge_id,
                        const at::Device& device) {
  TORCH_CHECK_TYPE(rowptr.scalar_type() == at::kInt || rowptr.scalar_type() == at::kLong,
                   "rowptr must be int32 or int64, not ", rowptr.scalar_type());
  TORCH_CHECK_VALUE(rowptr.dim() == 1 && rowptr.numel() >= 1, "rowptr must have shape [rows + 1], not ", rowptr.sizes());
  TORCH_CHECK_VALUE(col.dim() == 1, "col must have shape [edges], not ", col.sizes());
  TORCH_CHECK_TYPE(col.scalar_type() == rowptr.scalar_type(), "col is ", col.scalar_type(), " but rowptr is ",
                   rowptr.scalar_type());
  TORCH_CHECK_VALUE(rowptr.device() == device && col.device() == device, "the graph is on ", rowptr.device(),
                    " but the features are on ", device);
  if (!edge_id) return;
  TORCH_CHECK_VALUE(edge_id->sizes() == col.sizes(), "edge_id must have col's shape ", col.sizes(), ", not ",
                    edge_id->sizes());
  TORCH_CHECK_TYPE(edge_id->scalar_type() == rowptr.scalar_type(), "edge_id is ", edge_id->scalar_type(),
                   " but rowptr is ", rowptr.scalar_type());
  TORCH_CHECK_VALUE(edge_id->device() == device, "edge_id is on ", edge_id->device(), ", not on ", device);
}

inline void check_features(const char* name, const at::Tensor& x) {
  TORCH_CHECK_VALUE(x.dim() == 2, name, " must have shape [nodes, features], not ", x.sizes());
  TORCH_CHECK_TYPE(at::isFloatingType(x.scalar_type()), name, " must be of a float type, not ", x.scalar_type());
}

// Half types are summed in float.
inline at::ScalarType accumulate_type(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

inline at::Tensor accumulable(const at::Tensor& x) { return x.to(accumulate_type(x)).contiguous(); }

inline at::Tensor checked_weight(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& col) {
  TORCH_CHECK_VALUE(weight.sizes() == col.sizes(), "weight must have shape [edges] = ", col.sizes(), ", not ",
                    weight.sizes());
  TORCH_CHECK_TYPE(at::isFloatingType(weight.scalar_type()), "weight must be of a float type, not ",
                   weight.scalar_type());
  TORCH_CHECK_VALUE(weight.device() == x.device(), "weight is on ", weight.device(), " but x is on ", x.device());
  return weight.to(accumulate_type(x)).contiguous();
}

inline void check_reduce(c10::string_view reduce) {
  TORCH_CHECK_VALUE(reduce == "sum", "reduce must be 'sum', the only reduction so far, not '", reduce, "'");
}

// The graph's tensors, contiguous, kept alive as long as the kernel reads them.
struct GraphTensors {
  at::Tensor rowptr, col;
  OptionalTensor edge_id;

  GraphTensors(const at::Tensor& rowptr_, const at::Tensor& col_, const OptionalTensor& edge_id_)
      : rowptr(rowptr_.contiguous()), col(col_.contiguous()) {
    if (edge_id_) edge_id = edge_id_->contiguous();
  }

  int64_t rows() const { return rowptr.numel() - 1; }
  int64_t edges() const { return col.numel(); }

  template <typename Index>
  Csr<Index> view() const {
    return {rowptr.const_data_ptr<Index>(), col.const_data_ptr<Index>(),
            edge_id ? edge_id->const_data_ptr<Index>() : nullptr, rows()};
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

inline void check_ends(const at::Tensor& a, const at::Tensor& b, const GraphTensors& graph) {
  TORCH_CHECK_VALUE(a.size(0) == graph.rows(), "a must have a row for each of the graph's ", graph.rows(),
                    " targets, not ", a.size(0));
  TORCH_CHECK_VALUE(a.size(1) == b.size(1), "a has ", a.size(1), " features but b has ", b.size(1));
  TORCH_CHECK_TYPE(a.scalar_type() == b.scalar_type(), "a is ", a.scalar_type(), " but b is ", b.scalar_type());
  TORCH_CHECK_VALUE(a.device() == b.device(), "a is on ", a.device(), " but b is on ", b.device());
}

}  // namespace dlbench
