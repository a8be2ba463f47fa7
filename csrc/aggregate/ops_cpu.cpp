// The aggregate family for torch, on the CPU. Unless the caller vouches for a graph (as Graph does, which has checked
// it), it is checked at every call, and nothing is read outside of it, whatever is handed over.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <vector>

#include "aggregate/arguments.h"
#include "aggregate/csr_build.h"
#include "aggregate/sddmm.h"

namespace dlbench::aggregate_on_cpu {
namespace {

constexpr int64_t kSerialWork = 131072;  // edges times features below which threads cost more than they save
constexpr int64_t kSlab = 8;             // features, of which a slab is a multiple

// Rows with edges have winners among the edges; the rest of `position` is not read.
template <typename Index>
void check_winners(const Csr<Index>& graph, const Index* position, int64_t edges, int64_t width) {
  for (int64_t row = 0; row < graph.rows; ++row)
    if (graph.edges_of(row) > 0) check_inside("position", "edges", position + row * width, width, edges);
}

// The rows that are cut. Each is long enough to hold a multiple of kChunk.
template <typename Index>
std::vector<int64_t> cut_rows(const Csr<Index>& graph, int64_t edges) {
  std::vector<int64_t> rows;
  for (int64_t position = 0; edges >= 2 * kChunk && position < edges; position += kChunk) {
    const int64_t row = graph.row_of(position);
    if (graph.chunks_of(row) > 0 && (rows.empty() || rows.back() != row)) rows.push_back(row);
  }
  return rows;
}

void run(const AggregateArguments& args, bool checked) {
  const int64_t edges = args.graph.edges();
  args.visit([&](auto task) {
    using Real = typename decltype(task)::Real;
    if (!checked) check_graph(task.graph, edges, args.x.size(0));
    if (args.empty()) return;
    const std::vector<int64_t> cut = cut_rows(task.graph, edges);
    at::Tensor partial;
    if (!cut.empty()) {
      partial = at::empty({2 * (edges / kChunk), task.width()}, args.x.options().dtype(c10::CppTypeToScalarType<Real>()));
      task.partial = partial.mutable_data_ptr<Real>();
    }
    share_marks(task.graph, edges, task.width(), kSerialWork, [&](Mark begin, Mark end) { aggregate_cpu(task, begin, end); });
    for (const int64_t row : cut) combine_cpu(task, row);
  });
}

at::Tensor aggregate(const at::Tensor& x, const at::Tensor& rowptr, const at::Tensor& col,
                     const OptionalTensor& edge_id, const OptionalTensor& weight, const OptionalTensor&,
                     const OptionalTensor&, const OptionalTensor&, c10::string_view reduce, bool checked,
                     std::optional<bool>, std::optional<bool>) {
  const AggregateArguments args(x, rowptr, col, edge_id, weight, reduce, false);
  run(args, checked);
  return args.out;
}

std::tuple<at::Tensor, at::Tensor> aggregate_arg(const at::Tensor& x, const at::Tensor& rowptr, const at::Tensor& col,
                                                 const OptionalTensor& edge_id, const OptionalTensor& weight,
                                                 const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                                 c10::string_view reduce, bool checked, std::optional<bool>) {
  const AggregateArguments args(x, rowptr, col, edge_id, weight, reduce, true);
  run(args, checked);
  return {args.out, args.position};
}

at::Tensor sddmm(const at::Tensor& a, const at::Tensor& b, const at::Tensor& rowptr, const at::Tensor& col,
                 const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                 std::optional<at::ScalarType> dtype, bool checked, std::optional<bool>, std::optional<bool>) {
  const SddmmArguments args(a, b, rowptr, col, edge_id);
  const int64_t edges = args.graph.edges();
  visit_index(args.graph.rowptr, [&](auto index) {
    const auto graph = args.graph.view<decltype(index)>();
    if (!checked) check_graph(graph, edges, b.size(0));
    visit_elements("a", a.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      share_marks(graph, edges, args.heads * args.features, kSerialWork, [&](Mark begin, Mark end) {
        sddmm_cpu(graph, elements<Element>(args.a), elements<Element>(args.b),
                  mutable_elements<Widened<Element>>(args.out), args.heads, args.features, begin, end);
      });
    });
  });
  return args.out.to(dtype.value_or(a.scalar_type()));
}

at::Tensor scatter_winners(const at::Tensor& grad, const at::Tensor& position, const at::Tensor& rowptr,
                           const at::Tensor& col, const OptionalTensor& edge_id, const OptionalTensor& weight,
                           const OptionalTensor&, const OptionalTensor&, const OptionalTensor&, int64_t num_src,
                           bool checked) {
  const ScatterArguments args(grad, position, rowptr, col, edge_id, weight);
  const HeadArguments& parts = args.parts;
  const int64_t edges = args.graph.edges(), width = parts.heads * parts.features;
  const at::Tensor out = fresh(args.shape(num_src), args.grad.options()).zero_();
  args.visit([&](auto index, auto real) {
    using Index = decltype(index);
    using Real = decltype(real);
    const auto graph = args.graph.view<Index>();
    if (!checked) {
      check_graph(graph, edges, num_src);
      check_winners(graph, elements<Index>(args.position), edges, width);
    }
    const int64_t slabs = (width + kSlab - 1) / kSlab;
    const int64_t least = std::max<int64_t>(1, kSerialWork / (kSlab * std::max<int64_t>(1, graph.rows)));
    at::parallel_for(0, slabs, least, [&](int64_t first, int64_t last) {
      scatter_winners_cpu(graph, elements<Real>(args.grad), elements<Index>(args.position), elements<Real>(parts.weight),
                          parts.heads, parts.features, out.mutable_data_ptr<Real>(), num_src, first * kSlab,
                          std::min(last * kSlab, width));
    });
  });
  return out.to(grad.scalar_type());
}

at::Tensor winner_dots(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& position,
                       const at::Tensor& rowptr, const at::Tensor& col, const OptionalTensor& edge_id, bool by_head,
                       bool checked) {
  const WinnerDotsArguments args(grad, x, position, rowptr, col, edge_id, by_head);
  const int64_t edges = args.graph.edges(), width = args.width();
  const at::Tensor out = at::zeros(args.shape, args.x.options());
  args.visit([&](auto index, auto real) {
    using Index = decltype(index);
    using Real = decltype(real);
    const auto graph = args.graph.view<Index>();
    if (!checked) {
      check_graph(graph, edges, x.size(0));
      check_winners(graph, elements<Index>(args.position), edges, width);
    }
    const int64_t least = std::max<int64_t>(1, kSerialWork / std::max<int64_t>(1, width));
    at::parallel_for(0, graph.rows, least, [&](int64_t begin, int64_t end) {
      winner_dots_cpu(graph, elements<Real>(args.grad), elements<Real>(args.x), elements<Index>(args.position),
                      args.heads, args.features, out.mutable_data_ptr<Real>(), begin, end);
    });
  });
  return out;
}

void check_ends(const char* name, const at::Tensor& ends) {
  TORCH_CHECK_VALUE(ends.dim() == 1, name, " must have shape [edges], not ", ends.sizes());
  TORCH_CHECK_TYPE(ends.scalar_type() == at::kInt || ends.scalar_type() == at::kLong, name,
                   " must be int32 or int64, not ", ends.scalar_type());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> csr_from_coo(const at::Tensor& row_, const at::Tensor& col_,
                                                            int64_t rows, int64_t cols) {
  check_ends("row", row_);
  check_ends("col", col_);
  TORCH_CHECK_VALUE(row_.sizes() == col_.sizes(), "row has shape ", row_.sizes(), " but col ", col_.sizes());
  TORCH_CHECK_TYPE(row_.scalar_type() == col_.scalar_type(), "row is ", row_.scalar_type(), " but col is ",
                   col_.scalar_type());
  const at::Tensor row = row_.contiguous(), col = col_.contiguous();
  const int64_t edges = row.numel();
  const bool narrow = std::max({rows, cols, edges}) <= INT32_MAX;
  const auto options = row.options().dtype(narrow ? at::kInt : at::kLong);
  const at::Tensor rowptr = at::empty({rows + 1}, options);
  const at::Tensor sorted = at::empty({edges}, options), edge_id = at::empty({edges}, options);
  const auto build = [&](auto given, auto index) {
    using Given = decltype(given);
    using Index = decltype(index);
    check_inside("col", "columns", elements<Given>(col), edges, cols);
    check_inside("row", "rows", elements<Given>(row), edges, rows);
    csr_from_coo_cpu(elements<Given>(row), elements<Given>(col), edges, rows, rowptr.mutable_data_ptr<Index>(),
                     sorted.mutable_data_ptr<Index>(), edge_id.mutable_data_ptr<Index>());
  };
  if (row.scalar_type() == at::kInt)
    narrow ? build(int32_t(), int32_t()) : build(int32_t(), int64_t());
  else
    narrow ? build(int64_t(), int32_t()) : build(int64_t(), int64_t());
  return {rowptr, sorted, edge_id};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> csr_transpose(const at::Tensor& rowptr, const at::Tensor& col,
                                                             const OptionalTensor& edge_id, int64_t num_src) {
  const GraphTensors args(rowptr, col, edge_id, col.device());
  const int64_t edges = args.edges();
  const at::Tensor source = at::empty_like(args.col), target = at::empty_like(args.col);
  const at::Tensor t_rowptr = at::empty({num_src + 1}, args.col.options()), t_col = at::empty_like(args.col);
  const at::Tensor t_edge_id = at::empty_like(args.col);
  visit_index(args.rowptr, [&](auto index) {
    using Index = decltype(index);
    const auto graph = args.view<Index>();
    check_graph(graph, edges, num_src);
    Index* sources = source.mutable_data_ptr<Index>();
    Index* targets = target.mutable_data_ptr<Index>();
    for (int64_t row = 0; row < graph.rows; ++row)
      for (int64_t p = graph.rowptr[row]; p < graph.rowptr[row + 1]; ++p) {
        sources[graph.edge(p)] = graph.col[p];  // in the order of the edges' numbers, which thus rise in the new rows
        targets[graph.edge(p)] = Index(row);
      }
    csr_from_coo_cpu(sources, targets, edges, num_src, t_rowptr.mutable_data_ptr<Index>(),
                     t_col.mutable_data_ptr<Index>(), t_edge_id.mutable_data_ptr<Index>());
  });
  return {t_rowptr, t_col, t_edge_id};
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) {
  m.impl("aggregate", aggregate);
  m.impl("aggregate_arg", aggregate_arg);
  m.impl("sddmm", sddmm);
  m.impl("scatter_winners", scatter_winners);
  m.impl("winner_dots", winner_dots);
  m.impl("csr_from_coo", csr_from_coo);
  m.impl("csr_transpose", csr_transpose);
}

}  // namespace
}  // namespace dlbench::aggregate_on_cpu
