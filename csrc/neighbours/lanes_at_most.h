// Which lanes of a vector are at most a limit, as bits. Compilers' vectors compare, but to lanes of their own width.
#pragma once
#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
#endif

#include "simd.h"

namespace dlbench {

#if defined(__AVX512F__)
inline uint32_t lanes_at_most(__m512 v, float limit) { return _mm512_cmp_ps_mask(v, _mm512_set1_ps(limit), _CMP_LE_OQ); }
inline uint32_t lanes_at_most(__m512d v, double limit) {
  return _mm512_cmp_pd_mask(v, _mm512_set1_pd(limit), _CMP_LE_OQ);
}
#elif defined(__AVX__)
inline uint32_t lanes_at_most(__m256 v, float limit) {
  return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(limit), _CMP_LE_OQ));
}
inline uint32_t lanes_at_most(__m256d v, double limit) {
  return _mm256_movemask_pd(_mm256_cmp_pd(v, _mm256_set1_pd(limit), _CMP_LE_OQ));
}
#else
template <typename Vector, typename Real>
inline uint32_t lanes_at_most(Vector v, Real limit) {
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes<Real>; ++lane) bits |= uint32_t(v[lane] <= limit) << lane;
  return bits;
}
#endif

}  // namespace dlbench
