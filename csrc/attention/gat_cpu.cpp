#include "attention/gat.h"

#include <algorithm>
#include <vector>

#include "aggregate/ahead.h"
#include "attention/softmax_rows.h"
#include "attention/weighted_rows.h"
#include "dot.h"

namespace dlbench {
namespace {

// Edges are taken some at a time, whole rows where they are short: their weights, and the features that these multiply,
// stay in the first cache, and what is done to each weight is done to many at once.
constexpr int64_t kMostEdges = 64, kMostWeights = 1024;

template <typename Real>
inline Real leaky(Real score, Real negative_slope) {
  return score > 0 ? score : score * negative_slope;
}

// A row of those at work, or a piece of a long one: their edges [first, last).
struct Span {
  int64_t row, first, last;
  bool begins, ends;  // the row
};

// The edges that are at work: where their other ends' features are, and for each edge and head a weight and, backwards,
// the weight times the leaky ReLU's slope. Heads: int64_t, or a constant.
template <typename Real, typename Index, typename Heads>
class Edges {
 public:
  Edges(const Csr<Index>& graph, const Gat<Real>& gat, Heads heads, const Real* features)
      : graph_(graph),
        gat_(gat),
        heads_(heads),
        features_(features),
        most_(std::clamp<int64_t>(kMostWeights / std::max<int64_t>(1, heads), 1, kMostEdges)),
        weight(most_ * heads),
        sloped(most_ * heads) {}

  // f() for the edges of rows [begin, end), the most that fit at a time. Where a long row is cut depends on the row
  // alone, and so do the bits of its sums.
  template <typename F>
  void visit(int64_t begin, int64_t end, F f) {
    last_known_ = graph_.rowptr[end] - 1;
    int64_t row = begin, position = graph_.rowptr[begin];
    while (row < end) {
      first_ = position;
      for (count = used_ = 0; row < end && used_ < kMostEdges; ++used_) {
        const int64_t last = graph_.rowptr[row + 1], more = std::min(most_, last - position);
        if (count + more > most_) break;
        spans_[used_] = {row, count, count + more, position == graph_.rowptr[row], position + more == last};
        position += more;
        count += more;
        if (position == last) ++row;
      }
      for (int64_t e = 0; e < count; ++e) rows_[e] = features_ + other(e) * gat_.numbers();
      f();
    }
  }

  // f(span)
  template <typename F>
  void each_span(F f) const {
    for (int64_t k = 0; k < used_; ++k) f(spans_[k]);
  }

  int64_t other(int64_t e) const { return graph_.col[first_ + e]; }

  // Multiplies both kinds of weights by the mask.
  template <bool Sloped>
  void drop() {
    if (gat_.dropout.below == 0) return;
    const Dropout dropout = gat_.dropout;
    const Real scale = dropout.scale;
    uint32_t words[4][kMostEdges];
    for (int64_t block = 0; 4 * block < heads_; ++block) {
#pragma omp simd
      for (int64_t e = 0; e < count; ++e) {
        const Words<uint64_t> drawn = dropout.words<uint64_t>(graph_.edge(first_ + e), block);
        words[0][e] = drawn.a;
        words[1][e] = drawn.b;
        words[2][e] = drawn.c;
        words[3][e] = drawn.d;
      }
      for (int64_t k = 0; k < std::min<int64_t>(4, heads_ - 4 * block); ++k)
        for (int64_t e = 0; e < count; ++e) {
          const Real mask = words[k][e] < dropout.below ? Real(0) : scale;
          const int64_t place = e * heads_ + 4 * block + k;
          weight[place] *= mask;
          if (Sloped) sloped[place] *= mask;
        }
    }
  }

  // Adds a span's features by their weights; those of later edges are asked for.
  template <int Sums>
  void add(const Span& span, Real* sum, Real* sloped_sum) const {
    const int64_t at = span.first * heads_, numbers = gat_.numbers(), ahead = edges_ahead(numbers * sizeof(Real));
    for (int64_t e = span.first; e < span.last; ++e) {
      const Real* later = features_ + graph_.col[std::min(first_ + e + ahead, last_known_)] * numbers;
      for (int64_t i = 0; i < numbers; i += kLineBytes / sizeof(Real)) __builtin_prefetch(later + i);
    }
    add_weighted_rows<Sums>(WeightedRows<Real, Heads>{rows_ + span.first, {weight.data() + at, sloped.data() + at},
                                                      {sum, sloped_sum}, span.begins, span.last - span.first, heads_,
                                                      gat_.features});
  }

 private:
  const Csr<Index>& graph_;
  const Gat<Real>& gat_;
  const Heads heads_;
  const Real* features_;
  const int64_t most_;
  int64_t first_ = 0, used_ = 0, last_known_ = 0;
  Span spans_[kMostEdges];
  const Real* rows_[kMostEdges];

 public:
  int64_t count = 0;
  std::vector<Real> weight, sloped;  // [count, heads]
};

// f(heads), with a few numbers of heads known to the compiler, which makes straight lines of the loops over them. On a
// Zen 5 that took 8 heads of 8 features 1.5 times as fast, 4 of 64 twice.
template <typename Real, typename F>
void visit_heads(int64_t heads, F f) {
  if constexpr (sizeof(Real) == 4) {
    if (heads == 1) return f(std::integral_constant<int64_t, 1>());
    if (heads == 2) return f(std::integral_constant<int64_t, 2>());
    if (heads == 4) return f(std::integral_constant<int64_t, 4>());
    if (heads == 8) return f(std::integral_constant<int64_t, 8>());
  }
  f(heads);
}

// What an edge's weight is made of besides the score of the row's own node, [heads] each; `dot` multiplies the slopes.
template <typename Real>
struct Ends {
  const Real *score, *largest, *inverse, *dot;
};

// The sums over a row of features by its weights and by its sloped weights, and of the sloped weights times ends' dot,
// in which the mask is not.
template <typename Real>
struct RowSums {
  Real *plain, *sloped, *dots;
};

// ends_of(row, other end) gives Ends, sums_of(row) where to sum up; finish(row) follows when a row's sums are complete.
template <typename Real, typename Index, typename EndsOf, typename SumsOf, typename Finish>
void differentiate_rows(const Csr<Index>& graph, const Gat<Real>& gat, const Real* features, const Real* own_scores,
                        int64_t begin, int64_t end, EndsOf ends_of, SumsOf sums_of, Finish finish) {
  visit_heads<Real>(gat.heads, [&](auto heads) {
    Edges<Real, Index, decltype(heads)> edges(graph, gat, heads, features);
    Ends<Real> ends[kMostEdges];
    Real *weights = edges.weight.data(), *slopes = edges.sloped.data();
    edges.visit(begin, end, [&] {
      edges.each_span([&](const Span& span) {
        const Real* own = own_scores + span.row * heads;
        for (int64_t e = span.first; e < span.last; ++e) {
          const Ends<Real> there = ends[e] = ends_of(span.row, edges.other(e));
          Real *weight = weights + e * heads, *slope = slopes + e * heads;
#pragma omp simd
          for (int64_t h = 0; h < heads; ++h) {
            const Real score = own[h] + there.score[h];
            weight[h] = leaky(score, gat.negative_slope);
            slope[h] = score > 0 ? Real(1) : gat.negative_slope;
          }
        }
      });
      // In a loop of its own: what it is taken from must be rounded, as it was when the largest was found, and not be one
      // with the product.
      for (int64_t e = 0; e < edges.count; ++e)
        for (int64_t h = 0; h < heads; ++h) weights[e * heads + h] -= ends[e].largest[h];
#pragma omp simd
      for (int64_t i = 0; i < edges.count * heads; ++i) weights[i] = exponential(weights[i]);
      edges.each_span([&](const Span& span) {
        const RowSums<Real> sums = sums_of(span.row);
        if (span.begins) std::fill_n(sums.dots, int64_t(heads), Real(0));
        for (int64_t e = span.first; e < span.last; ++e) {
          const Ends<Real> there = ends[e];
          Real *weight = weights + e * heads, *slope = slopes + e * heads;
#pragma omp simd
          for (int64_t h = 0; h < heads; ++h) {
            weight[h] *= there.inverse[h];
            slope[h] *= weight[h];
            sums.dots[h] += slope[h] * there.dot[h];
          }
        }
      });
      edges.template drop<true>();
      edges.each_span([&](const Span& span) {
        const RowSums<Real> sums = sums_of(span.row);
        edges.template add<2>(span, sums.plain, sums.sloped);
        if (span.ends) finish(span.row, sums);
      });
    });
  });
}

}  // namespace

template <typename Real, typename Index>
void gat_cpu(const Csr<Index>& graph, const Gat<Real>& gat, const Real* x, const Real* score_src, const Real* score_dst,
             Real* out, Real* largest, Real* inverse, int64_t begin, int64_t end) {
  visit_heads<Real>(gat.heads, [&](auto heads) {
    Edges<Real, Index, decltype(heads)> edges(graph, gat, heads, x);
    std::vector<Real> before(heads), base(heads);
    Real* weights = edges.weight.data();
    edges.visit(begin, end, [&] {
      edges.each_span([&](const Span& span) {
        const Real* own = score_dst + span.row * heads;
        for (int64_t e = span.first; e < span.last; ++e) {
          const Real* theirs = score_src + edges.other(e) * heads;
#pragma omp simd
          for (int64_t h = 0; h < heads; ++h) weights[e * heads + h] = leaky(own[h] + theirs[h], gat.negative_slope);
        }
      });
      edges.each_span([&](const Span& span) {
        Real *most = largest + span.row * heads, *total = inverse + span.row * heads;
        Real* weight = weights + span.first * heads;
        const int64_t count = span.last - span.first;
        if (span.begins) {
          std::fill_n(most, int64_t(heads), -kInfinity<Real>);
          std::fill_n(total, int64_t(heads), Real(0));
        }
        std::copy_n(most, int64_t(heads), before.data());
        raise_to_largest(weight, count, heads, most);
        if (!span.begins) {  // what was summed up so far shrinks as the largest grows
          Real* sum = out + span.row * gat.numbers();
          for (int64_t h = 0; h < heads; ++h) {
            if (before[h] == most[h]) continue;
            const Real by = exponential(before[h] - most[h]);
            total[h] *= by;
            for (int64_t f = 0; f < gat.features; ++f) sum[h * gat.features + f] *= by;
          }
        }
        std::replace_copy(most, most + heads, base.data(), -kInfinity<Real>, Real(0));
        for (int64_t e = 0; e < count; ++e, weight += heads)
          for (int64_t h = 0; h < heads; ++h) weight[h] -= base[h];
        if (span.ends) std::copy_n(base.data(), int64_t(heads), most);
      });
#pragma omp simd
      for (int64_t i = 0; i < edges.count * heads; ++i) weights[i] = exponential(weights[i]);
      edges.each_span([&](const Span& span) {
        Real* total = inverse + span.row * heads;
        for (int64_t e = span.first; e < span.last; ++e)
          for (int64_t h = 0; h < heads; ++h) total[h] += weights[e * heads + h];
      });
      edges.template drop<false>();
      edges.each_span([&](const Span& span) {
        Real *total = inverse + span.row * heads, *sum = out + span.row * gat.numbers();
        edges.template add<1>(span, sum, nullptr);
        if (!span.ends) return;
        for (int64_t h = 0; h < heads; ++h) {
          total[h] = inverse_of(total[h]);
          for (int64_t f = 0; f < gat.features; ++f) sum[h * gat.features + f] *= total[h];
        }
      });
    });
  });
}

template <typename Real, typename Index>
void gat_of_targets_cpu(const Csr<Index>& graph, const Gat<Real>& gat, const Real* grad, const Real* x,
                        const Real* score_src, const Real* score_dst, const Real* largest, const Real* inverse,
                        Real* of_dst, Real* targets, int64_t begin, int64_t end) {
  const int64_t heads = gat.heads, features = gat.features;
  std::vector<Real> sum(gat.numbers()), sloped_sum(gat.numbers());
  const std::vector<Real> ones(heads, 1);
  const auto ends_of = [&](int64_t row, int64_t other) {
    return Ends<Real>{score_src + other * heads, largest + row * heads, inverse + row * heads, ones.data()};
  };
  const auto sums_of = [&](int64_t row) { return RowSums<Real>{sum.data(), sloped_sum.data(), of_dst + row * heads}; };
  const auto finish = [&](int64_t row, const RowSums<Real>& sums) {
    const Real* arriving = grad + row * gat.numbers();
    Real* part = targets + row * kTargetParts * heads;
    for (int64_t h = 0; h < heads; ++h) {
      const Real all = dot(arriving + h * features, sums.plain + h * features, features);
      const Real sloped = dot(arriving + h * features, sums.sloped + h * features, features);
      sums.dots[h] = sloped - all * sums.dots[h];
      part[kTargetScore * heads + h] = score_dst[row * heads + h];
      part[kTargetLargest * heads + h] = largest[row * heads + h];
      part[kTargetInverse * heads + h] = inverse[row * heads + h];
      part[kTargetDot * heads + h] = all;
    }
  };
  differentiate_rows(graph, gat, x, score_dst, begin, end, ends_of, sums_of, finish);
}

template <typename Real, typename Index>
void gat_of_sources_cpu(const Csr<Index>& transpose, const Gat<Real>& gat, const Real* grad, const Real* x,
                        const Real* score_src, const Real* targets, Real* of_x, Real* of_src, int64_t begin,
                        int64_t end) {
  const int64_t heads = gat.heads, features = gat.features;
  std::vector<Real> sloped_sum(gat.numbers());
  const auto ends_of = [&](int64_t, int64_t other) {
    const Real* part = targets + other * kTargetParts * heads;
    return Ends<Real>{part + kTargetScore * heads, part + kTargetLargest * heads, part + kTargetInverse * heads,
                      part + kTargetDot * heads};
  };
  const auto sums_of = [&](int64_t row) {
    return RowSums<Real>{of_x + row * gat.numbers(), sloped_sum.data(), of_src + row * heads};
  };
  const auto finish = [&](int64_t row, const RowSums<Real>& sums) {
    const Real* own = x + row * gat.numbers();
    for (int64_t h = 0; h < heads; ++h)
      sums.dots[h] = dot(own + h * features, sums.sloped + h * features, features) - sums.dots[h];
  };
  differentiate_rows(transpose, gat, grad, score_src, begin, end, ends_of, sums_of, finish);
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
