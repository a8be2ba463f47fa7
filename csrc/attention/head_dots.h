// What a graph attention network scores nodes by: the dot products of their features with two vectors, head by head.
#pragma once
#include <cstdint>

namespace dlbench {

// dots[0][n, h] = sum_f x[n, h, f] vectors[0][h, f], likewise [1]; rows [begin, end) of x [n, heads, features].
template <typename Real>
struct HeadDots {
  int64_t heads, features;
  const Real* x;
  const Real* vectors[2];  // [heads, features] each

  int64_t numbers() const { return heads * features; }
};

template <typename Real>
void head_dots_cpu(const HeadDots<Real>& task, Real* const (&dots)[2], int64_t begin, int64_t end);

// The derivative, given that of the dots: adds to of_x what comes to it by them, and writes to sums [2, heads, features]
// what rows [begin, end) contribute to that of the vectors.
template <typename Real>
void head_dots_backward_cpu(const HeadDots<Real>& task, const Real* const (&of_dots)[2], Real* of_x, Real* sums,
                            int64_t begin, int64_t end);

}  // namespace dlbench
