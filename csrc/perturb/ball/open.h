// The coordinates of a sample of which its multiplier alone does not tell what they cost: in the L2 ball those that the box
// stops, in the L1 ball those that it lets move at all. All others cost s times one number, or nothing. So a sample is
// gone over once, whatever Newton's method asks for then; of an image, few coordinates are open.
//
// It takes numbers that are finite, whose squares are, and an x in the box; otherwise it says so.
#pragma once
#include <cmath>

#include "perturb/ball/blocks.h"
#include "perturb/ball/total.h"

namespace dlbench {

template <typename Ball>
class Open {
  using Real = typename Ball::Real;
  static constexpr int kWide = kLanes<Real>, kStretch = kRun<Real> * kWide;
  using Vector = VectorOf<kWide, Real>;
  static constexpr auto load = Simd<Real, kWide>::load;

 public:
  // Of how many numbers there must be memory for samples of that size.
  static int64_t memory(int64_t size) { return 2 * (size + kStretch); }

  Open(Real* memory, int64_t size) : away_(memory), room_(memory + size + kStretch) {}

  // A block's numbers, which `moved` moves first.
  template <typename Box, typename Moved>
  void take(const Block<Real, Box>& block, const Moved& moved) {
    int64_t count = count_, i = 0;  // members would be read again after every store
    BitsOf<Vector> outside = {};
    Total<Real> free = free_;
    while (i + kStretch <= block.size) {
      Vector run = {};
      for (const int64_t end = i + kStretch; i < end; i += kWide) {
        const auto [lower, upper] = block.box.from(i);
        const Vector v = moved.from(block, i), x = load(block.x + i) + Vector(), z = held(v, lower, upper), d = v - x;
        outside |= same_bits<BitsOf<Vector>>(x - lower) | same_bits<BitsOf<Vector>>(upper - x);  // signs; x is not -0
        const auto open = unequal<kWide, Real>(z, Ball::told(v, x));
        run += Ball::free_cost(without<kWide, Real>(d, open));
        if (const uint32_t lanes = set_lanes<kWide>(open)) {
          pack<kWide>(away_ + count, size_of(d), lanes);
          pack<kWide>(room_ + count, size_of(z - x), lanes);
          count += __builtin_popcount(lanes);
        }
      }
      free.add(run);
    }
    double rest = 0;
    for (; i < block.size; ++i) {
      const auto [lower, upper] = block.box.at(i);
      const Real v = moved.at(block, i), x = block.x[i], z = held(v, lower, upper), d = v - x;
      outside_ |= x < lower || x > upper;
      const bool open = z != Ball::told(v, x);
      away_[count] = size_of(d), room_[count] = size_of(z - x);
      count += open;
      rest += Ball::free_cost(open ? Real(0) : d);  // infinite where the square is no finite Real
    }
    count_ = count, free_ = free, rest_ += rest;
    outside_ |= any<kWide>(outside < 0);
  }

  // What the sample would cost where it is. Not to be trusted unless `holds` is asked, too.
  Sums unchanged() {
    free_cost_ = free_.value() + rest_;
    Sums sums = sums_at<true>(Ball(Ball::kUnchanged));
    return sums += {free_cost_, free_cost_, free_cost_};
  }

  bool holds(const Sums& unchanged) const {
    return !outside_ && std::isfinite(unchanged.reach) && std::isfinite(unchanged.cost);
  }

  // What it costs with a multiplier.
  Sums at(double multiplier) {
    Sums sums = sums_at<false>(Ball(multiplier));
    return sums += {multiplier * free_cost_, free_cost_, 0};
  }

  // A multiplier that leaves the sample outside of the ball, after which some coordinates may never count again.
  void leave(double multiplier) {
    if constexpr (!Ball::kLeaves) return;
    int64_t kept = 0;
    finish_stretch();
    for (int64_t i = 0; i < count_; i += kWide) {
      const Vector away = load(away_ + i), room = load(room_ + i);
      const uint32_t lanes = set_lanes<kWide>(Ball(multiplier).pulled(away) > Vector());
      pack<kWide>(away_ + kept, away, lanes), pack<kWide>(room_ + kept, room, lanes);
      kept += __builtin_popcount(lanes);
    }
    count_ = kept;
  }

 private:
  void finish_stretch() {  // with coordinates that cost nothing
    std::fill_n(away_ + count_, kStretch, Real(0)), std::fill_n(room_ + count_, kStretch, Real(0));
  }

  template <bool reaching>
  Sums sums_at(Ball ball) {
    Total<Real> cost, slope, reach;
    finish_stretch();
    for (int64_t i = 0; i < count_;) {
      Vector costs = {}, slopes = {}, reaches = {};
      for (const int64_t end = i + kStretch; i < end; i += kWide) {
        const auto part = part_of(ball, load(away_ + i), Vector(), load(room_ + i));
        costs += Ball::cost(part.cost);
        slopes += Ball::slope(part.slope);
        if constexpr (reaching) reaches += Ball::cost(part.reach);
      }
      cost.add(costs), slope.add(slopes);
      if constexpr (reaching) reach.add(reaches);
    }
    return {cost.value(), slope.value(), reach.value()};
  }

  Real *away_, *room_;  // how far a coordinate lies from x, and how far the box lets it
  int64_t count_ = 0;
  Total<Real> free_;
  double rest_ = 0, free_cost_ = 0;
  bool outside_ = false;
};

}  // namespace dlbench
