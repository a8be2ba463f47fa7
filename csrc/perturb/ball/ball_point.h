// What a step and a projection do to one element, and how a sample's multiplier is found, for the CPU and the GPU alike.
//
// The point of ball and box that is nearest to v is, element by element,
//
//     z = clip(x + pulled(v - x), lower, upper)
//
// with one number for the whole sample: pulled(d) = t d with t in [0, 1] for the L2 ball, and for the L1 ball the soft
// threshold sign(d) max(|d| - theta, 0) with theta >= 0 (the Karush-Kuhn-Tucker conditions; without a box these are the
// rescaling of a vector, and Duchi et al., ICML 2008). What a sample costs, sum (z - x)^2 or sum |z - x|, is a piecewise
// linear function of s = t^2, and of theta, so that Newton's method ends after a few passes over the sample, without
// sorting anything.
//
// Elements are computed in the type of the state, sums in double. Numbers is the type of the state or a vector of it.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "perturb/gradient.h"
#include "perturb/limits.h"
#include "portable.h"

namespace dlbench {

// ------------------------------------------------------------------------------------------- numbers, or vectors of them

// Integers as wide as Numbers; for a vector, what comparing two of them gives.
template <typename Numbers>
struct WordsFor {
  using type = decltype(Numbers() < Numbers());
};
template <>
struct WordsFor<float> {
  using type = int32_t;
};
template <>
struct WordsFor<double> {
  using type = int64_t;
};
template <typename Numbers>
using BitsOf = typename WordsFor<Numbers>::type;

template <typename Numbers>
DLBENCH_SHARED BitsOf<Numbers> sign_of(Numbers a) {
  return same_bits<BitsOf<Numbers>>(a) & same_bits<BitsOf<Numbers>>(-Numbers());
}

template <typename Numbers>
DLBENCH_SHARED Numbers size_of(Numbers a) {
  return same_bits<Numbers>(same_bits<BitsOf<Numbers>>(a) ^ sign_of(a));
}

template <typename Numbers>
DLBENCH_SHARED Numbers held(Numbers a, Numbers lower, Numbers upper) {  // NaN stays
  a = lower > a ? lower : a;  // as processors have it: of a NaN and another, the second
  return upper < a ? upper : a;
}

// x + p, rounded towards x: to nearest, and from there to the neighbour where Knuth's TwoSum tells that it went too far.
struct TowardsByTwoSum {
  template <typename Numbers>
  DLBENCH_SHARED Numbers operator()(Numbers x, Numbers p) const {
    const Numbers zero = {}, sum = x + p, p_seen = sum - x, lost = (x - (sum - p_seen)) + (p - p_seen);
    const auto beyond = (p < zero ? lost > zero : lost < zero) & (sum != zero);
    const auto grown = (sum < zero) == (p < zero);
    const BitsOf<Numbers> none = {}, one = none + 1;  // numbers of one sign follow each other as their bits do
    return same_bits<Numbers>(same_bits<BitsOf<Numbers>>(sum) - (beyond ? (grown ? one : -one) : none));
  }
};

// ---------------------------------------------------------------------------------------------------- the two balls

// Costs up to `accepted` are within the ball. A solution aims at `target` and may lie between `low` and `high`. The
// distances between these radii are more than what rounding does to an element, and to a sum of millions of numbers: no
// sample's norm, computed exactly, exceeds eps, and what has been projected once is accepted as it is.
template <typename Real>
struct Radius {
  static constexpr double kUnit = sizeof(Real) == 4 ? 0x1p-21 : 0x1p-41;
  double low, target, high, accepted;

  DLBENCH_SHARED explicit Radius(double eps)
      : low(eps * (1 - 4 * kUnit)),
        target(eps * (1 - 3 * kUnit)),
        high(eps * (1 - 2 * kUnit)),
        accepted(eps * (1 - kUnit)) {}
};

// Sums over a sample: its cost, the cost's derivative, and what it would cost if no coordinate that the box lets move met
// the box.
struct Sums {
  double cost, slope, reach;

  DLBENCH_SHARED Sums& operator+=(const Sums& other) {
    cost += other.cost, slope += other.slope, reach += other.reach;
    return *this;
  }
};

// How far from x a coordinate can count: squares of it, and sums of these, are finite.
template <typename Real>
constexpr Real kFarthest = sizeof(Real) == 4 ? std::numeric_limits<float>::max() : Real(0x1p500);

template <typename Real_>
struct L2 {
  using Real = Real_;
  static constexpr double kUnchanged = 1;  // the parameter, s, that leaves v where it is
  static constexpr double kLeastPlain = sizeof(Real) == 4 ? 0x1p-30 : 0;  // radii whose squares float may not hold
  Real t;

  DLBENCH_SHARED explicit L2(double s) : t(static_cast<Real>(sqrt(s))) {}

  template <typename Numbers>
  DLBENCH_SHARED Numbers pulled(Numbers d) const {
    return t * d;
  }
  template <typename Doubles>
  DLBENCH_SHARED static Doubles cost(Doubles d) {
    return d * d;
  }
  template <typename Doubles>
  DLBENCH_SHARED static Doubles slope(Doubles free) {
    return free * free;
  }
  // Where the box must hold v for the multiplier alone to tell what it costs; and then, the multiplier's factor.
  static constexpr bool kLeaves = false;
  template <typename Numbers>
  static Numbers told(Numbers v, Numbers) {
    return v;
  }
  template <typename Numbers>
  static Numbers free_cost(Numbers d) {
    return d * d;
  }

  DLBENCH_SHARED static Radius<Real> radius(double eps) {
    Radius<Real> r(eps);
    r.low *= r.low, r.target *= r.target, r.high *= r.high, r.accepted *= r.accepted;
    return r;
  }
  DLBENCH_SHARED static double at_centre(Sums) { return 0; }  // the parameter that takes v to x
  // A concave function lies below its tangents: where those at 0 and at 1 meet the target, it has not met it yet.
  DLBENCH_SHARED static double first_guess(Sums unchanged, double target) {
    return fmax(target / unchanged.reach, 1 + (target - unchanged.cost) / unchanged.slope);
  }
};

template <typename Real_>
struct L1 {
  using Real = Real_;
  static constexpr double kUnchanged = 0;  // theta
  static constexpr double kLeastPlain = 0;
  Real theta, rest;  // what theta is more than a Real; many small coordinates notice

  DLBENCH_SHARED explicit L1(double whole)
      : theta(static_cast<Real>(fmin(whole, double(kFarthest<Real>)))), rest(static_cast<Real>(whole - theta)) {}

  template <typename Numbers>
  DLBENCH_SHARED Numbers pulled(Numbers d) const {
    const Numbers zero = {}, left = size_of(d) - theta - rest;
    return same_bits<Numbers>(same_bits<BitsOf<Numbers>>(left < zero ? zero : left) | sign_of(d));  // NaN stays
  }
  template <typename Doubles>
  DLBENCH_SHARED static Doubles cost(Doubles d) {
    return size_of(d);
  }
  template <typename Doubles>
  DLBENCH_SHARED static Doubles slope(Doubles free) {
    const Doubles zero = {};
    return free != zero ? zero - 1 : zero;
  }
  static constexpr bool kLeaves = true;  // what has come to x stays there as theta grows
  template <typename Numbers>
  static Numbers told(Numbers, Numbers x) {
    return x;
  }
  template <typename Numbers>
  static Numbers free_cost(Numbers) {
    return Numbers();
  }

  DLBENCH_SHARED static Radius<Real> radius(double eps) { return Radius<Real>(eps); }
  DLBENCH_SHARED static double at_centre(Sums unchanged) { return unchanged.reach; }
  DLBENCH_SHARED static double first_guess(Sums unchanged, double target) {
    return (target - unchanged.cost) / unchanged.slope;
  }
};

// ------------------------------------------------------------------------------------------------------ the projection

template <typename Real, typename Numbers>
DLBENCH_SHARED Numbers difference(Numbers v, Numbers x) {
  return held(v - x, Numbers() - kFarthest<Real>, Numbers() + kFarthest<Real>);
}

// One element's part in its sample's sums.
template <typename Numbers>
struct Part {
  Numbers cost;   // how far from x it comes to lie
  Numbers slope;  // v - x where that depends on the multiplier
  Numbers reach;  // v - x where the box lets it move
};

// From d = v - x and the room in the box, lower - x and upper - x.
template <typename Ball, typename Numbers>
DLBENCH_SHARED Part<Numbers> part_of(Ball ball, Numbers d, Numbers down, Numbers up) {
  const Numbers zero = {}, pulled = ball.pulled(d), p = held(pulled, down, up);
  const auto moves = p != zero;
  return {p, moves & (p == pulled) ? d : zero, moves ? d : zero};
}

// The same of any numbers: one that is none, or whose x is infinite, has no part.
template <typename Ball, typename Numbers>
DLBENCH_SHARED Part<Numbers> part_of(Ball ball, Numbers v, Numbers x, Numbers lower, Numbers upper) {
  const Part<Numbers> part = part_of(ball, difference<typename Ball::Real>(v, x), lower - x, upper - x);
  const Numbers zero = {};
  const auto counts = (v == v) & (x - x == zero);
  return {counts ? part.cost : zero, counts ? part.slope : zero, counts ? part.reach : zero};
}

template <typename Ball>
DLBENCH_SHARED Sums sums_of(const Part<typename Ball::Real>& part) {
  return {Ball::cost(double(part.cost)), Ball::slope(double(part.slope)), Ball::cost(double(part.reach))};
}

// Where v goes.
template <typename Ball, typename Numbers, typename Towards = TowardsByTwoSum>
DLBENCH_SHARED Numbers settled(Ball ball, Numbers v, Numbers x, Numbers lower, Numbers upper, Towards towards = {}) {
  const Numbers d = difference<typename Ball::Real>(v, x), p = ball.pulled(d);
  return held(p == d ? v : towards(x, p), lower, upper) + (x - x);  // + 0, which turns -0 into +0, or NaN
}

// The same of numbers that are finite, and no farther from x than counts.
template <typename Ball, typename Numbers, typename Towards = TowardsByTwoSum>
DLBENCH_SHARED Numbers settled_plain(Ball ball, Numbers v, Numbers x, Numbers lower, Numbers upper, Towards towards = {}) {
  const Numbers zero = {}, d = v - x, p = ball.pulled(d);
  return held(p == d ? v : towards(x, p), lower, upper) + zero;
}

// The parameter that brings a sample onto the ball, by Newton's method inside a bracket that is halved where Newton would
// leave it. `sums_at(parameter)` goes over the sample. Where ball and box do not meet, the parameter that takes v to x.
template <typename Ball, typename SumsAt>
DLBENCH_SHARED double solve(double eps, Sums unchanged, SumsAt sums_at) {
  constexpr int kTrusted = 16, kMost = 128;  // passes of Newton's alone; and in all, every second one a bisection
  const auto radius = Ball::radius(eps);
  if (unchanged.cost <= radius.accepted) return Ball::kUnchanged;
  double inside = Ball::at_centre(unchanged), outside = Ball::kUnchanged;
  if (!(radius.target > 0)) return inside;
  double next = Ball::first_guess(unchanged, radius.target);
  for (int pass = 0; pass < kMost; ++pass) {
    const bool between = (next > inside && next < outside) || (next < inside && next > outside);
    if (!between || (pass > kTrusted && pass % 2 == 0)) next = inside + (outside - inside) / 2;
    if (next == inside || next == outside) break;  // no number lies between them
    const Sums sums = sums_at(next);
    (sums.cost <= radius.high ? inside : outside) = next;
    if (sums.cost >= radius.low && sums.cost <= radius.high) break;
    next += (radius.target - sums.cost) / sums.slope;
  }
  return inside;
}

// ---------------------------------------------------------------------------------------------------------- the step

// Along the gradient, `rate` times it; the gradient is scaled first, lest its norm leave double's range.
struct L2Move {
  double rate, scale;

  template <typename Format, typename Real>
  DLBENCH_SHARED Real operator()(Real x_adv, typename Format::Bits grad, Real, Real) const {
    return static_cast<Real>(x_adv + rate * (finite<Format>(grad) * scale));
  }
};

// How many coordinates of a sample an L1 step changes.
DLBENCH_SHARED int64_t coordinates(double sparsity, int64_t size) {
  const double rounded = floor(sparsity * double(size) + 0.5);
  return rounded >= 1 ? (rounded < double(size) ? int64_t(rounded) : size) : 1;
}

// What is each one's share of a step, as a number of the state's type.
template <typename Real>
DLBENCH_SHARED double share_of(double step, int64_t moving) {
  return moving > 0 ? double(static_cast<Real>(step / double(moving))) : 0;
}

// By `each` along the sign of the gradient, where its magnitude's bits are `least` or more and the box leaves room.
template <typename Bits>
struct L1Move {
  Bits least;  // 1 or more
  double each;

  // What coordinates are chosen by: 0 where the gradient is no number but 0, or points out of the box.
  template <typename Format, typename Real>
  DLBENCH_SHARED static Bits key(Real x_adv, Bits grad, bool descend, Real lower, Real upper) {
    const bool up = negative<Format>(grad) == descend, stuck = (up & (x_adv >= upper)) | (!up & (x_adv <= lower));
    const Bits size = magnitude<Format>(grad);
    return (size < Format::kInfinity) & !stuck ? size : Bits(0);
  }

  template <typename Format, typename Real>
  DLBENCH_SHARED Real operator()(Real x_adv, Bits grad, Real lower, Real upper) const {
    const bool moves = key<Format>(x_adv, grad, each < 0, lower, upper) >= least;
    const double step = negative<Format>(grad) ? -each : each;
    return moves ? static_cast<Real>(x_adv + step) : x_adv;
  }
};

}  // namespace dlbench
