// Losses of classifiers that attacks raise, one of each row z of logits [samples, classes], with y the true label and
// z_1 >= z_2 >= ... the row in descending order:
//
//     margin         max over i != y of z_i  -  z_y
//     DLR            (max over i != y of z_i  -  z_y) / (z_1 - z_3 + 1e-12)
//     targeted DLR   (z_t - z_y) / (z_1 - (z_3 + z_4) / 2 + 1e-12)
//
// DLR: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
// attacks", ICML 2020. Among equal logits the lower index comes first. A row with a NaN has a NaN for its loss; so has
// one whose label is no class.
//
// A loss depends on a few logits of its row. They are handed out, with its derivatives by them, so that the gradient
// needs no second look at the logits. Where two of them are the same logit, its derivative is their sum.
#pragma once
#include <cstdint>

#include "perturb/element.h"

namespace dlbench {

enum class LossKind { margin, dlr, targeted_dlr };

// How many logits of a row a loss depends on, and how many of the largest it must know.
template <LossKind kind>
constexpr int kPlaces = kind == LossKind::margin ? 2 : kind == LossKind::dlr ? 4 : 5;
template <LossKind kind>
constexpr int kRanks = kind == LossKind::margin ? 2 : kind == LossKind::dlr ? 3 : 4;

template <typename Element>
struct LossTask {
  const Element* logits;     // [rows, classes]
  const int64_t* y;          // [rows]
  const int64_t* target;     // [rows], or null where the loss has none
  Widened<Element>* loss;    // [rows]
  int64_t* places;           // [rows, kPlaces<kind>]
  Widened<Element>* slopes;  // [rows, kPlaces<kind>]
  int64_t rows, classes;     // at least kRanks<kind> classes, fewer than 2^31
};

// Rows [begin, end) only. Element: float, double, Half, BFloat16.
template <LossKind kind, typename Element>
void loss_cpu(const LossTask<Element>& task, int64_t begin, int64_t end);

// All rows, on the current device, in `stream`.
template <LossKind kind, typename Element>
void loss_cuda(const LossTask<Element>& task, CUstream_st* stream);

// The gradient of losses: out[row, places[row, j]] sums slopes[row, j] * grad[row], in the order of j; elsewhere it is 0.
template <typename Real>
struct ScatterTask {
  const int64_t* places;  // [rows, width]
  const Real* slopes;     // [rows, width]
  const Real* grad;       // [rows]
  Real* out;              // [rows, classes]
  int64_t rows, width, classes;
};

template <typename Real>
void scatter_slopes_cpu(const ScatterTask<Real>& task, int64_t begin, int64_t end);

template <typename Real>
void scatter_slopes_cuda(const ScatterTask<Real>& task, CUstream_st* stream);

}  // namespace dlbench
