// A sample is gone over block by block, each small enough for the first cache: sums over a block are added to the sum
// over the sample, always in the same order, which keeps rounding errors small and results the same on any number of
// threads.
#include "perturb/ball/ball.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "aggregate/simd.h"
#include "perturb/gradient_sums.h"

namespace dlbench {
namespace {

constexpr int64_t kBlock = 2048;

// Part of a sample, with the box written out element by element, so that loops need not know of channels.
template <typename Real>
struct Block {
  Real* v;
  const Real* x;
  const Real *lower, *upper;
  int64_t first, size;
};

template <typename Real>
class Sample {
 public:
  Sample(Real* x_adv, const Real* x, const Batch& batch, const BallLimits<Real>& limits, int64_t sample)
      : batch_(batch), limits_(limits), sample_(sample), v_(x_adv + sample * batch.size()), x_(x + sample * batch.size()) {
    if (!limits.by_channel()) period_ = 1;
    if (limits.by_channel() && batch.channels_last) period_ = batch.channels;
    const int64_t length = std::min(kBlock, batch.size()) + period_;
    lower_.resize(length), upper_.resize(length);
    for (int64_t channel = 0; channel < period_; ++channel) put(channel, 1, channel);
    for (int64_t written = period_; written > 0 && written < length; written *= 2) {
      const int64_t more = std::min(written, length - written);
      std::copy_n(lower_.data(), more, lower_.data() + written);
      std::copy_n(upper_.data(), more, upper_.data() + written);
    }
  }

  template <typename F>
  void each_block(F f) {
    for (int64_t first = 0; first < batch_.size(); first += kBlock) {
      const int64_t size = std::min(kBlock, batch_.size() - first), shift = period_ > 0 ? first % period_ : 0;
      if (period_ == 0) write_planes(first, size);
      f(Block<Real>{v_ + first, x_ + first, lower_.data() + shift, upper_.data() + shift, first, size});
    }
  }

 private:
  void put(int64_t i, int64_t count, int64_t channel) {
    const Limits<Real> here = limits_.at(sample_, channel);
    std::fill_n(lower_.data() + i, count, here.lower);
    std::fill_n(upper_.data() + i, count, here.upper);
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
  int64_t period_ = 0;  // after which the box repeats itself; 0 for channels one after the other, written for each block
  std::vector<Real> lower_, upper_;
};

template <typename Real>
using Lanes = Simd<Real, kLanes<Real>>;

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

template <typename Ball, typename Real>
[[gnu::always_inline]] inline Sums sums_of(const Block<Real>& block, Ball ball) {
  constexpr auto load = Lanes<Real>::load;
  constexpr auto cost_of = [](auto d) { return Ball::cost(d); };
  constexpr auto slope_of = [](auto d) { return Ball::slope(d); };
  Total<Real> cost, slope, reach;
  int64_t i = 0;
  for (; i + kLanes<Real> <= block.size; i += kLanes<Real>) {
    const auto part = part_of(ball, load(block.v + i), load(block.x + i), load(block.lower + i), load(block.upper + i));
    cost.add(part.cost, cost_of);
    slope.add(part.slope, slope_of);
    reach.add(part.reach, cost_of);
  }
  Sums sums{cost.value(), slope.value(), reach.value()};
  for (; i < block.size; ++i)
    sums += sums_of<Ball>(part_of(ball, block.v[i], block.x[i], block.lower[i], block.upper[i]));
  return sums;
}

template <typename Ball, typename Real>
void settle(const Block<Real>& block, Ball ball) {
  const auto [v, x, lower, upper, first, size] = block;
  constexpr auto load = Lanes<Real>::load;
  int64_t i = 0;
  for (; i + kLanes<Real> <= size; i += kLanes<Real>)
    Lanes<Real>::store(v + i, settled(ball, load(v + i), load(x + i), load(lower + i), load(upper + i)));
  for (; i < size; ++i) v[i] = settled(ball, v[i], x[i], lower[i], upper[i]);
}

template <typename Format, typename Move, typename Real>
void move_by(const Block<Real>& block, Move move, const typename Format::Bits* grad) {
  const auto [v, x, lower, upper, first, size] = block;
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) v[i] = move.template operator()<Format>(v[i], grad[i], lower[i], upper[i]);
}

// Moves a sample, block by block by `move`, and brings it back into ball and box.
template <typename Ball, typename Real, typename MoveBlock>
void step(Sample<Real>& sample, double eps, MoveBlock move) {
  Sums unchanged{};
  sample.each_block([&](const Block<Real>& block) {
    move(block);
    unchanged += sums_of(block, Ball(Ball::kUnchanged));
  });
  const Ball ball(solve<Ball>(eps, unchanged, [&](Ball trial) {
    Sums total{};
    sample.each_block([&](const Block<Real>& block) { total += sums_of(block, trial); });
    return total;
  }));
  sample.each_block([&](const Block<Real>& block) { settle(block, ball); });
}

// ------------------------------------------------------------------------------------------------------ the L2 step

template <typename Format>
L2Move l2_move(const typename Format::Bits* grad, int64_t size, double step) {
  const double scale = scale_of<Format>(grad, size);
  const double squares = sum_over<Format>(grad, size, scale, [](double slope) { return slope * slope; });
  return {squares > 0 ? step / std::sqrt(squares) : 0, scale};
}

// ------------------------------------------------------------------------------------------------------ the L1 step

template <typename Format, typename Real>
void write_keys(const Block<Real>& block, const typename Format::Bits* grad, bool descend, typename Format::Bits* keys) {
  using Move = L1Move<typename Format::Bits>;
  const auto [v, x, lower, upper, first, size] = block;
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) keys[i] = Move::template key<Format>(v[i], grad[i], descend, lower[i], upper[i]);
}

constexpr int kDigit = 11;  // bits looked at in one pass

// The k-th largest of n keys, digit by digit from the highest, and how many are positive and at least as large. After a
// pass only the keys that share its digit are left, moved to the front.
template <typename Bits>
L1Move<Bits> l1_move(Bits* keys, int64_t n, int64_t k, double step) {
  Bits least = 0;
  int64_t larger = 0;
  for (int end = 8 * sizeof(Bits); end > 0;) {
    const int shift = std::max(0, end - kDigit);
    const Bits mask = static_cast<Bits>((uint64_t(1) << (end - shift)) - 1);
    int64_t counts[1 << kDigit] = {};
    for (int64_t i = 0; i < n; ++i) ++counts[(keys[i] >> shift) & mask];
    int digit = mask;
    while (larger + counts[digit] < k) larger += counts[digit--];
    int64_t left = 0;
    for (int64_t i = 0; i < n; ++i) {
      const Bits key = keys[i];
      keys[left] = key;
      left += ((key >> shift) & mask) == static_cast<Bits>(digit);
    }
    n = left;
    least |= static_cast<Bits>(digit) << shift;
    end = shift;
  }
  const int64_t moving = least > 0 ? larger + n : larger;
  return {std::max(least, Bits(1)), moving > 0 ? step / double(moving) : 0};
}

}  // namespace

template <typename Format, typename Real>
void l2_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                 int64_t sample) {
  const Limits<Real> own = limits.at(sample, 0);
  grad += sample * batch.size();
  const L2Move move = l2_move<Format>(grad, batch.size(), own.step);
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  step<L2<Real>>(blocks, own.eps, [&](const Block<Real>& block) { move_by<Format>(block, move, grad + block.first); });
}

template <typename Format, typename Real>
void l1_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                 Sparsity sparsity, int64_t sample, typename Format::Bits* keys) {
  const Limits<Real> own = limits.at(sample, 0);
  grad += sample * batch.size();
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  blocks.each_block([&](const Block<Real>& block) {
    write_keys<Format>(block, grad + block.first, own.step < 0, keys + block.first);
  });
  const auto move = l1_move(keys, batch.size(), coordinates(sparsity.at(sample), batch.size()), own.step);
  step<L1<Real>>(blocks, own.eps, [&](const Block<Real>& block) { move_by<Format>(block, move, grad + block.first); });
}

template <typename Ball>
void project_cpu(typename Ball::Real* x_adv, const typename Ball::Real* x, Batch batch,
                 BallLimits<typename Ball::Real> limits, int64_t sample) {
  using Real = typename Ball::Real;
  Sample<Real> blocks(x_adv, x, batch, limits, sample);
  step<Ball>(blocks, limits.at(sample, 0).eps, [](const Block<Real>&) {});
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
