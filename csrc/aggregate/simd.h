// Vectors of the machine's width and narrower, by the compilers' own vector extension, which knows every machine.
#pragma once
#include <cstdint>

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

}  // namespace dlbench
