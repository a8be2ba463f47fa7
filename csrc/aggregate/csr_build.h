// Makes compressed rows by counting: one pass counts the edges of every row, a second puts each where it belongs. Edges
// keep their order within a row, so that their numbers rise there.
#pragma once
#include <cstdint>

namespace dlbench {

// Edge e joins row row[e] to col[e]; both in range. rowptr [rows + 1], col_out [edges], edge_id [edges] are written;
// edge_id may be null. Given: int32_t, int64_t; Index: int32_t, int64_t.
template <typename Given, typename Index>
void csr_from_coo_cpu(const Given* row, const Given* col, int64_t edges, int64_t rows, Index* rowptr, Index* col_out,
                      Index* edge_id);

}  // namespace dlbench
