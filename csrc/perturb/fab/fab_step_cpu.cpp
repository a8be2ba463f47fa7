#include "perturb/fab/fab_step.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "perturb/bits.h"

namespace dlbench {
namespace {

constexpr int kNewtonSteps = 20;  // residual times slope is then below 1e-12 of what they were

template <typename Real>
bool is_number(Real value) {
  return value - value == 0;
}

// Loops over a sample, each simple enough for the compiler to vectorise. Sums are kept in double.
template <typename Real>
struct Loops {
  const int64_t size;

  template <typename F>
  void each(F f) const {
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) f(i);
  }

  template <typename F>
  double sum(F f) const {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; ++i) sum += f(i);
    return sum;
  }

  template <typename F>
  auto largest(F f) const {
    decltype(f(0)) largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < size; ++i) largest = std::max(largest, f(i));
    return largest;
  }

  // The least t with g(t) = gap, from below.
  double time(const Real* arrival, const Real* rate, const Real* total, double gap) const {
    double time = 0;
    for (int step = 0; step < kNewtonSteps; ++step) {
      const Real now = Real(time);
      double slope = 0, done = 0;
#pragma omp simd reduction(+ : slope, done)
      for (int64_t i = 0; i < size; ++i) {
        const bool running = arrival[i] > now;
        slope += running ? rate[i] : Real(0);
        done += running ? Real(0) : total[i];
      }
      const double later = slope > 0 ? std::max((gap - done) / slope, time) : time;
      if (later == time) break;
      time = later;
    }
    return time;
  }
};

}  // namespace

template <typename Real>
double fab_step_cpu(const FabPoint<Real>& point, int64_t size, const FabRules& rules, std::vector<Real>& scratch) {
  scratch.resize(std::max<size_t>(scratch.size(), 11 * size));
  Real* room_left = scratch.data();
  const auto array = [&] { return std::exchange(room_left, room_left + size); };
  Real *normal = array(), *origin = array(), *speed = array(), *ways[2] = {array(), array()};
  Real *end = array(), *room = array(), *arrival = array(), *rate = array(), *total = array(), *step = array();
  const Real *x = point.x, *there = point.x_adv, *grad = point.grad, *lower = point.lower, *upper = point.upper;
  const Loops<Real> over{size};

  over.each([=](int64_t i) { normal[i] = is_number(grad[i]) ? grad[i] : Real(0); });
  const Real largest = over.largest([=](int64_t i) { return std::abs(normal[i]); });
  const Real scale = largest > 0 ? largest : Real(1);
  over.each([=](int64_t i) { normal[i] /= scale; });
  const double lead = std::isfinite(point.lead) ? point.lead / scale : 0;

  double length[2];
  for (int which = 0; which < 2; ++which) {
    const Real beta = Real(rules.beta);
    if (which == 1)
      over.each([=](int64_t i) { origin[i] = x[i]; });
    else if (point.adversarial)
      over.each([=](int64_t i) { origin[i] = x[i] + beta * (there[i] - x[i]); });
    else
      over.each([=](int64_t i) { origin[i] = there[i]; });
    double gap = -(lead + over.sum([=](int64_t i) { return normal[i] * (origin[i] - there[i]); }));
    const Real sign = gap < 0 ? Real(-1) : Real(1);
    gap = std::abs(gap);

    // The lead rises along the direction, sign * normal: towards an end of the box, by weight * room at most.
    if (rules.l2)
      over.each([=](int64_t i) { speed[i] = std::abs(normal[i]); });
    else if (point.unit)
      over.each([=, unit = point.unit](int64_t i) { speed[i] = normal[i] != 0 ? unit[i] : Real(0); });
    else
      over.each([=](int64_t i) { speed[i] = normal[i] != 0 ? Real(1) : Real(0); });
    over.each([=](int64_t i) {
      const Real direction = sign * normal[i], weight = std::abs(normal[i]);
      end[i] = direction > 0 ? upper[i] : direction < 0 ? lower[i] : origin[i];
      room[i] = std::abs(end[i] - origin[i]);
      arrival[i] = speed[i] > 0 ? room[i] / speed[i] : Real(0);
      rate[i] = weight * speed[i];
      total[i] = weight * room[i];
    });
    const bool in_reach = over.sum([=](int64_t i) { return total[i]; }) > gap;
    const Real time = in_reach ? Real(over.time(arrival, rate, total, gap)) : kInfinity<Real>;

    Real* way = ways[which];
    const Real eta = Real(rules.eta);
    over.each([=](int64_t i) {
      const Real move = speed[i] > 0 ? time * speed[i] : Real(0);
      const Real moved = move < room[i] ? origin[i] + (sign * normal[i] > 0 ? move : -move) : end[i];
      step[i] = std::min(std::max(moved, lower[i]), upper[i]) - origin[i];  // a sum may have rounded past the bound
      way[i] = origin[i] + eta * step[i];
    });
    if (point.unit) over.each([=, unit = point.unit](int64_t i) { step[i] /= unit[i]; });
    length[which] = rules.l2 ? std::sqrt(over.sum([=](int64_t i) { return double(step[i]) * step[i]; }))
                             : over.largest([=](int64_t i) { return std::abs(step[i]); });
    length[which] = std::max(length[which], 1e-8);
  }

  const Real alpha = Real(std::min(length[0] / (length[0] + length[1]), rules.alpha_max));
  over.each([=, next = point.x_adv, from_here = ways[0], from_x = ways[1]](int64_t i) {
    const Real ahead = from_here[i] + alpha * (from_x[i] - from_here[i]);  // exact where both are one
    next[i] = std::min(std::max(ahead, lower[i]), upper[i]);
  });
  const auto apart = [=, unit = point.unit](int64_t i) {
    return (double(there[i]) - double(x[i])) / (unit ? double(unit[i]) : 1.0);
  };
  return rules.l2 ? std::sqrt(over.sum([=](int64_t i) { return apart(i) * apart(i); }))
                  : over.largest([=](int64_t i) { return std::abs(apart(i)); });
}

template double fab_step_cpu(const FabPoint<float>&, int64_t, const FabRules&, std::vector<float>&);
template double fab_step_cpu(const FabPoint<double>&, int64_t, const FabRules&, std::vector<double>&);

}  // namespace dlbench
