// One step of FAB (Croce & Hein, ICML 2020, arXiv:1907.02044), in place. The decision boundary is taken for the plane on
// which the lead of another class, linearised at x_adv, is 0. The feet of two points on it, inside the box, are found:
// of x_adv (drawn back towards x where it is adversarial) and of x. The next point lies between them, a little beyond:
//
//     way(o) = foot of o - o
//     alpha = min(|way(x_adv)| / (|way(x_adv)| + |way(x)|), alpha_max)
//     x_adv <- clip(ahead(x_adv) + alpha * (ahead(x) - ahead(x_adv)), lower, upper)      ahead(o) = o + eta * way(o)
//
// A foot is the nearest point of the plane in the box. Let weights be the sizes of the plane's normal. By the KKT
// conditions each coordinate moves at a speed of its own, for a time t that is the same for all, until its room is used
// up: in the L-infinity norm at that of its unit, in the L2 norm at that of its weight. The plane is reached where
//
//     g(t) = sum_i weight_i min(t speed_i, room_i)
//
// is the gap: g is concave and made of straight pieces, so that Newton's method from t = 0 never goes too far.
#pragma once
#include <cstdint>
#include <vector>

namespace dlbench {

struct FabRules {
  double eta, beta, alpha_max;
  bool l2;  // or L-infinity
};

// A sample of `size` elements.
template <typename Real>
struct FabPoint {
  Real* x_adv;
  const Real *x, *grad, *lower, *upper;
  const Real* unit;  // in which the L-infinity norm measures each coordinate; or null: 1
  double lead;       // at x_adv
  bool adversarial;
};

// Returns how far the new x_adv is from x, in units. Elements of the gradient that are infinite or NaN count as 0, and so
// does such a lead. `scratch` is room for the work.
template <typename Real>
double fab_step_cpu(const FabPoint<Real>& point, int64_t size, const FabRules& rules, std::vector<Real>& scratch);

}  // namespace dlbench
