// Dot products of short rows, in vectors as wide as the machine's while numbers last.
#pragma once
#include "simd.h"

namespace dlbench {

// <a, b> + the lanes of `sum`. Full vectors first; then the sum is folded to half its lanes, with which the rest of the
// numbers is taken up, and so on down to one number. The folding is the horizontal sum that is needed anyway.
template <int Lanes, typename Element>
inline Widened<Element> dot_onto(VectorOf<Lanes, Widened<Element>> sum, const Element* a, const Element* b, int64_t n) {
  for (; n >= Lanes; n -= Lanes, a += Lanes, b += Lanes) sum += load_widened<Lanes>(a) * load_widened<Lanes>(b);
  if constexpr (Lanes == 2) {
    return n > 0 ? sum[0] + sum[1] + widened(*a) * widened(*b) : sum[0] + sum[1];
  } else {
    using Real = Widened<Element>;
    return dot_onto<Lanes / 2>(low_half<Lanes, Real>(sum) + high_half<Lanes, Real>(sum), a, b, n);
  }
}

template <int Lanes, typename Element>
inline Widened<Element> dot_in(const Element* a, const Element* b, int64_t n) {
  if constexpr (Lanes > 2)
    if (n < Lanes) return dot_in<Lanes / 2>(a, b, n);
  return dot_onto<Lanes>(VectorOf<Lanes, Widened<Element>>{}, a, b, n);
}

template <typename Element>
inline Widened<Element> dot(const Element* a, const Element* b, int64_t n) {
  return dot_in<kLanes<Widened<Element>>>(a, b, n);
}

}  // namespace dlbench
