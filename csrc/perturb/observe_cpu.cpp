#include "perturb/observe.h"

namespace dlbench {
namespace {

template <typename Real>
struct WordOf;
template <>
struct WordOf<float> {
  using type = uint32_t;
};
template <>
struct WordOf<double> {
  using type = uint64_t;
};

}  // namespace

template <typename Real>
uint64_t hash_cpu(const Real* state, int64_t place, int64_t n) {
  using Word = typename WordOf<Real>::type;
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    Word bits;
    std::memcpy(&bits, state + i, sizeof bits);
    sum += hash_share(bits, place + i);
  }
  return sum;
}

template <typename Bits>
void tally_cpu(const Bits* grad, int64_t n, FloatBits<Bits> kind, int64_t tally[kKinds]) {
  for (int which = 0; which < kKinds; ++which) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) count += is_kind(which, grad[i], kind);
    __atomic_fetch_add(tally + which, count, __ATOMIC_RELAXED);
  }
}

template uint64_t hash_cpu(const float*, int64_t, int64_t);
template uint64_t hash_cpu(const double*, int64_t, int64_t);
template void tally_cpu(const uint16_t*, int64_t, FloatBits<uint16_t>, int64_t*);
template void tally_cpu(const uint32_t*, int64_t, FloatBits<uint32_t>, int64_t*);
template void tally_cpu(const uint64_t*, int64_t, FloatBits<uint64_t>, int64_t*);

}  // namespace dlbench
