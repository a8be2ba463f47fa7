// The k-th largest of a sample's keys, without sorting and without branches that a processor could not foresee.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#endif

namespace dlbench {

constexpr int64_t kSampled = 1024;  // keys above which a sample pays

template <typename Bits>
int64_t count_at_least(const Bits* keys, int64_t n, Bits least) {
  constexpr int64_t kCounted = 1 << 15;  // as many as the type of the keys can count
  int64_t count = 0;
  for (int64_t first = 0; first < n; first += kCounted) {
    const int64_t end = std::min(first + kCounted, n);
    Bits here = 0;
#pragma omp simd reduction(+ : here)
    for (int64_t i = first; i < end; ++i) here += keys[i] >= least;
    count += here;
  }
  return count;
}

// Bit by bit from the highest but the sign's, which no key has: whether enough keys are as large with this bit set. It
// ends early where exactly k are.
template <typename Bits>
Bits largest_by_bits(const Bits* keys, int64_t n, int64_t k) {
  Bits found = 0;
  for (int bit = 8 * sizeof(Bits) - 2; bit >= 0; --bit) {
    const Bits trial = found | Bits(1) << bit;
    const int64_t count = count_at_least(keys, n, trial);
    if (count >= k) found = trial;
    if (count > k || count < k) continue;
    Bits least = ~Bits(0);
#pragma omp simd reduction(min : least)
    for (int64_t i = 0; i < n; ++i) least = keys[i] >= trial && keys[i] < least ? keys[i] : least;
    return least;
  }
  return found;
}

// Of keys: those from low to high, written to `between`, and how many are larger.
struct Sorted {
  int64_t between, larger;
};

template <typename Bits>
Sorted sort_out(const Bits* keys, int64_t n, Bits low, Bits high, Bits* between) {
  Sorted found{0, 0};
  int64_t i = 0;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  if constexpr (sizeof(Bits) == 4) {
    const __m512i least = _mm512_set1_epi32(int(low)), most = _mm512_set1_epi32(int(high));
    for (; i + 16 <= n; i += 16) {
      const __m512i some = _mm512_loadu_si512(keys + i);
      const __mmask16 above = _mm512_cmpgt_epu32_mask(some, most);
      const __mmask16 within = _mm512_mask_cmpge_epu32_mask(_knot_mask16(above), some, least);
      // all 16, of which the first count: no more were written than read, so that there is room for them
      _mm512_storeu_si512(between + found.between, _mm512_maskz_compress_epi32(within, some));
      found.between += __builtin_popcount(within), found.larger += __builtin_popcount(above);
    }
  }
#endif
  for (; i < n; ++i) {
    between[found.between] = keys[i];
    found.between += (keys[i] >= low) & (keys[i] <= high), found.larger += keys[i] > high;
  }
  return found;
}

// The k-th largest of n keys, and how many are as large.
template <typename Bits>
struct Largest {
  Bits least;
  int64_t count;
};

// A sample of n^(2/3) keys tells between which two it very likely lies (Floyd & Rivest 1975), so that most are done with
// after two comparisons. Where it does not, or is as large as others, all are looked at. `between` has room for n keys,
// of which the sample takes some first.
template <typename Bits>
Largest<Bits> largest(const Bits* keys, int64_t n, int64_t k, Bits* between) {
  if (n > kSampled) {
    const int64_t apart = int64_t(std::cbrt(double(n))), count = n / apart;
    for (int64_t i = 0; i < count; ++i) between[i] = keys[i * apart];
    const double share = double(k) / double(n), rank = share * double(count);
    const double spread = 3 * std::sqrt(rank * (1 - share)) + 2;
    const int64_t above = int64_t(rank - spread), below = int64_t(rank + spread);
    const Bits low = below < count ? largest_by_bits(between, count, below + 1) : Bits(0);
    const Bits high = above > 0 ? largest_by_bits(between, count, above + 1) : ~Bits(0);
    const Sorted found = sort_out(keys, n, low, high, between);
    if (found.larger < k && k <= found.larger + found.between) {
      const Bits least = low == high ? low : largest_by_bits(between, found.between, k - found.larger);
      return {least, found.larger + count_at_least(between, found.between, least)};
    }
  }
  const Bits least = largest_by_bits(keys, n, k);
  return {least, count_at_least(keys, n, least)};
}

}  // namespace dlbench
