// Vectors of the machine's width and narrower, by the compilers' own vector extension, which knows every machine; and
// numbers of every float type loaded into them, widened to the type in which sums are kept.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "perturb/bits.h"
#include "perturb/element.h"

namespace dlbench {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename Real, int Lanes>
struct Simd {
  typedef Real Vector __attribute__((vector_size(Lanes * sizeof(Real))));
  // The same, where it lies in memory: aligned only as its elements are, and seen through their type's pointers.
  typedef Real InMemory __attribute__((vector_size(Lanes * sizeof(Real)), aligned(sizeof(Real)), may_alias));

  static Vector load(const Real* p) { return *reinterpret_cast<const InMemory*>(p); }
  static void store(Real* p, Vector v) { *reinterpret_cast<InMemory*>(p) = v; }
};

template <typename Real>
constexpr int kLanes = kVectorBytes / sizeof(Real);

template <int Lanes, typename Real>
using VectorOf = typename Simd<Real, Lanes>::Vector;

// Whether a lane of what comparing vectors gave is set. Halves are put together until few words are left.
template <int Lanes, typename Mask>
inline bool any(Mask mask) {
  if constexpr (sizeof(Mask) > 16) {
    using Half = VectorOf<Lanes / 2, std::remove_reference_t<decltype(mask[0])>>;
    Half low, high;
    std::memcpy(&low, &mask, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&mask) + sizeof low, sizeof high);
    return any<Lanes / 2>(low | high);
  } else {
    bool set = false;
    for (int k = 0; k < Lanes; ++k) set |= mask[k] != 0;
    return set;
  }
}

// The integer as wide as a real, which vectors of compared reals consist of.
template <typename Real>
using IntegerOf = std::conditional_t<sizeof(Real) == 4, int32_t, int64_t>;

template <int Lanes>
inline VectorOf<Lanes, float> load_widened(const float* p) {
  return Simd<float, Lanes>::load(p);
}

template <int Lanes>
inline VectorOf<Lanes, double> load_widened(const double* p) {
  return Simd<double, Lanes>::load(p);
}

template <int Lanes>
inline VectorOf<Lanes, float> load_widened(const BFloat16* p) {
  const auto bits = Simd<uint16_t, Lanes>::load(reinterpret_cast<const uint16_t*>(p));
  return reinterpreted<VectorOf<Lanes, float>>(__builtin_convertvector(bits, VectorOf<Lanes, uint32_t>) << 16);
}

template <int Lanes>
inline VectorOf<Lanes, float> load_widened(const Half* p) {
  VectorOf<Lanes, float> out;
#ifdef __AVX512F__
  if constexpr (Lanes == 16) {
    return reinterpreted<VectorOf<16, float>>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
#endif
#ifdef __F16C__
  if constexpr (Lanes == 8) {
    return reinterpreted<VectorOf<8, float>>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
#endif
  for (int k = 0; k < Lanes; ++k) out[k] = widened(p[k]);
  return out;
}

template <int Lanes, typename Element>
inline void store_narrowed(Element* p, VectorOf<Lanes, Widened<Element>> v) {
  if constexpr (std::is_same_v<Element, Widened<Element>>) {
    Simd<Element, Lanes>::store(p, v);
  } else {
    for (int k = 0; k < Lanes; ++k) p[k] = narrowed<Element>(v[k]);
  }
}

}  // namespace dlbench
