// edge_softmax, edge_total and gat_aggregate for torch, on the CPU. A graph is checked at every call.
#include <torch/library.h>

#include "attention/arguments.h"
#include "attention/edge_softmax.h"

namespace dlbench::attention_on_cpu {
namespace {

// kernel(graph, from, to, heads, begin, end)
template <typename Kernel>
at::Tensor over_rows(const EdgeValues& args, at::ScalarType type, Kernel kernel) {
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    const auto graph = args.view<decltype(index)>();
    check_graph(graph, args.edges(), 0);
    share_rows(graph, args.edges(), args.heads(), [&](int64_t begin, int64_t end) {
      kernel(graph, args.values.const_data_ptr<Real>(), args.out.mutable_data_ptr<Real>(), args.heads(), begin, end);
    });
  });
  return args.out.to(type);
}

at::Tensor edge_softmax(const at::Tensor& scores, const at::Tensor& rowptr, const OptionalTensor& edge_id) {
  return over_rows(EdgeValues("scores", scores, rowptr, edge_id), scores.scalar_type(),
                   [](auto&&... arguments) { edge_softmax_cpu(arguments...); });
}

at::Tensor edge_total(const at::Tensor& values, const at::Tensor& rowptr, const OptionalTensor& edge_id) {
  return over_rows(EdgeValues("values", values, rowptr, edge_id), values.scalar_type(),
                   [](auto&&... arguments) { edge_total_cpu(arguments...); });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gat_aggregate(
    const at::Tensor& x, const at::Tensor& score_src, const at::Tensor& score_dst, const at::Tensor& rowptr,
    const at::Tensor& col, const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&,
    const OptionalTensor&, double negative_slope, double dropout, int64_t seed) {
  const GatArguments args(x, score_src, score_dst, rowptr, col, edge_id, negative_slope, dropout, seed);
  const at::Tensor out = args.fresh({args.graph.rows(), args.heads(), args.features()});
  const at::Tensor largest = args.fresh(args.score_dst.sizes()), inverse = args.fresh(args.score_dst.sizes());
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    const auto graph = args.graph.view<decltype(index)>();
    const auto gat = args.view<Real>();
    check_graph(graph, args.graph.edges(), args.sources());
    share_rows(graph, args.graph.edges(), gat.numbers() + gat.heads, [&](int64_t begin, int64_t end) {
      gat_cpu(graph, gat, args.x.const_data_ptr<Real>(), args.score_src.const_data_ptr<Real>(),
              args.score_dst.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(), largest.mutable_data_ptr<Real>(),
              inverse.mutable_data_ptr<Real>(), begin, end);
    });
  });
  return {out.to(x.scalar_type()), largest, inverse};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gat_aggregate_backward(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& score_src, const at::Tensor& score_dst,
    const at::Tensor& largest, const at::Tensor& inverse, const at::Tensor& rowptr, const at::Tensor& col,
    const OptionalTensor& edge_id, const at::Tensor& t_rowptr, const at::Tensor& t_col, const OptionalTensor& t_edge_id,
    double negative_slope, double dropout, int64_t seed) {
  const GatBackwardArguments args(grad, x, score_src, score_dst, largest, inverse, rowptr, col, edge_id, t_rowptr,
                                  t_col, t_edge_id, negative_slope, dropout, seed);
  const at::Tensor of_x = args.fresh(args.x.sizes()), of_src = args.fresh(args.score_src.sizes()),
                   of_dst = args.fresh(args.score_dst.sizes()),
                   targets = args.fresh({args.graph.rows(), kTargetParts, args.heads()});
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    const auto graph = args.graph.view<decltype(index)>(), transpose = args.transpose.view<decltype(index)>();
    const auto gat = args.view<Real>();
    check_graph(graph, args.graph.edges(), args.sources());
    check_graph(transpose, args.graph.edges(), args.graph.rows());
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
  return {of_x.to(x.scalar_type()), of_src.to(score_src.scalar_type()), of_dst.to(score_dst.scalar_type())};
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) {
  m.impl("edge_softmax", edge_softmax);
  m.impl("edge_total", edge_total);
  m.impl("gat_aggregate", gat_aggregate);
  m.impl("gat_aggregate_backward", gat_aggregate_backward);
}

}  // namespace
}  // namespace dlbench::attention_on_cpu
