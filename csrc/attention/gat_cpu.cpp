#include "attention/gat.h"

#include <algorithm>
#include <vector>

#include "aggregate/ahead.h"
#include "attention/softmax_rows.h"
#include "attention/weighted_rows.h"
#include "dot.h"

namespace dlbench {
namespace {

// A row's edges are taken some at a time: their weights, and the features that these multiply, stay in the first cache.
constexpr int64_t kMostEdges = 64, kMostWeights = 1024;

template <typename Real>
inline Real leaky(Real score, Real negative_slope) {
  return score > 0 ? score : score * negative_slope;
}

// The edges of a row that are at work: where their other ends' features are, and for each edge and head a weight and,
// backwards, the weight times the leaky ReLU's slope.
template <typename Real, typename Index>
class Edges {
 public:
  Edges(const Csr<Index>& graph, const Gat<Real>& gat, const Real* features, int64_t end)
      : graph_(graph),
        gat_(gat),
        features_(features),
        last_known_(graph.rowptr[end] - 1),
        most_(std::clamp<int64_t>(kMostWeights / std::max<int64_t>(1, gat.heads), 1, kMostEdges)),
        rows_(most_),
        weight(most_ * gat.heads),
        sloped(most_ * gat.heads) {}

  // f() for the edges of a row, the most that fit at a time. f begins with finding the weights.
  template <typename F>
  void visit(int64_t row, F f) {
    const int64_t end = graph_.rowptr[row + 1];
    for (first_ = graph_.rowptr[row]; first_ < end; first_ += most_) {
      count = std::min(most_, end - first_);
      f();
    }
  }

  bool fit(int64_t row) const { return graph_.rowptr[row + 1] - graph_.rowptr[row] <= most_; }

  // f(edge, other end)
  template <typename F>
  void each(F f) {
    const int64_t numbers = gat_.numbers(), ahead_by = edges_ahead(numbers * sizeof(Real));
    for (int64_t e = 0; e < count; ++e) {
      const Real* ahead = features_ + graph_.col[std::min(first_ + e + ahead_by, last_known_)] * numbers;
      for (int64_t i = 0; i < numbers; i += kLineBytes / sizeof(Real)) __builtin_prefetch(ahead + i);
      const int64_t other = graph_.col[first_ + e];
      rows_[e] = features_ + other * numbers;
      f(e, other);
    }
  }

  // Multiplies both kinds of weights by the mask.
  template <bool Sloped>
  void drop() {
    if (gat_.dropout.below == 0) return;
    const Dropout dropout = gat_.dropout;
    const Real scale = dropout.scale;
    uint32_t words[4][kMostEdges];
    for (int64_t block = 0; 4 * block < gat_.heads; ++block) {
#pragma omp simd
      for (int64_t e = 0; e < count; ++e) {
        const Words<uint64_t> drawn = dropout.words<uint64_t>(graph_.edge(first_ + e), block);
        words[0][e] = drawn.a;
        words[1][e] = drawn.b;
        words[2][e] = drawn.c;
        words[3][e] = drawn.d;
      }
      for (int64_t k = 0; k < std::min<int64_t>(4, gat_.heads - 4 * block); ++k)
        for (int64_t e = 0; e < count; ++e) {
          const Real mask = words[k][e] < dropout.below ? Real(0) : scale;
          const int64_t place = e * gat_.heads + 4 * block + k;
          weight[place] *= mask;
          if (Sloped) sloped[place] *= mask;
        }
    }
  }

  template <int Sums>
  void add(Real* sum, Real* sloped_sum) const {
    add_weighted_rows<Sums, Real>({rows_.data(), {weight.data(), sloped.data()}, {sum, sloped_sum}, count, gat_.heads,
                                   gat_.features});
  }

 private:
  const Csr<Index>& graph_;
  const Gat<Real>& gat_;
  const Real* features_;
  const int64_t last_known_, most_;
  int64_t first_ = 0;
  std::vector<const Real*> rows_;

 public:
  int64_t count = 0;
  std::vector<Real> weight, sloped;  // [count, heads]
};

// What an edge's weight is made of besides the score of the row's own node, [heads] each; `dot` multiplies the slopes.
template <typename Real>
struct Ends {
  const Real *score, *largest, *inverse, *dot;
};

// Adds to sum and sloped_sum a row's features by its weights, and to `dots` the sloped weights times ends' dot; the mask
// is not in that. ends_of(other end) gives Ends.
template <typename Real, typename Index, typename EndsOf>
void differentiate_row(Edges<Real, Index>& edges, const Gat<Real>& gat, int64_t row, const Real* own, EndsOf ends_of,
                       Real* sum, Real* sloped_sum, Real* dots) {
  const int64_t heads = gat.heads;
  std::fill_n(sum, gat.numbers(), Real(0));
  std::fill_n(sloped_sum, gat.numbers(), Real(0));
  std::fill_n(dots, heads, Real(0));
  Ends<Real> ends[kMostEdges];
  Real *weights = edges.weight.data(), *slopes = edges.sloped.data();
  edges.visit(row, [&] {
    edges.each([&](int64_t e, int64_t other) {
      const Ends<Real> end = ends[e] = ends_of(other);
      Real *weight = weights + e * heads, *slope = slopes + e * heads;
#pragma omp simd
      for (int64_t h = 0; h < heads; ++h) {
        const Real score = own[h] + end.score[h];
        weight[h] = leaky(score, gat.negative_slope) - end.largest[h];
        slope[h] = score > 0 ? Real(1) : gat.negative_slope;
      }
    });
#pragma omp simd
    for (int64_t i = 0; i < edges.count * heads; ++i) weights[i] = exponential(weights[i]);
    for (int64_t e = 0; e < edges.count; ++e) {
      const Ends<Real> end = ends[e];
      Real *weight = weights + e * heads, *slope = slopes + e * heads;
#pragma omp simd
      for (int64_t h = 0; h < heads; ++h) {
        weight[h] *= end.inverse[h];
        slope[h] *= weight[h];
        dots[h] += slope[h] * end.dot[h];
      }
    }
    edges.template drop<true>();
    edges.template add<2>(sum, sloped_sum);
  });
}

}  // namespace

template <typename Real, typename Index>
void gat_cpu(const Csr<Index>& graph, const Gat<Real>& gat, const Real* x, const Real* score_src, const Real* score_dst,
             Real* out, Real* largest, Real* inverse, int64_t begin, int64_t end) {
  const int64_t heads = gat.heads;
  Edges<Real, Index> edges(graph, gat, x, end);
  for (int64_t row = begin; row < end; ++row) {
    const Real* own = score_dst + row * heads;
    Real *most = largest + row * heads, *total = inverse + row * heads, *sum = out + row * gat.numbers();
    const auto find_scores = [&] {
      edges.each([&](int64_t e, int64_t other) {
        const Real* theirs = score_src + other * heads;
        Real* score = edges.weight.data() + e * heads;
#pragma omp simd
        for (int64_t h = 0; h < heads; ++h) score[h] = leaky(own[h] + theirs[h], gat.negative_slope);
      });
    };

    std::fill_n(most, heads, -kInfinity<Real>);
    edges.visit(row, [&] {
      find_scores();
      raise_to_largest(edges.weight.data(), edges.count, heads, most);
    });
    std::replace(most, most + heads, -kInfinity<Real>, Real(0));

    std::fill_n(total, heads, Real(0));
    std::fill_n(sum, gat.numbers(), Real(0));
    edges.visit(row, [&] {
      if (!edges.fit(row)) find_scores();
      exponentiate(edges.weight.data(), edges.count, heads, most, total);
      edges.template drop<false>();
      edges.template add<1>(sum, nullptr);
    });
    for (int64_t h = 0; h < heads; ++h) {
      total[h] = inverse_of(total[h]);
      for (int64_t f = 0; f < gat.features; ++f) sum[h * gat.features + f] *= total[h];
    }
  }
}

template <typename Real, typename Index>
void gat_of_targets_cpu(const Csr<Index>& graph, const Gat<Real>& gat, const Real* grad, const Real* x,
                        const Real* score_src, const Real* score_dst, const Real* largest, const Real* inverse,
                        Real* of_dst, Real* targets, int64_t begin, int64_t end) {
  const int64_t heads = gat.heads, features = gat.features;
  Edges<Real, Index> edges(graph, gat, x, end);
  std::vector<Real> sum(gat.numbers()), sloped_sum(gat.numbers()), slopes(heads);
  const std::vector<Real> ones(heads, 1);
  for (int64_t row = begin; row < end; ++row) {
    const Real *own = score_dst + row * heads, *most = largest + row * heads, *factor = inverse + row * heads;
    const auto ends_of = [&](int64_t other) {
      return Ends<Real>{score_src + other * heads, most, factor, ones.data()};
    };
    differentiate_row(edges, gat, row, own, ends_of, sum.data(), sloped_sum.data(), slopes.data());

    const Real* arriving = grad + row * gat.numbers();
    Real* part = targets + row * kTargetParts * heads;
    for (int64_t h = 0; h < heads; ++h) {
      const Real all = dot(arriving + h * features, sum.data() + h * features, features);
      const Real sloped = dot(arriving + h * features, sloped_sum.data() + h * features, features);
      of_dst[row * heads + h] = sloped - all * slopes[h];
      part[kTargetScore * heads + h] = own[h];
      part[kTargetLargest * heads + h] = most[h];
      part[kTargetInverse * heads + h] = factor[h];
      part[kTargetDot * heads + h] = all;
    }
  }
}

template <typename Real, typename Index>
void gat_of_sources_cpu(const Csr<Index>& transpose, const Gat<Real>& gat, const Real* grad, const Real* x,
                        const Real* score_src, const Real* targets, Real* of_x, Real* of_src, int64_t begin,
                        int64_t end) {
  const int64_t heads = gat.heads, features = gat.features;
  Edges<Real, Index> edges(transpose, gat, grad, end);
  std::vector<Real> sloped_sum(gat.numbers()), dots(heads);
  for (int64_t row = begin; row < end; ++row) {
    const auto ends_of = [&](int64_t other) {
      const Real* part = targets + other * kTargetParts * heads;
      return Ends<Real>{part + kTargetScore * heads, part + kTargetLargest * heads, part + kTargetInverse * heads, part + kTargetDot * heads};
    };
    differentiate_row(edges, gat, row, score_src + row * heads, ends_of, of_x + row * gat.numbers(), sloped_sum.data(),
                      dots.data());
    const Real* own = x + row * gat.numbers();
    for (int64_t h = 0; h < heads; ++h)
      of_src[row * heads + h] = dot(own + h * features, sloped_sum.data() + h * features, features) - dots[h];
  }
}

#define DLBENCH_INSTANTIATE(Real, Index)                                                                              \
  template void gat_cpu(const Csr<Index>&, const Gat<Real>&, const Real*, const Real*, const Real*, Real*, Real*,     \
                        Real*, int64_t, int64_t);                                                                     \
  template void gat_of_targets_cpu(const Csr<Index>&, const Gat<Real>&, const Real*, const Real*, const Real*,        \
                                   const Real*, const Real*, const Real*, Real*, Real*, int64_t, int64_t);            \
  template void gat_of_sources_cpu(const Csr<Index>&, const Gat<Real>&, const Real*, const Real*, const Real*,        \
                                   const Real*, Real*, Real*, int64_t, int64_t);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
