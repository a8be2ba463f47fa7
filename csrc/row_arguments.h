// What operators over rows of a CSR ask of them on the CPU and on the GPU, and how their work is shared out on the CPU.
#pragma once
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <optional>
#include <type_traits>
#include <vector>

#include "aggregate/csr.h"
#include "perturb/visit_elements.h"

namespace dlbench {

using OptionalTensor = std::optional<at::Tensor>;

inline void check_floats(const char* name, const at::Tensor& x) {
  TORCH_CHECK_TYPE(at::isFloatingType(x.scalar_type()), name, " must be of a float type, not ", x.scalar_type());
}

inline at::Tensor checked_rowptr(const at::Tensor& rowptr, const at::Device& device) {
  const at::ScalarType index = rowptr.scalar_type();
  TORCH_CHECK_TYPE(index == at::kInt || index == at::kLong, "rowptr must be int32 or int64, not ", index);
  TORCH_CHECK_VALUE(rowptr.dim() == 1 && rowptr.numel() >= 1, "rowptr must have shape [rows + 1], not ", rowptr.sizes());
  TORCH_CHECK_VALUE(rowptr.device() == device, "rowptr on ", rowptr.device(), " must be where the values are, on ",
                    device);
  return rowptr.contiguous();
}

// Indices that go with a rowptr: of its type, as many as there are positions.
inline at::Tensor checked_positions(const char* name, const at::Tensor& indices, const at::Tensor& rowptr,
                                    int64_t positions) {
  TORCH_CHECK_VALUE(indices.dim() == 1 && indices.numel() == positions, name, " must have shape [", positions,
                    "], not ", indices.sizes());
  TORCH_CHECK_TYPE(indices.scalar_type() == rowptr.scalar_type(), name, " is ", indices.scalar_type(),
                   " but rowptr is ", rowptr.scalar_type());
  TORCH_CHECK_VALUE(indices.device() == rowptr.device(), name, " on ", indices.device(), " must be where rowptr is, on ",
                    rowptr.device());
  return indices.contiguous();
}

// A graph in compressed rows, contiguous.
struct GraphTensors {
  at::Tensor rowptr, col, edge_id;  // edge_id may be undefined

  GraphTensors(const at::Tensor& rowptr_, const at::Tensor& col_, const OptionalTensor& edge_id_,
               const at::Device& device)
      : rowptr(checked_rowptr(rowptr_, device)), col(checked_positions("col", col_, rowptr, col_.numel())) {
    if (edge_id_) edge_id = checked_positions("edge_id", *edge_id_, rowptr, edges());
  }

  int64_t rows() const { return rowptr.numel() - 1; }
  int64_t edges() const { return col.numel(); }

  template <typename Index>
  Csr<Index> view() const {
    return {rowptr.const_data_ptr<Index>(), col.const_data_ptr<Index>(),
            edge_id.defined() ? edge_id.const_data_ptr<Index>() : nullptr, rows()};
  }
};

// f(Index), by a value that only carries its type.
template <typename F>
void visit_index(const at::Tensor& rowptr, F f) {
  rowptr.scalar_type() == at::kInt ? f(int32_t()) : f(int64_t());
}

// f(Real), likewise.
template <typename F>
void visit_real(at::ScalarType type, F f) {
  type == at::kDouble ? f(double()) : f(float());
}

// What only the CPU asks for, at every call: whatever a caller hands over, nothing is read outside of it. On a GPU the
// answer would have to be waited for.
template <typename Index>
void check_rising(const Index* rowptr, int64_t rows, int64_t total, const char* what) {
  bool falls = rowptr[0] != 0 || rowptr[rows] != total;
  for (int64_t i = 0; i < rows; ++i) falls |= rowptr[i] > rowptr[i + 1];
  TORCH_CHECK_VALUE(!falls, "rowptr must rise from 0 to the number of ", what, ", ", total, ", without falling");
}

template <typename Index>
void check_inside(const char* what, const char* bound, const Index* values, int64_t n, int64_t limit) {
  using Unsigned = std::make_unsigned_t<Index>;
  const auto outside = [&](int64_t p) { return Unsigned(values[p]) >= Unsigned(limit); };  // negative ones as well
  bool any = false;
  for (int64_t p = 0; p < n; ++p) any |= outside(p);
  if (!any) return;
  int64_t p = 0;
  while (!outside(p)) ++p;
  TORCH_CHECK_INDEX(false, what, " ", values[p], " at position ", p, " is outside of [0, ", limit, "), the ", bound);
}

// A graph that nobody vouches for; col and edge_id where there are any.
template <typename Index>
void check_graph(const Csr<Index>& graph, int64_t edges, int64_t sources) {
  check_rising(graph.rowptr, graph.rows, edges, "edges");
  if (graph.col) check_inside("col", "sources", graph.col, edges, sources);
  if (!graph.edge_id) return;
  check_inside("edge_id", "edges", graph.edge_id, edges, edges);
  std::vector<bool> seen(edges);
  for (int64_t p = 0; p < edges; ++p) {
    TORCH_CHECK_VALUE(!seen[graph.edge_id[p]], "edge_id ", graph.edge_id[p], " at position ", p, " is another edge's");
    seen[graph.edge_id[p]] = true;
  }
}

// f(begin, end) between marks, in as many shares of equal work as there are threads, or in one where the numbers to go
// through, so many at each edge and each row, are less than `serial`: threads would cost more than they save.
template <typename Index, typename F>
void share_marks(const Csr<Index>& graph, int64_t edges, int64_t numbers, int64_t serial, F f) {
  const int64_t work = edges + graph.rows;
  const int64_t shares = work * numbers < serial ? 1 : at::get_num_threads();
  const auto mark = [&](int64_t share) { return graph.mark_at(work * share / shares); };
  if (shares == 1) return f(mark(0), mark(1));
  at::parallel_for(0, shares, 1, [&](int64_t first, int64_t last) { f(mark(first), mark(last)); });
}

// f(begin, end) over whole rows.
template <typename Index, typename F>
void share_rows(const Csr<Index>& graph, int64_t edges, int64_t numbers, F f) {
  share_marks(graph, edges, numbers, 32768, [&](Mark begin, Mark end) { f(begin.row, end.row); });
}

}  // namespace dlbench
