// A sample is gone over block by block, each small enough for the first cache: sums over a block are added to the sum
// over the sample, always in the same order, which keeps rounding errors small and results the same on any number of
// threads.
#include "perturb/ball/ball.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>

#include "simd.h"
#include "perturb/gradient_sums.h"

namespace dlbench {
namespace {

constexpr int64_t kBlock = 2048;

template <typename Real>
using Lanes = Simd<Real, kLanes<Real>>;

// Lower and upper ends of the box, of one element or of a vector of them.
template <typename Numbers>
struct Ends {
  Numbers lower, upper;
};

// A box that is the same for all elements of a block.
template <typename Real>
struct OneBox {
  using Vector = typename Lanes<Real>::Vector;
  Ends<Real> all;

  Ends<Real> at(int64_t) const { return all; }
  Ends<Vector> from(int64_t) const { return {Vector{} + all.lower, Vector{} + all.upper}; }
};

// A box written out element by element, so that loops need not know of channels.
template <typename Real>
struct WrittenBox {
  using Vector = typename Lanes<Real>::Vector;
  const Real *lower, *upper;

  Ends<Real> at(int64_t i) const { return {lower[i], upper[i]}; }
  Ends<Vector> from(int64_t i) const { return {Lanes<Real>::load(lower + i), Lanes<Real>::load(upper + i)}; }
};

// Part of a sample.
template <typename Real, typename Box>
struct Block {
  Real* v;
  const Real* x;
  Box box;
  int64_t first, size;
};

template <typename Real>
class Sample {
 public:
  Sample(Real* x_adv, const Real* x, const Batch& batch, const BallLimits<Real>& limits, int64_t sample)
      : batch_(batch),
        limits_(limits),
        sample_(sample),
        v_(x_adv + sample * batch.size()),
        x_(x + sample * batch.size()) {
    if (!limits.by_channel()) return;
    if (batch.channels_last) period_ = batch.channels;
    const int64_t length = std::min(kBlock, batch.size()) + period_;
    lower_.reset(new Real[length]), upper_.reset(new Real[length]);
    for (int64_t channel = 0; channel < period_; ++channel) put(channel, 1, channel);
    for (int64_t written = period_; written > 0 && written < length; written *= 2) {
      const int64_t more = std::min(written, length - written);
      std::copy_n(lower_.get(), more, lower_.get() + written);
      std::copy_n(upper_.get(), more, upper_.get() + written);
    }
  }

  template <typename F>
  void each_block(F f) {
    const Limits<Real> here = limits_.at(sample_, 0);
    for (int64_t first = 0; first < batch_.size(); first += kBlock) {
      const int64_t size = std::min(kBlock, batch_.size() - first), shift = period_ > 0 ? first % period_ : 0;
      if (!limits_.by_channel()) {
        f(Block<Real, OneBox<Real>>{v_ + first, x_ + first, {{here.lower, here.upper}}, first, size});
        continue;
      }
      if (period_ == 0) write_planes(first, size);
      const WrittenBox<Real> box{lower_.get() + shift, upper_.get() + shift};
      f(Block<Real, WrittenBox<Real>>{v_ + first, x_ + first, box, first, size});
    }
  }

 private:
  void put(int64_t i, int64_t count, int64_t channel) {
    const Limits<Real> here = limits_.at(sample_, channel);
    std::fill_n(lower_.get() + i, count, here.lower);
    std::fill_n(upper_.get() + i, count, here.upper);
  }

  void write_planes(int64_t first, int64_t size) {
    int64_t channel = first / batch_.inner, left = batch_.inner - first % batch_.inner;
    for (int64_t i = 0; i < size; ++channel, left = batch_.inner) {
      const int64_t count = std::min(left, size - i);
      put(i, count, channel);
      i += count;
    }
  }

  Batch batch_;
  BallLimits<Real> limits_;
  int64_t sample_;
  Real* v_;
  const Real* x_;
  int64_t period_ = 0;  // after which the box repeats itself; 0 for channels one after the other, written each block
  std::unique_ptr<Real[]> lower_, upper_;
};

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

// A sum of doubles, a vector of numbers at a time.
template <typename Real>
class Total {
 public:
  template <typename Term>
  void add(typename Lanes<Real>::Vector numbers, Term term) {
    const auto wide = __builtin_convertvector(numbers, typename Simd<double, kLanes<Real>>::Vector);
    Doubles parts[kParts];
    std::memcpy(parts, &wide, sizeof parts);
    for (int i = 0; i < kParts; ++i) sums_[i] += term(parts[i]);
  }
  void add(typename Lanes<Real>::Vector numbers) {
    add(numbers, [](Doubles part) { return part; });
  }

  double value() const {
    double sum = 0;
    for (const Doubles& part : sums_)
      for (int lane = 0; lane < kLanes<double>; ++lane) sum += part[lane];
    return sum;
  }

 private:
  using Doubles = Lanes<double>::Vector;
  static constexpr int kParts = sizeof(double) / sizeof(Real);
  Doubles sums_[kParts] = {};
};

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

// How many numbers are added in their own type before the sum goes on in double: in float, four rounding errors of a
// square's are half of what lies between the radii.
template <typename Real>
constexpr int kRun = sizeof(Real) == 4 ? 4 : 1;

// The sums of finite numbers, with fewer operations. They are not finite where one of the numbers, or a square, is not.
// What the sample could reach is asked for once only; otherwise that sum is 0.
template <bool reaching, typename Ball, typename Real, typename Box>
[[gnu::always_inline]] inline Sums plain_sums_of(const Block<Real, Box>& block, Ball ball) {
  constexpr auto load = Lanes<Real>::load;
  Total<Real> cost, slope, reach;
  int64_t i = 0;
  while (i + kRun<Real> * kLanes<Real> <= block.size) {
    typename Lanes<Real>::Vector costs{}, slopes{}, reaches{};
    for (const int64_t end = i + kRun<Real> * kLanes<Real>; i < end; i += kLanes<Real>) {
      const auto [lower, upper] = block.box.from(i);
      const auto x = load(block.x + i);
      const auto part = part_of(ball, load(block.v + i) - x, lower - x, upper - x);
      costs += Ball::cost(part.cost);
      slopes += Ball::slope(part.slope);
      if constexpr (reaching) reaches += Ball::cost(part.reach);
    }
    cost.add(costs);
    slope.add(slopes);
    if constexpr (reaching) reach.add(reaches);
  }
  Sums sums{cost.value(), slope.value(), reach.value()};
  for (; i < block.size; ++i) {
    const auto [lower, upper] = block.box.at(i);
    const Real x = block.x[i];
    sums += sums_of<Ball>(part_of(ball, block.v[i] - x, lower - x, upper - x));
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

template <typename Format, typename Move, typename Real, typename Box>
void move_by(const Block<Real, Box>& block, Move move, const typename Format::Bits* grad) {
  const auto [v, x, box, first, size] = block;
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const auto [lower, upper] = box.at(i);
    v[i] = move.template operator()<Format>(v[i], grad[i], lower, upper);
  }
}

// Moves a sample, block by block by `move`, and brings it back into ball and box.
template <typename Ball, typename Real, typename MoveBlock>
void step(Sample<Real>& sample, double eps, MoveBlock move) {
  Sums unchanged{};
  sample.each_block([&](const auto& block) {
    move(block);
    unchanged += plain_sums_of<true>(block, Ball(Ball::kUnchanged));
  });
  const bool plain = eps >= Ball::kLeastPlain && std::isfinite(unchanged.reach) && std::isfinite(unchanged.cost);
  const auto sums_at = [&](Ball trial) {
    Sums total{};
    sample.each_block([&](const auto& block) {
      total += plain ? plain_sums_of<false>(block, trial) : sums_of(block, trial);
    });
    return total;
  };
  if (!plain) unchanged = sums_at(Ball(Ball::kUnchanged));
  const Ball ball(solve<Ball>(eps, unchanged, sums_at));
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
class PlainL2Move {
 public:
  PlainL2Move(const Real* grad, int64_t size, double step) : grad_(grad) {
    const double squares = plain_squares(grad, size);
    rate_ = static_cast<Real>(step / std::sqrt(squares));
    holds_ = squares > kLeast && squares < 1 / kLeast && std::fabs(rate_) > kLeast && std::fabs(rate_) < 1 / kLeast;
  }

  explicit operator bool() const { return holds_; }

  template <typename Box>
  void operator()(const Block<Real, Box>& block) const {
    const Real* grad = grad_ + block.first;
#pragma GCC ivdep
    for (int64_t i = 0; i < block.size; ++i) block.v[i] += rate_ * grad[i];
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

constexpr int kDigit = 8;     // bits looked at in one pass
constexpr int kTables = 4;    // neighbours, which are often alike, are counted apart, so that none waits for the last
constexpr int64_t kFew = 64;  // keys that are sorted out at once
constexpr int64_t kSampled = 1024;  // keys above which a sample pays

// How often each digit occurs.
template <typename Bits>
void count_digits(const Bits* keys, int64_t n, int shift, int64_t (&counts)[1 << kDigit]) {
  int64_t tables[kTables][1 << kDigit] = {};
  const auto digit = [&](int64_t i) { return (keys[i] >> shift) % (1 << kDigit); };
  int64_t i = 0;
  for (; i + kTables <= n; i += kTables)
    for (int t = 0; t < kTables; ++t) ++tables[t][digit(i + t)];
  for (; i < n; ++i) ++tables[0][digit(i)];
  for (int d = 0; d < 1 << kDigit; ++d) counts[d] = tables[0][d] + tables[1][d] + tables[2][d] + tables[3][d];
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

// The keys among which the k-th largest of n is, and how many are larger than these. A sample of n^(2/3) keys tells
// between which two it very likely lies (Floyd & Rivest 1975), so that most are done with after two comparisons. Where
// it does not, all are among which it is. `between` has room for n keys, of which the sample takes some first.
template <typename Bits>
Sorted narrow(const Bits* keys, int64_t n, int64_t k, Bits* between) {
  const int64_t apart = int64_t(std::cbrt(double(n))), count = n / apart;
  for (int64_t i = 0; i < count; ++i) between[i] = keys[i * apart];
  const double share = double(k) / double(n), rank = share * double(count);
  const double spread = 3 * std::sqrt(rank * (1 - share)) + 2;
  const int64_t above = int64_t(rank - spread), below = int64_t(rank + spread);
  Bits low = 0, high = ~Bits(0);
  Bits* end = between + count;
  if (below < count) {
    std::nth_element(between, between + below, end, std::greater<Bits>());
    low = between[below], end = between + below;
  }
  if (above > 0) {
    std::nth_element(between, between + above, end, std::greater<Bits>());
    high = between[above];
  }
  const Sorted found = sort_out(keys, n, low, high, between);
  if (found.larger < k && k <= found.larger + found.between) return found;
  std::copy_n(keys, n, between);
  return {n, 0};
}

// The k-th largest of n keys, digit by digit from the highest, and how many are positive and at least as large. After a
// pass only the keys that share its digit are left, moved to the front; a few are put in order as they are. Behind the
// keys there is room for as many.
template <typename Bits>
L1Move<Bits> l1_move(Bits* keys, int64_t n, int64_t k, double step) {
  int64_t larger = 0;
  if (n > kSampled) {
    Bits* between = keys + n;
    const Sorted left = narrow(keys, n, k, between);
    keys = between, n = left.between, larger = left.larger;
  }
  for (int shift = 8 * sizeof(Bits); shift > 0 && n > kFew;) {
    shift -= kDigit;
    int64_t counts[1 << kDigit];
    count_digits(keys, n, shift, counts);
    Bits digit = (1 << kDigit) - 1;
    while (larger + counts[digit] < k) larger += counts[digit--];
    int64_t left = 0;
    for (int64_t i = 0; i < n; ++i) {
      const Bits key = keys[i];
      keys[left] = key;
      left += (key >> shift) % (1 << kDigit) == digit;
    }
    n = left;
  }
  std::nth_element(keys, keys + (k - larger - 1), keys + n, std::greater<Bits>());
  const Bits least = std::max(keys[k - larger - 1], Bits(1));
  const int64_t moving = larger + std::count_if(keys, keys + n, [&](Bits key) { return key >= least; });
  return {least, moving > 0 ? step / double(moving) : 0};
}

}  // namespace

template <typename Format, typename Real>
void l2_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                 int64_t sample) {
  const Limits<Real> own = limits.at(sample, 0);
  grad += sample * batch.size();
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  if constexpr (kOwn<Real, Format>) {
    const PlainL2Move<Real> move(reinterpret_cast<const Real*>(grad), batch.size(), own.step);
    if (move) return step<L2<Real>>(blocks, own.eps, move);
  }
  const L2Move move = l2_move<Format>(grad, batch.size(), own.step);
  step<L2<Real>>(blocks, own.eps, [&](const auto& block) { move_by<Format>(block, move, grad + block.first); });
}

template <typename Format, typename Real>
void l1_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                 Sparsity sparsity, int64_t sample, typename Format::Bits* keys) {
  const Limits<Real> own = limits.at(sample, 0);
  grad += sample * batch.size();
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  blocks.each_block([&](const auto& block) {
    write_keys<Format>(block, grad + block.first, own.step < 0, keys + block.first);
  });
  const auto move = l1_move(keys, batch.size(), coordinates(sparsity.at(sample), batch.size()), own.step);
  step<L1<Real>>(blocks, own.eps, [&](const auto& block) { move_by<Format>(block, move, grad + block.first); });
}

template <typename Ball>
void project_cpu(typename Ball::Real* x_adv, const typename Ball::Real* x, Batch batch,
                 BallLimits<typename Ball::Real> limits, int64_t sample) {
  using Real = typename Ball::Real;
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  step<Ball>(blocks, limits.at(sample, 0).eps, [](const auto&) {});
}

#define DLBENCH_INSTANTIATE(Real, Format)                                                                        \
  template void l2_step_cpu<Format>(Real*, const Real*, const Format::Bits*, Batch, BallLimits<Real>, int64_t);  \
  template void l1_step_cpu<Format>(Real*, const Real*, const Format::Bits*, Batch, BallLimits<Real>, Sparsity, int64_t, \
                                    Format::Bits*);
DLBENCH_INSTANTIATE(float, Binary16)
DLBENCH_INSTANTIATE(float, Brain16)
DLBENCH_INSTANTIATE(float, Binary32)
DLBENCH_INSTANTIATE(float, Binary64)
DLBENCH_INSTANTIATE(double, Binary16)
DLBENCH_INSTANTIATE(double, Brain16)
DLBENCH_INSTANTIATE(double, Binary32)
DLBENCH_INSTANTIATE(double, Binary64)
template void project_cpu<L2<float>>(float*, const float*, Batch, BallLimits<float>, int64_t);
template void project_cpu<L2<double>>(double*, const double*, Batch, BallLimits<double>, int64_t);
template void project_cpu<L1<float>>(float*, const float*, Batch, BallLimits<float>, int64_t);
template void project_cpu<L1<double>>(double*, const double*, Batch, BallLimits<double>, int64_t);

}  // namespace dlbench
