// Sums over a block are added to the sum over the sample, always in the same order, which keeps rounding errors small and
// results the same on any number of threads.
#include "perturb/ball/ball.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "perturb/ball/blocks.h"
#include "perturb/ball/largest.h"
#include "perturb/ball/open.h"
#include "perturb/ball/total.h"
#include "perturb/gradient_sums.h"

namespace dlbench {
namespace {

#if defined(__AVX512F__) && defined(__AVX512DQ__)
// AVX-512 rounds a single sum as it is told: down, and up where p is negative.
struct Towards {
  static constexpr int kDown = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
  static constexpr int kUp = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;

  __m512 operator()(__m512 x, __m512 p) const {
    const __mmask16 negative = _mm512_movepi32_mask(_mm512_castps_si512(p));
    return _mm512_mask_add_round_ps(_mm512_add_round_ps(x, p, kDown), negative, x, p, kUp);
  }
  __m512d operator()(__m512d x, __m512d p) const {
    const __mmask8 negative = _mm512_movepi64_mask(_mm512_castpd_si512(p));
    return _mm512_mask_add_round_pd(_mm512_add_round_pd(x, p, kDown), negative, x, p, kUp);
  }
};
#else
using Towards = TowardsByTwoSum;
#endif

// The sums of numbers of any kind.
template <typename Ball, typename Real, typename Box>
[[gnu::always_inline]] inline Sums sums_of(const Block<Real, Box>& block, Ball ball) {
  constexpr auto load = Lanes<Real>::load;
  constexpr auto cost_of = [](auto d) { return Ball::cost(d); };
  constexpr auto slope_of = [](auto d) { return Ball::slope(d); };
  Total<Real> cost, slope, reach;
  int64_t i = 0;
  for (; i + kLanes<Real> <= block.size; i += kLanes<Real>) {
    const auto [lower, upper] = block.box.from(i);
    const auto part = part_of(ball, load(block.v + i), load(block.x + i), lower, upper);
    cost.add(part.cost, cost_of);
    slope.add(part.slope, slope_of);
    reach.add(part.reach, cost_of);
  }
  Sums sums{cost.value(), slope.value(), reach.value()};
  for (; i < block.size; ++i) {
    const auto [lower, upper] = block.box.at(i);
    sums += sums_of<Ball>(part_of(ball, block.v[i], block.x[i], lower, upper));
  }
  return sums;
}

template <typename Ball, typename Real, typename Box>
void settle(const Block<Real, Box>& block, Ball ball) {
  const auto [v, x, box, first, size] = block;
  constexpr auto load = Lanes<Real>::load;
  int64_t i = 0;
  for (; i + kLanes<Real> <= size; i += kLanes<Real>) {
    const auto [lower, upper] = box.from(i);
    Lanes<Real>::store(v + i, settled(ball, load(v + i), load(x + i), lower, upper, Towards()));
  }
  for (; i < size; ++i) {
    const auto [lower, upper] = box.at(i);
    v[i] = settled(ball, v[i], x[i], lower, upper);
  }
}

// The same where numbers are finite, with fewer operations.
template <typename Ball, typename Real, typename Box>
void settle_plain(const Block<Real, Box>& block, Ball ball) {
  const auto [v, x, box, first, size] = block;
  constexpr auto load = Lanes<Real>::load;
  int64_t i = 0;
  for (; i + kLanes<Real> <= size; i += kLanes<Real>) {
    const auto [lower, upper] = box.from(i);
    Lanes<Real>::store(v + i, settled_plain(ball, load(v + i), load(x + i), lower, upper, Towards()));
  }
  for (; i < size; ++i) {
    const auto [lower, upper] = box.at(i);
    v[i] = settled_plain(ball, v[i], x[i], lower, upper);
  }
}

// ------------------------------------------------------------------------------------------------- a step, from its move

// A move is told a block before its numbers are asked for, and gives them moved: where they lie, and to the caller.
struct Stays {
  template <typename AnyBlock>
  void begin(const AnyBlock&) const {}

  template <typename Real, typename Box>
  auto from(const Block<Real, Box>& block, int64_t i) const {
    return Lanes<Real>::load(block.v + i);
  }
  template <typename Real, typename Box>
  Real at(const Block<Real, Box>& block, int64_t i) const {
    return block.v[i];
  }
};

// By a gradient of any type, for which a block is moved before it is looked at.
template <typename Format, typename Move>
struct MovesFirst : Stays {
  Move move;
  const typename Format::Bits* grad;

  MovesFirst(Move move, const typename Format::Bits* grad) : move(move), grad(grad) {}

  template <typename Real, typename Box>
  void begin(const Block<Real, Box>& block) const {
    const auto [v, x, box, first, size] = block;
    const typename Format::Bits* slopes = grad + first;
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) {
      const auto [lower, upper] = box.at(i);
      v[i] = move.template operator()<Format>(v[i], slopes[i], lower, upper);
    }
  }
};

// Moves a sample and brings it back into ball and box.
template <typename Ball, typename Real, typename Move>
void step(Sample<Real>& sample, double eps, const Move& move, Real* memory) {
  Open<Ball> open(memory, sample.size());
  sample.each_block([&](const auto& block) {
    move.begin(block);
    open.take(block, move);
  });
  Sums unchanged = open.unchanged();
  if (eps >= Ball::kLeastPlain && open.holds(unchanged)) {
    const double most = Ball::radius(eps).high;
    const Ball ball(solve<Ball>(eps, unchanged, [&](double multiplier) {
      const Sums sums = open.at(multiplier);
      if (sums.cost > most) open.leave(multiplier);
      return sums;
    }));
    return sample.each_block([&](const auto& block) { settle_plain(block, ball); });
  }
  const auto sums_at = [&](double multiplier) {
    Sums total{};
    sample.each_block([&](const auto& block) { total += sums_of(block, Ball(multiplier)); });
    return total;
  };
  const Ball ball(solve<Ball>(eps, sums_at(Ball::kUnchanged), sums_at));
  sample.each_block([&](const auto& block) { settle(block, ball); });
}

// ------------------------------------------------------------------------------------------------------ the L2 step

template <typename Format>
L2Move l2_move(const typename Format::Bits* grad, int64_t size, double step) {
  const double scale = scale_of<Format>(grad, size);
  const double squares = sum_over<Format>(grad, size, scale, [](double slope) { return slope * slope; });
  return {squares > 0 ? step / std::sqrt(squares) : 0, scale};
}

// The sum of squares of a gradient of the state's own type; not finite where one of them is not.
template <typename Real>
double plain_squares(const Real* grad, int64_t size) {
  Total<Real> total;
  int64_t i = 0;
  while (i + kRun<Real> * kLanes<Real> <= size) {
    typename Lanes<Real>::Vector squares{};
    for (const int64_t end = i + kRun<Real> * kLanes<Real>; i < end; i += kLanes<Real>) {
      const auto slope = Lanes<Real>::load(grad + i);
      squares += slope * slope;
    }
    total.add(squares);
  }
  double sum = total.value();
  for (; i < size; ++i) sum += double(grad[i]) * double(grad[i]);
  return sum;
}

// Whether gradients come in the state's own type.
template <typename Real, typename Format>
constexpr bool kOwn = std::is_same_v<Format, std::conditional_t<sizeof(Real) == 4, Binary32, Binary64>>;

// Along a gradient of the state's own type, where its norm and the rate are numbers far from the ends of that type.
template <typename Real>
class PlainL2Move : public Stays {
 public:
  PlainL2Move(const Real* grad, int64_t size, double step) : grad_(grad) {
    const double squares = plain_squares(grad, size);
    rate_ = static_cast<Real>(step / std::sqrt(squares));
    holds_ = squares > kLeast && squares < 1 / kLeast && std::fabs(rate_) > kLeast && std::fabs(rate_) < 1 / kLeast;
  }

  explicit operator bool() const { return holds_; }

  template <typename Box>
  auto from(const Block<Real, Box>& block, int64_t i) const {
    const auto v = Lanes<Real>::load(block.v + i) + rate_ * Lanes<Real>::load(grad_ + block.first + i);
    Lanes<Real>::store(block.v + i, v);
    return v;
  }
  template <typename Box>
  Real at(const Block<Real, Box>& block, int64_t i) const {
    return block.v[i] += rate_ * grad_[block.first + i];
  }

 private:
  static constexpr double kLeast = sizeof(Real) == 4 ? 0x1p-80 : 0x1p-800;
  const Real* grad_;
  Real rate_;
  bool holds_;
};

// ------------------------------------------------------------------------------------------------------ the L1 step

template <typename Format, typename Real, typename Box>
void write_keys(const Block<Real, Box>& block, const typename Format::Bits* grad, bool descend,
                typename Format::Bits* keys) {
  using Move = L1Move<typename Format::Bits>;
  const auto [v, x, box, first, size] = block;
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const auto [lower, upper] = box.at(i);
    keys[i] = Move::template key<Format>(v[i], grad[i], descend, lower, upper);
  }
}

// The coordinates that move, and how far each.
template <typename Real, typename Bits>
L1Move<Bits> l1_move(const Bits* keys, int64_t size, int64_t k, double step, Bits* between) {
  const Largest<Bits> found = largest(keys, size, k, between);
  const Bits least = std::max(found.least, Bits(1));
  const int64_t moving = found.least == least ? found.count : count_at_least(keys, size, least);
  return {least, share_of<Real>(step, moving)};
}

// By a gradient of the state's own type, whose keys are at hand.
template <typename Real, typename Bits>
struct PlainL1Move : Stays {
  L1Move<Bits> move;
  const Bits *keys, *grad;

  PlainL1Move(L1Move<Bits> move, const Bits* keys, const Bits* grad) : move(move), keys(keys), grad(grad) {}

  template <typename Box>
  auto from(const Block<Real, Box>& block, int64_t i) const {
    using Words = VectorOf<kLanes<Real>, Bits>;
    using Vector = typename Lanes<Real>::Vector;
    constexpr auto words = Simd<Bits, kLanes<Real>>::load;
    constexpr Bits sign_bit = Bits(1) << (8 * sizeof(Bits) - 1);
    const Vector each = Vector() + static_cast<Real>(move.each), v = Lanes<Real>::load(block.v + i);
    const Words turned = same_bits<Words>(each) ^ (words(grad + block.first + i) & sign_bit);
    const Vector z = words(keys + block.first + i) >= move.least ? v + same_bits<Vector>(turned) : v;
    Lanes<Real>::store(block.v + i, z);
    return z;
  }
  template <typename Box>
  Real at(const Block<Real, Box>& block, int64_t i) const {
    const bool moves = keys[block.first + i] >= move.least, down = grad[block.first + i] >> (8 * sizeof(Bits) - 1);
    const Real each = static_cast<Real>(move.each);
    return block.v[i] += moves ? (down ? -each : each) : Real(0);
  }
};

}  // namespace

template <typename Real>
int64_t memory_for(int64_t size) {
  return Open<L2<Real>>::memory(size);
}

template <typename Format, typename Real>
void l2_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                 int64_t sample, Real* memory) {
  const Limits<Real> own = limits.at(sample, 0);
  grad += sample * batch.size();
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  if constexpr (kOwn<Real, Format>) {
    const PlainL2Move<Real> move(reinterpret_cast<const Real*>(grad), batch.size(), own.step);
    if (move) return step<L2<Real>>(blocks, own.eps, move, memory);
  }
  const L2Move move = l2_move<Format>(grad, batch.size(), own.step);
  step<L2<Real>>(blocks, own.eps, MovesFirst<Format, L2Move>(move, grad), memory);
}

template <typename Format, typename Real>
void l1_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                 Sparsity sparsity, int64_t sample, Real* memory, typename Format::Bits* keys) {
  using Move = L1Move<typename Format::Bits>;
  const Limits<Real> own = limits.at(sample, 0);
  grad += sample * batch.size();
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  blocks.each_block([&](const auto& block) {
    write_keys<Format>(block, grad + block.first, own.step < 0, keys + block.first);
  });
  const int64_t k = coordinates(sparsity.at(sample), batch.size());
  const Move move = l1_move<Real>(keys, batch.size(), k, own.step, keys + batch.size());
  if constexpr (kOwn<Real, Format>)
    step<L1<Real>>(blocks, own.eps, PlainL1Move<Real, typename Format::Bits>(move, keys, grad), memory);
  else
    step<L1<Real>>(blocks, own.eps, MovesFirst<Format, Move>(move, grad), memory);
}

template <typename Ball>
void project_cpu(typename Ball::Real* x_adv, const typename Ball::Real* x, Batch batch,
                 BallLimits<typename Ball::Real> limits, int64_t sample, typename Ball::Real* memory) {
  using Real = typename Ball::Real;
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  step<Ball>(blocks, limits.at(sample, 0).eps, Stays(), memory);
}

#define DLBENCH_INSTANTIATE(Real, Format)                                                                        \
  template void l2_step_cpu<Format>(Real*, const Real*, const Format::Bits*, Batch, BallLimits<Real>, int64_t, Real*); \
  template void l1_step_cpu<Format>(Real*, const Real*, const Format::Bits*, Batch, BallLimits<Real>, Sparsity, int64_t, \
                                    Real*, Format::Bits*);
DLBENCH_INSTANTIATE(float, Binary16)
DLBENCH_INSTANTIATE(float, Brain16)
DLBENCH_INSTANTIATE(float, Binary32)
DLBENCH_INSTANTIATE(float, Binary64)
DLBENCH_INSTANTIATE(double, Binary16)
DLBENCH_INSTANTIATE(double, Brain16)
DLBENCH_INSTANTIATE(double, Binary32)
DLBENCH_INSTANTIATE(double, Binary64)
template int64_t memory_for<float>(int64_t);
template int64_t memory_for<double>(int64_t);
template void project_cpu<L2<float>>(float*, const float*, Batch, BallLimits<float>, int64_t, float*);
template void project_cpu<L2<double>>(double*, const double*, Batch, BallLimits<double>, int64_t, double*);
template void project_cpu<L1<float>>(float*, const float*, Batch, BallLimits<float>, int64_t, float*);
template void project_cpu<L1<double>>(double*, const double*, Batch, BallLimits<double>, int64_t, double*);

}  // namespace dlbench
