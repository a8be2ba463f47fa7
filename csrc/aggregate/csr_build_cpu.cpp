#include "aggregate/csr_build.h"

#include <algorithm>

namespace dlbench {

template <typename Given, typename Index>
void csr_from_coo_cpu(const Given* row, const Given* col, int64_t edges, int64_t rows, Index* rowptr, Index* col_out,
                      Index* edge_id) {
  // Counted two places further on, summed up, the counts are the rows' beginnings one place further on; and each
  // beginning that has been raised past the edges put there has become the end, which is where the next row begins.
  std::fill(rowptr, rowptr + rows + 1, Index(0));
  for (int64_t e = 0; e < edges; ++e)
    if (const int64_t place = int64_t(row[e]) + 2; place <= rows) ++rowptr[place];
  for (int64_t i = 2; i <= rows; ++i) rowptr[i] += rowptr[i - 1];
  for (int64_t e = 0; e < edges; ++e) {
    const Index p = rowptr[int64_t(row[e]) + 1]++;
    col_out[p] = Index(col[e]);
    if (edge_id) edge_id[p] = Index(e);
  }
}

#define DLBENCH_INSTANTIATE(Given, Index) \
  template void csr_from_coo_cpu(const Given*, const Given*, int64_t, int64_t, Index*, Index*, Index*);
DLBENCH_INSTANTIATE(int32_t, int32_t)
DLBENCH_INSTANTIATE(int32_t, int64_t)
DLBENCH_INSTANTIATE(int64_t, int32_t)
DLBENCH_INSTANTIATE(int64_t, int64_t)

}  // namespace dlbench
