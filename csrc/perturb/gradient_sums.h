// Sums over a sample's gradient, on the CPU: in double, block by block, which keeps rounding errors small.
#pragma once
#include <algorithm>

#include "perturb/gradient.h"

namespace dlbench {

template <typename Format>
double largest(const typename Format::Bits* grad, int64_t size) {
  using Bits = typename Format::Bits;
  Bits most = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < size; ++i) {
    const Bits here = magnitude<Format>(grad[i]);
    most = here < Format::kInfinity && here > most ? here : most;
  }
  return Format::number(most);
}

// By what to multiply a gradient first, so that its sums stay within double's range.
template <typename Format>
double scale_of(const typename Format::Bits* grad, int64_t size) {
  return kNeedsScale<Format> ? scale_for(largest<Format>(grad, size)) : 1;
}

// The sum of term(scale * element), elements that are no finite numbers taken as 0.
template <typename Format, typename Term>
double sum_over(const typename Format::Bits* grad, int64_t size, double scale, Term term) {
  constexpr int64_t kBlock = 2048;
  double total = 0;
  for (int64_t first = 0; first < size; first += kBlock) {
    const int64_t end = std::min(first + kBlock, size);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < end; ++i) sum += term(finite<Format>(grad[i]) * scale);
    total += sum;
  }
  return total;
}

}  // namespace dlbench
