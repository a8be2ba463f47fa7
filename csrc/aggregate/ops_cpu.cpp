// aggregate and edge_dot for torch, on the CPU. A graph is checked at every call: whatever a caller hands over, nothing
// is read outside of it, and a compare for each edge is little beside the features of its source.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "aggregate/aggregate.h"
#include "aggregate/arguments.h"
#include "aggregate/edge_dot.h"

namespace dlbench {
namespace {

constexpr int64_t kSerialWork = 32768;  // edges times features below which threads cost more than they save

template <typename Index>
void check_range(const char* what, const char* bound, const Index* values, int64_t n, int64_t limit) {
  using Unsigned = std::make_unsigned_t<Index>;
  const auto outside = [&](int64_t p) { return Unsigned(values[p]) >= Unsigned(limit); };  // negative ones as well
  bool any = false;
  for (int64_t p = 0; p < n; ++p) any |= outside(p);
  if (!any) return;
  int64_t p = 0;
  while (!outside(p)) ++p;
  TORCH_CHECK_INDEX(false, what, " ", values[p], " at position ", p, " is outside of [0, ", limit, "), the ", bound);
}

template <typename Index>
void check_numbers(const Csr<Index>& graph, int64_t edges, int64_t sources) {
  bool falls = graph.rowptr[0] != 0 || graph.rowptr[graph.rows] != edges;
  for (int64_t i = 0; i < graph.rows; ++i) falls |= graph.rowptr[i] > graph.rowptr[i + 1];
  TORCH_CHECK_VALUE(!falls, "rowptr must rise from 0 to the number of edges, ", edges, ", without falling");
  check_range("col", "sources", graph.col, edges, sources);
  if (graph.edge_id) check_range("edge_id", "edges", graph.edge_id, edges, edges);
}

// f(begin, end) over the rows, in as many shares of equal work as there are threads.
template <typename Index, typename F>
void parallel_rows(const Csr<Index>& graph, int64_t edges, int64_t features, F f) {
  const int64_t work = edges + graph.rows;
  const int64_t shares = work * features < kSerialWork ? 1 : at::get_num_threads();
  at::parallel_for(0, shares, 1, [&](int64_t first, int64_t last) {
    const auto row = [&](int64_t share) { return share == shares ? graph.rows : graph.row_at(work * share / shares); };
    f(row(first), row(last));
  });
}

at::Tensor aggregate(const at::Tensor& x, const at::Tensor& rowptr, const at::Tensor& col,
                     const OptionalTensor& edge_id, const OptionalTensor& weight, const OptionalTensor&,
                     const OptionalTensor&, const OptionalTensor&, c10::string_view reduce) {
  const AggregateArguments args(x, rowptr, col, edge_id, weight, reduce);
  at::Tensor out = at::empty({args.graph.rows(), args.features}, args.x.options());
  args.graph.visit(out.scalar_type(), [&](auto index, auto real) {
    using Real = decltype(real);
    const auto graph = args.graph.view<decltype(index)>();
    check_numbers(graph, args.graph.edges(), x.size(0));
    parallel_rows(graph, args.graph.edges(), args.features, [&](int64_t begin, int64_t end) {
      aggregate_sum_cpu(graph, args.x.const_data_ptr<Real>(), args.weight_or_null<Real>(),
                        out.mutable_data_ptr<Real>(), args.features, begin, end);
    });
  });
  return out.to(x.scalar_type());
}

at::Tensor edge_dot(const at::Tensor& a, const at::Tensor& b, const at::Tensor& rowptr, const at::Tensor& col,
                    const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&,
                    const OptionalTensor&) {
  const EdgeDotArguments args(a, b, rowptr, col, edge_id);
  at::Tensor out = at::empty({args.graph.edges()}, args.a.options());
  args.graph.visit(out.scalar_type(), [&](auto index, auto real) {
    using Real = decltype(real);
    const auto graph = args.graph.view<decltype(index)>();
    check_numbers(graph, args.graph.edges(), b.size(0));
    parallel_rows(graph, args.graph.edges(), args.features, [&](int64_t begin, int64_t end) {
      edge_dot_cpu(graph, args.a.const_data_ptr<Real>(), args.b.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(),
                   args.features, begin, end);
    });
  });
  return out.to(a.scalar_type());
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) {
  m.impl("aggregate", aggregate);
  m.impl("edge_dot", edge_dot);
}

}  // namespace
}  // namespace dlbench
