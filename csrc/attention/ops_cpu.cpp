// edge_softmax, edge_total, gat_aggregate and gat_attend for torch, on the CPU. A graph for which nobody vouches is
// checked.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

#include "attention/arguments.h"
#include "attention/edge_softmax.h"

namespace dlbench::attention_on_cpu {
namespace {

// kernel(graph, from, to, heads, begin, end)
template <typename Kernel>
at::Tensor over_rows(const EdgeValues& args, at::ScalarType type, bool checked, Kernel kernel) {
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    const auto graph = args.view<decltype(index)>();
    if (!checked) check_graph(graph, args.edges(), 0);
    share_rows(graph, args.edges(), args.heads(), [&](int64_t begin, int64_t end) {
      kernel(graph, args.values.const_data_ptr<Real>(), args.out.mutable_data_ptr<Real>(), args.heads(), begin, end);
    });
  });
  return args.out.to(type);
}

at::Tensor edge_softmax(const at::Tensor& scores, const at::Tensor& rowptr, const OptionalTensor& edge_id,
                        bool checked) {
  return over_rows(EdgeValues("scores", scores, rowptr, edge_id), scores.scalar_type(), checked,
                   [](auto&&... arguments) { edge_softmax_cpu(arguments...); });
}

at::Tensor edge_total(const at::Tensor& values, const at::Tensor& rowptr, const OptionalTensor& edge_id,
                      bool checked) {
  return over_rows(EdgeValues("values", values, rowptr, edge_id), values.scalar_type(), checked,
                   [](auto&&... arguments) { edge_total_cpu(arguments...); });
}

// out, largest and inverse, in the type in which they are computed.
std::tuple<at::Tensor, at::Tensor, at::Tensor> attended(const GatArguments& args, bool checked) {
  const at::Tensor out = args.fresh({args.graph.rows(), args.heads(), args.features()});
  const at::Tensor largest = args.fresh(args.score_dst.sizes()), inverse = args.fresh(args.score_dst.sizes());
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    const auto graph = args.graph.view<decltype(index)>();
    const auto gat = args.view<Real>();
    if (!checked) check_graph(graph, args.graph.edges(), args.sources());
    share_rows(graph, args.graph.edges(), gat.numbers() + gat.heads, [&](int64_t begin, int64_t end) {
      gat_cpu(graph, gat, args.x.const_data_ptr<Real>(), args.score_src.const_data_ptr<Real>(),
              args.score_dst.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(), largest.mutable_data_ptr<Real>(),
              inverse.mutable_data_ptr<Real>(), begin, end);
    });
  });
  return {out, largest, inverse};
}

// Of x, score_src and score_dst, in the type in which they are computed.
std::tuple<at::Tensor, at::Tensor, at::Tensor> attended_backward(const GatBackwardArguments& args,
                                                                     bool checked) {
  const at::Tensor of_x = args.fresh(args.x.sizes()), of_src = args.fresh(args.score_src.sizes()),
                   of_dst = args.fresh(args.score_dst.sizes()),
                   targets = args.fresh({args.graph.rows(), kTargetParts, args.heads()});
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    const auto graph = args.graph.view<decltype(index)>(), transpose = args.transpose.view<decltype(index)>();
    const auto gat = args.view<Real>();
    if (!checked) check_graph(graph, args.graph.edges(), args.sources());
    if (!checked) check_graph(transpose, args.graph.edges(), args.graph.rows());
    const auto* arriving = args.grad.const_data_ptr<Real>();
    const auto* features = args.x.const_data_ptr<Real>();
    const auto* scores = args.score_src.const_data_ptr<Real>();
    const int64_t numbers = 2 * (gat.numbers() + gat.heads);
    share_rows(graph, args.graph.edges(), numbers, [&](int64_t begin, int64_t end) {
      gat_of_targets_cpu(graph, gat, arriving, features, scores, args.score_dst.const_data_ptr<Real>(),
                         args.largest.const_data_ptr<Real>(), args.inverse.const_data_ptr<Real>(),
                         of_dst.mutable_data_ptr<Real>(), targets.mutable_data_ptr<Real>(), begin, end);
    });
    share_rows(transpose, args.graph.edges(), numbers, [&](int64_t begin, int64_t end) {
      gat_of_sources_cpu(transpose, gat, arriving, features, scores, targets.const_data_ptr<Real>(),
                         of_x.mutable_data_ptr<Real>(), of_src.mutable_data_ptr<Real>(), begin, end);
    });
  });
  return {of_x, of_src, of_dst};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gat_aggregate(
    const at::Tensor& x, const at::Tensor& score_src, const at::Tensor& score_dst, const at::Tensor& rowptr,
    const at::Tensor& col, const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&,
    const OptionalTensor&, double negative_slope, double dropout, int64_t seed, bool checked) {
  const auto [out, largest, inverse] =
      attended({x, score_src, score_dst, rowptr, col, edge_id, negative_slope, dropout, seed}, checked);
  return {out.to(x.scalar_type()), largest, inverse};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gat_aggregate_backward(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& score_src, const at::Tensor& score_dst,
    const at::Tensor& largest, const at::Tensor& inverse, const at::Tensor& rowptr, const at::Tensor& col,
    const OptionalTensor& edge_id, const at::Tensor& t_rowptr, const at::Tensor& t_col, const OptionalTensor& t_edge_id,
    double negative_slope, double dropout, int64_t seed, bool checked) {
  const auto [of_x, of_src, of_dst] =
      attended_backward({grad, x, score_src, score_dst, largest, inverse, rowptr, col, edge_id, t_rowptr, t_col,
                         t_edge_id, negative_slope, dropout, seed}, checked);
  return {of_x.to(x.scalar_type()), of_src.to(score_src.scalar_type()), of_dst.to(score_dst.scalar_type())};
}

// ------------------------------------------------------------------------------------- attention by the features' dots

constexpr int64_t kRowsAtOnce = 256;  // whose contributions to a sum are added up first, on any number of threads

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> gat_attend(
    const at::Tensor& x, const at::Tensor& attend_src, const at::Tensor& attend_dst, const at::Tensor& rowptr,
    const at::Tensor& col, const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&,
    const OptionalTensor&, double negative_slope, double dropout, int64_t seed, bool checked) {
  const AttendArguments args(x, attend_src, attend_dst);
  const at::Tensor score_src = args.fresh({args.rows(), args.heads()}), score_dst = args.fresh(score_src.sizes());
  args.visit([&](auto real) {
    using Real = decltype(real);
    Real* const dots[2] = {score_src.mutable_data_ptr<Real>(), score_dst.mutable_data_ptr<Real>()};
    const HeadDots<Real> task = args.view<Real>();
    at::parallel_for(0, args.rows(), args.grain(), [&](int64_t begin, int64_t end) {
      head_dots_cpu(task, dots, begin, end);
    });
  });
  const auto [out, largest, inverse] =
      attended({args.x, score_src, score_dst, rowptr, col, edge_id, negative_slope, dropout, seed}, checked);
  return {out.to(x.scalar_type()), score_src, score_dst, largest, inverse};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gat_attend_backward(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& attend_src, const at::Tensor& attend_dst,
    const at::Tensor& score_src, const at::Tensor& score_dst, const at::Tensor& largest, const at::Tensor& inverse,
    const at::Tensor& rowptr, const at::Tensor& col, const OptionalTensor& edge_id, const at::Tensor& t_rowptr,
    const at::Tensor& t_col, const OptionalTensor& t_edge_id, double negative_slope, double dropout, int64_t seed,
    bool checked) {
  const AttendArguments args(x, attend_src, attend_dst);
  const auto [of_x, of_src, of_dst] =
      attended_backward({grad, args.x, score_src, score_dst, largest, inverse, rowptr, col, edge_id, t_rowptr, t_col,
                         t_edge_id, negative_slope, dropout, seed}, checked);
  const int64_t pieces = (args.rows() + kRowsAtOnce - 1) / kRowsAtOnce;
  const at::Tensor sums = args.fresh({pieces, 2, args.heads(), args.features()});
  args.visit([&, &of_x = of_x, &of_src = of_src, &of_dst = of_dst](auto real) {
    using Real = decltype(real);
    const Real* const of_dots[2] = {of_src.const_data_ptr<Real>(), of_dst.const_data_ptr<Real>()};
    const HeadDots<Real> task = args.view<Real>();
    Real *to = of_x.mutable_data_ptr<Real>(), *parts = sums.mutable_data_ptr<Real>();
    at::parallel_for(0, pieces, std::max<int64_t>(1, args.grain() / kRowsAtOnce), [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece)
        head_dots_backward_cpu(task, of_dots, to, parts + piece * 2 * task.numbers(), piece * kRowsAtOnce,
                               std::min((piece + 1) * kRowsAtOnce, args.rows()));
    });
  });
  const at::Tensor of_attend = sums.sum(0);
  return {of_x.to(x.scalar_type()), of_attend.select(0, 0).to(attend_src.scalar_type()),
          of_attend.select(0, 1).to(attend_dst.scalar_type())};
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) {
  m.impl("edge_softmax", edge_softmax);
  m.impl("edge_total", edge_total);
  m.impl("gat_aggregate", gat_aggregate);
  m.impl("gat_aggregate_backward", gat_aggregate_backward);
  m.impl("gat_attend", gat_attend);
  m.impl("gat_attend_backward", gat_attend_backward);
}

}  // namespace
}  // namespace dlbench::attention_on_cpu
