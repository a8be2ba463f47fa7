// What the CPU's and the GPU's glue of the attention family have in common.
#pragma once
#include <ATen/ops/empty.h>

#include <algorithm>

#include "attention/gat.h"
#include "attention/head_dots.h"
#include "fresh.h"
#include "row_arguments.h"

namespace dlbench {

// Values [edges, heads] and whose edges they are.
struct EdgeValues {
  at::Tensor values, rowptr, edge_id, out;  // edge_id may be undefined

  EdgeValues(const char* name, const at::Tensor& values_, const at::Tensor& rowptr_, const OptionalTensor& edge_id_) {
    check_floats(name, values_);
    TORCH_CHECK_VALUE(values_.dim() == 2, name, " must have shape [edges, heads], not ", values_.sizes());
    values = values_.to(widened(values_.scalar_type())).contiguous();
    rowptr = checked_rowptr(rowptr_, values.device());
    if (edge_id_) edge_id = checked_positions("edge_id", *edge_id_, rowptr, edges());
    out = at::empty(values.sizes(), values.options());
  }

  int64_t edges() const { return values.size(0); }
  int64_t heads() const { return values.size(1); }

  template <typename Index>
  Csr<Index> view() const {
    return {rowptr.const_data_ptr<Index>(), nullptr, edge_id.defined() ? edge_id.const_data_ptr<Index>() : nullptr,
            rowptr.numel() - 1};
  }

  // f(Index, Real), by values that only carry their types.
  template <typename F>
  void visit(F f) const {
    visit_real(values.scalar_type(), [&](auto real) { visit_index(rowptr, [&](auto index) { f(index, real); }); });
  }
};

struct GatArguments {
  GraphTensors graph;
  at::Tensor x, score_src, score_dst;
  double negative_slope;
  Dropout dropout;

  GatArguments(const at::Tensor& x_, const at::Tensor& score_src_, const at::Tensor& score_dst_,
               const at::Tensor& rowptr, const at::Tensor& col, const OptionalTensor& edge_id, double negative_slope_,
               double share, int64_t seed)
      : graph(rowptr, col, edge_id, x_.device()), negative_slope(negative_slope_), dropout(share, seed) {
    check_floats("x", x_);
    TORCH_CHECK_VALUE(x_.dim() == 3, "x must have shape [sources, heads, features], not ", x_.sizes());
    TORCH_CHECK_VALUE(share >= 0 && share < 1, "dropout must be in [0, 1), not ", share);
    x = x_.to(widened(x_.scalar_type())).contiguous();
    score_src = scores("score_src", score_src_, sources());
    score_dst = scores("score_dst", score_dst_, graph.rows());
  }

  int64_t sources() const { return x.size(0); }
  int64_t heads() const { return x.size(1); }
  int64_t features() const { return x.size(2); }

  at::Tensor scores(const char* name, const at::Tensor& given, int64_t rows) const {
    check_floats(name, given);
    TORCH_CHECK_VALUE(given.dim() == 2 && given.size(0) == rows && given.size(1) == heads(), name,
                      " must have shape [", rows, ", ", heads(), "], not ", given.sizes());
    TORCH_CHECK_VALUE(given.device() == x.device(), name, " on ", given.device(), " must be where x is, on ",
                      x.device());
    return given.to(x.scalar_type()).contiguous();
  }

  at::Tensor fresh(at::IntArrayRef sizes) const { return dlbench::fresh(sizes, x.options()); }

  template <typename Real>
  Gat<Real> view() const {
    return {heads(), features(), Real(negative_slope), dropout};
  }

  template <typename F>
  void visit(F f) const {
    visit_real(x.scalar_type(), [&](auto real) { visit_index(graph.rowptr, [&](auto index) { f(index, real); }); });
  }
};

struct GatBackwardArguments : GatArguments {
  GraphTensors transpose;
  at::Tensor grad, largest, inverse;

  GatBackwardArguments(const at::Tensor& grad_, const at::Tensor& x_, const at::Tensor& score_src_,
                       const at::Tensor& score_dst_, const at::Tensor& largest_, const at::Tensor& inverse_,
                       const at::Tensor& rowptr, const at::Tensor& col, const OptionalTensor& edge_id,
                       const at::Tensor& t_rowptr, const at::Tensor& t_col, const OptionalTensor& t_edge_id,
                       double negative_slope_, double share, int64_t seed)
      : GatArguments(x_, score_src_, score_dst_, rowptr, col, edge_id, negative_slope_, share, seed),
        transpose(t_rowptr, t_col, t_edge_id, x_.device()) {
    TORCH_CHECK_VALUE(transpose.rows() == sources() && transpose.edges() == graph.edges(), "the transpose has ",
                      transpose.rows(), " rows and ", transpose.edges(), " edges; it must have ", sources(), " and ",
                      graph.edges());
    TORCH_CHECK_TYPE(transpose.rowptr.scalar_type() == graph.rowptr.scalar_type(), "t_rowptr is ",
                     transpose.rowptr.scalar_type(), " but rowptr is ", graph.rowptr.scalar_type());
    TORCH_CHECK_VALUE(grad_.dim() == 3 && grad_.size(0) == graph.rows() && grad_.size(1) == heads() &&
                          grad_.size(2) == features(),
                      "grad must have shape [", graph.rows(), ", ", heads(), ", ", features(), "], not ",
                      grad_.sizes());
    grad = grad_.to(x.scalar_type()).contiguous();
    largest = scores("largest", largest_, graph.rows());
    inverse = scores("inverse", inverse_, graph.rows());
  }
};

// Features [nodes, heads, features] and what their heads are multiplied by.
struct AttendArguments {
  at::Tensor x, attend_src, attend_dst;

  AttendArguments(const at::Tensor& x_, const at::Tensor& attend_src_, const at::Tensor& attend_dst_) {
    check_floats("x", x_);
    TORCH_CHECK_VALUE(x_.dim() == 3, "x must have shape [nodes, heads, features], not ", x_.sizes());
    x = x_.to(widened(x_.scalar_type())).contiguous();
    attend_src = by_head("attend_src", attend_src_);
    attend_dst = by_head("attend_dst", attend_dst_);
  }

  int64_t rows() const { return x.size(0); }
  int64_t heads() const { return x.size(1); }
  int64_t features() const { return x.size(2); }
  int64_t grain() const { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, heads() * features())); }

  at::Tensor fresh(at::IntArrayRef sizes) const { return dlbench::fresh(sizes, x.options()); }

  template <typename Real>
  HeadDots<Real> view() const {
    return {heads(), features(), x.const_data_ptr<Real>(),
            {attend_src.const_data_ptr<Real>(), attend_dst.const_data_ptr<Real>()}};
  }

  // f(Real), by a value that only carries its type.
  template <typename F>
  void visit(F f) const {
    visit_real(x.scalar_type(), f);
  }

 private:
  at::Tensor by_head(const char* name, const at::Tensor& given) const {
    check_floats(name, given);
    TORCH_CHECK_VALUE(given.dim() == 2 && given.size(0) == heads() && given.size(1) == features(), name,
                      " must have shape [", heads(), ", ", features(), "], not ", given.sizes());
    TORCH_CHECK_VALUE(given.device() == x.device(), name, " on ", given.device(), " must be where x is, on ",
                      x.device());
    return given.to(x.scalar_type()).contiguous();
  }
};

}  // namespace dlbench
