#include "aggregate/sddmm.h"

#include <algorithm>

#include "aggregate/ahead.h"
#include "simd.h"

namespace dlbench {
namespace {

// <a, b> + the lanes of `sum`. Full vectors first; then the sum is folded to half its lanes, with which the rest of the
// features is taken up, and so on down to one lane. The folding is the horizontal sum that is needed anyway.
template <int Lanes, typename Element>
inline Widened<Element> dot(VectorOf<Lanes, Widened<Element>> sum, const Element* a, const Element* b, int64_t n) {
  for (; n >= Lanes; n -= Lanes, a += Lanes, b += Lanes) sum += load_widened<Lanes>(a) * load_widened<Lanes>(b);
  if constexpr (Lanes == 1) {
    return sum[0];
  } else {
    VectorOf<Lanes / 2, Widened<Element>> low, high;
    std::memcpy(&low, &sum, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&sum) + sizeof low, sizeof high);
    return dot<Lanes / 2>(low + high, a, b, n);
  }
}

}  // namespace

template <typename Element, typename Index>
void sddmm_cpu(const Csr<Index>& graph, const Element* a, const Element* b, Widened<Element>* out, int64_t heads,
               int64_t features, Mark begin, Mark end) {
  constexpr int lanes = kLanes<Widened<Element>>;
  const VectorOf<lanes, Widened<Element>> zero{};
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
        dots[h] = dot<lanes>(zero, target + h * features, source + h * features, features);
    }
  });
}

#define DLBENCH_INSTANTIATE(Element, Index)                                                                     \
  template void sddmm_cpu(const Csr<Index>&, const Element*, const Element*, Widened<Element>*, int64_t, int64_t, \
                          Mark, Mark);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
