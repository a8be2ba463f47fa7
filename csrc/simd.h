// Vectors of the machine's width and narrower, by the compilers' own vector extension, which knows every machine; and
// numbers of every float type loaded into them, widened to the type in which sums are kept.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#ifdef __SSE2__
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

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define DLBENCH_SHUFFLES
#endif
#endif

// The Lanes / 2 lanes of a vector from `first` on.
template <int Lanes, int first, typename Real, int... Lane>
inline VectorOf<Lanes / 2, Real> lanes_from(VectorOf<Lanes, Real> v, std::integer_sequence<int, Lane...>) {
#ifdef DLBENCH_SHUFFLES
  return __builtin_shufflevector(v, v, (first + Lane)...);
#else  // by way of memory, where compilers before GCC 12 keep what they copy from
  VectorOf<Lanes / 2, Real> half;
  std::memcpy(&half, reinterpret_cast<const char*>(&v) + first * sizeof(Real), sizeof half);
  return half;
#endif
}

template <int Lanes, typename Real>
inline VectorOf<Lanes / 2, Real> low_half(VectorOf<Lanes, Real> v) {
  return lanes_from<Lanes, 0, Real>(v, std::make_integer_sequence<int, Lanes / 2>());
}

template <int Lanes, typename Real>
inline VectorOf<Lanes / 2, Real> high_half(VectorOf<Lanes, Real> v) {
  return lanes_from<Lanes, Lanes / 2, Real>(v, std::make_integer_sequence<int, Lanes / 2>());
}

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

// The lanes of what comparing vectors gave that are set, as bits of a number.
template <int Lanes, typename Mask>
inline uint32_t set_lanes(Mask mask) {
  if constexpr (std::is_integral_v<Mask>) {
    return mask;
  } else {
    constexpr int kWide = sizeof(Mask) / Lanes;
    static_assert(kWide == 4 || kWide == 8);
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    if constexpr (sizeof(Mask) == 64)
      return kWide == 4 ? uint32_t(_mm512_movepi32_mask(reinterpreted<__m512i>(mask)))
                        : uint32_t(_mm512_movepi64_mask(reinterpreted<__m512i>(mask)));
#endif
#ifdef __AVX__
    if constexpr (sizeof(Mask) == 32)
      return kWide == 4 ? uint32_t(_mm256_movemask_ps(reinterpreted<__m256>(mask)))
                        : uint32_t(_mm256_movemask_pd(reinterpreted<__m256d>(mask)));
#endif
#ifdef __SSE2__
    if constexpr (sizeof(Mask) == 16)
      return kWide == 4 ? uint32_t(_mm_movemask_ps(reinterpreted<__m128>(mask)))
                        : uint32_t(_mm_movemask_pd(reinterpreted<__m128d>(mask)));
#endif
    uint32_t bits = 0;
    for (int k = 0; k < Lanes; ++k) bits |= uint32_t(mask[k] != 0) << k;
    return bits;
  }
}

// In which lanes two vectors differ, or one is NaN, in the form in which the processor gives it.
template <int Lanes, typename Real>
inline auto unequal(VectorOf<Lanes, Real> a, VectorOf<Lanes, Real> b) {
#ifdef __AVX512F__
  if constexpr (sizeof(a) == 64 && sizeof(Real) == 4)
    return _mm512_cmp_ps_mask(reinterpreted<__m512>(a), reinterpreted<__m512>(b), _CMP_NEQ_UQ);
  else if constexpr (sizeof(a) == 64)
    return _mm512_cmp_pd_mask(reinterpreted<__m512d>(a), reinterpreted<__m512d>(b), _CMP_NEQ_UQ);
  else
#endif
    return a != b;
}

// v, but 0 where `set`.
template <int Lanes, typename Real, typename Set>
inline VectorOf<Lanes, Real> without(VectorOf<Lanes, Real> v, Set set) {
#ifdef __AVX512F__
  if constexpr (sizeof(v) == 64 && sizeof(Real) == 4)
    return reinterpreted<decltype(v)>(_mm512_maskz_mov_ps(Set(~set), reinterpreted<__m512>(v)));
  else if constexpr (sizeof(v) == 64)
    return reinterpreted<decltype(v)>(_mm512_maskz_mov_pd(Set(~set), reinterpreted<__m512d>(v)));
  else
#endif
    return set ? VectorOf<Lanes, Real>{} : v;
}

// The lanes of v whose bits are set, one after the other from p on, where there is room for all.
template <int Lanes, typename Real>
inline void pack(Real* p, VectorOf<Lanes, Real> v, uint32_t lanes) {
#ifdef __AVX512F__
  // Compressed in a register and stored whole: storing what is compressed takes many times as long on some processors.
  if constexpr (sizeof(v) == 64 && sizeof(Real) == 4) {
    v = reinterpreted<decltype(v)>(_mm512_maskz_compress_ps(lanes, reinterpreted<__m512>(v)));
    return Simd<Real, Lanes>::store(p, v);
  } else if constexpr (sizeof(v) == 64) {
    v = reinterpreted<decltype(v)>(_mm512_maskz_compress_pd(lanes, reinterpreted<__m512d>(v)));
    return Simd<Real, Lanes>::store(p, v);
  }
#endif
#if defined(__AVX2__) && defined(__BMI2__)
  if constexpr (sizeof(v) == 32 && sizeof(Real) == 4) {  // the numbers of the lanes, a byte each, as places to take from
    const uint64_t bytes = _pdep_u64(lanes, 0x0101010101010101) * 0xff;
    const __m128i places = _mm_cvtsi64_si128(int64_t(_pext_u64(0x0706050403020100, bytes)));
    v = reinterpreted<decltype(v)>(
        _mm256_permutevar8x32_ps(reinterpreted<__m256>(v), _mm256_cvtepu8_epi32(places)));
    return Simd<Real, Lanes>::store(p, v);
  }
#endif
  Real all[Lanes];
  std::memcpy(all, &v, sizeof all);
  for (int k = 0; k < Lanes; ++k) *p = all[k], p += lanes >> k & 1;
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
