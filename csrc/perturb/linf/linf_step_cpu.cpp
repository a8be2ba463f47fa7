#include "perturb/linf/linf_step.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#endif

#include "perturb/add_down.h"
#include "perturb/linf/linf_point.h"

namespace dlbench {
namespace {

#if defined(__AVX512F__) && defined(__AVX512DQ__)
// linf_point for 16 elements at a time; how many elements that were. AVX-512 rounds a single sum downwards, and tells
// zeros, infinities and NaNs in one instruction, so that these are 13 instructions where a compiler makes 31.
int64_t whole_vectors(float* x_adv, const float* x, const uint32_t* grad, int64_t n, const Limits<float>& limits) {
  constexpr int kUseless = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x80;  // quiet NaN, +0, -0, +inf, -inf, signalling NaN
  constexpr int kSignOf = 0x78;  // a ^ (b & c): with c the sign bit, a with the sign turned where b is negative
  const __m512i sign_bit = _mm512_set1_epi32(int(0x80000000));
  const auto turned = [&](__m512 a, __m512 b) {
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b), sign_bit, kSignOf));
  };
  const __m512 eps = _mm512_set1_ps(limits.eps), step = _mm512_set1_ps(limits.step);
  const __m512 lower = _mm512_set1_ps(limits.lower), upper = _mm512_set1_ps(limits.upper);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 centre = _mm512_loadu_ps(x + i), slope = _mm512_loadu_ps(grad + i), from = _mm512_loadu_ps(x_adv + i);
    const __mmask16 moves = _knot_mask16(_mm512_fpclass_ps_mask(slope, kUseless));
    const __m512 v = _mm512_mask_add_ps(from, moves, from, turned(step, slope)), d = _mm512_sub_ps(v, centre);
    const __m512 end = _mm512_add_round_ps(turned(centre, d), eps, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 held = turned(_mm512_min_ps(end, turned(v, d)), d);  // of a NaN and another, min and max give the second
    held = _mm512_min_ps(upper, _mm512_max_ps(lower, held));
    _mm512_storeu_ps(x_adv + i, _mm512_add_ps(held, _mm512_sub_ps(centre, centre)));
  }
  return i;
}
#endif

// Where there is no such code.
template <typename Real, typename Bits>
int64_t whole_vectors(Real*, const Real*, const Bits*, int64_t, const Limits<Real>&) {
  return 0;
}

}  // namespace

template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, Limits<Real> limits) {
  const int64_t done = whole_vectors(x_adv, x, grad, n, limits);
#pragma GCC ivdep
  for (int64_t i = done; i < n; ++i)
    x_adv[i] = linf_point(x_adv[i], x[i], grad[i], infinity, limits, AddDownByTwoSum());
}

template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n,
                   const Limits<const Real*>& rows) {
  const auto [eps, step, lower, upper] = rows;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const Limits<Real> limits{eps[i], step[i], lower[i], upper[i]};
    x_adv[i] = linf_point(x_adv[i], x[i], grad[i], infinity, limits, AddDownByTwoSum());
  }
}

#define DLBENCH_INSTANTIATE(Real, Bits)                                                                 \
  template void linf_step_cpu(Real*, const Real*, const Bits*, Bits, int64_t, Limits<Real>);            \
  template void linf_step_cpu(Real*, const Real*, const Bits*, Bits, int64_t, const Limits<const Real*>&);
DLBENCH_INSTANTIATE(float, uint16_t)
DLBENCH_INSTANTIATE(float, uint32_t)
DLBENCH_INSTANTIATE(float, uint64_t)
DLBENCH_INSTANTIATE(double, uint16_t)
DLBENCH_INSTANTIATE(double, uint32_t)
DLBENCH_INSTANTIATE(double, uint64_t)

}  // namespace dlbench
