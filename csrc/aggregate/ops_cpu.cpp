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
  check_reduce(reduce);
  check_features("x", x);
  check_graph(rowptr, col, edge_id, x.device());
  const GraphTensors graph(rowptr, col, edge_id);
  const at::Tensor source = accumulable(x);
  const at::Tensor scale = weight ? checked_weight(*weight, x, col) : at::Tensor();
  const int64_t features = x.size(1);
  at::Tensor out = at::empty({graph.rows(), features}, source.options());

  graph.visit(source.scalar_type(), [&](auto index, auto real) {
    using Real = decltype(real);
    const auto csr = graph.view<decltype(index)>();
    check_numbers(csr, graph.edges(), x.size(0));
    const Real* w = weight ? scale.const_data_ptr<Real>() : nullptr;
    parallel_rows(csr, graph.edges(), features, [&](int64_t begin, int64_t end) {
      aggregate_sum_cpu(csr, source.const_data_ptr<Real>(), w, out.mutable_data_ptr<Real>(), features, begin, end);
    });
  });
  return out.to(x.scalar_type());
}

at::Tensor edge_dot(const at::Tensor& a, const at::Tensor& b, const at::Tensor& rowptr, const at::Tensor& col,
                    const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&,
                    const OptionalTensor&) {
  check_features("a", a);
  check_features("b", b);
  check_graph(rowptr, col, edge_id, a.device());
  const GraphTensors graph(rowptr, col, edge_id);
  check_ends(a, b, graph);
  const at::Tensor target = accumulable(a), source = accumulable(b);
  at::Tensor out = at::empty({graph.edges()}, target.options());

  graph.visit(target.scalar_type(), [&](auto index, auto real) {
    using Real = decltype(real);
    const auto csr = graph.view<decltype(index)>();
    check_numbers(csr, graph.edges(), b.size(0));
    parallel_rows(csr, graph.edges(), a.size(1), [&](int64_t begin, int64_t end) {
      edge_dot_cpu(csr, target.const_data_ptr<Real>(), source.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(),
                   a.size(1), begin, end);
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
