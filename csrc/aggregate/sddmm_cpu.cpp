#include "aggregate/sddmm.h"

#include <algorithm>

#include "aggregate/ahead.h"
#include "dot.h"

namespace dlbench {

template <typename Element, typename Index>
void sddmm_cpu(const Csr<Index>& graph, const Element* a, const Element* b, Widened<Element>* out, int64_t heads,
               int64_t features, Mark begin, Mark end) {
  const int64_t width = heads * features, last_known = graph.rowptr[graph.rows] - 1;
  const int64_t ahead_by = edges_ahead(width * sizeof(Element));
  graph.between(begin, end, [&](int64_t row, int64_t first, int64_t last, int64_t) {
    const Element* target = a + row * width;
    for (int64_t p = first; p < last; ++p) {
      const Element* ahead = b + graph.col[std::min(p + ahead_by, last_known)] * width;
      for (int64_t f = 0; f < width; f += kLineBytes / sizeof(Element)) __builtin_prefetch(ahead + f);
      const Element* source = b + graph.col[p] * width;
      Widened<Element>* dots = out + graph.edge(p) * heads;
      for (int64_t h = 0; h < heads; ++h)
        dots[h] = dot(target + h * features, source + h * features, features);
    }
  });
}

#define DLBENCH_INSTANTIATE(Element, Index)                                                                     \
  template void sddmm_cpu(const Csr<Index>&, const Element*, const Element*, Widened<Element>*, int64_t, int64_t, \
                          Mark, Mark);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
