#include <cuda_runtime.h>

#include "aggregate/lanes.cuh"
#include "attention/gat.h"
#include "perturb/bits.h"

namespace dlbench {
namespace {

constexpr int kThreads = 256;
constexpr int kStrip = 4;  // features of a thread, `lanes` apart, summed at once

// `lanes` threads of a warp, a power of two, share a head of a row. They find the weights of as many edges at once, then
// hand each other the weights while each sums features of its own. They wait only for each other: their row may be
// longer than those of the warp's other threads.
struct Team {
  int lanes, rank;
  unsigned mask;

  __device__ explicit Team(int lanes)
      : lanes(lanes),
        rank(threadIdx.x % lanes),
        mask((lanes == kWarp ? ~0u : (1u << lanes) - 1) << threadIdx.x % kWarp / lanes * lanes) {}

  template <typename T>
  __device__ T from(T mine, int of) const {
    return __shfl_sync(mask, mine, of, lanes);
  }
  template <typename Real>
  __device__ Real sum(Real mine) const {
    for (int by = lanes / 2; by > 0; by /= 2) mine += __shfl_xor_sync(mask, mine, by, lanes);
    return mine;
  }
  template <typename Real>
  __device__ Real largest(Real mine) const {
    for (int by = lanes / 2; by > 0; by /= 2) {
      const Real other = __shfl_xor_sync(mask, mine, by, lanes);
      mine = other > mine ? other : mine;
    }
    return mine;
  }
};

// Which row and head a team works on.
struct Place {
  int64_t row, head;

  template <typename Real>
  __device__ Place(const Gat<Real>& gat, int lanes) {
    const int64_t team = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
    row = team / gat.heads;
    head = team % gat.heads;
  }
};

// A product that no compiler makes one with what is subtracted from it: the largest was found among rounded ones.
__device__ float rounded_product(float a, float b) { return __fmul_rn(a, b); }
__device__ double rounded_product(double a, double b) { return __dmul_rn(a, b); }

template <typename Real>
__device__ Real leaky(Real score, Real negative_slope) {
  return score > 0 ? score : rounded_product(score, negative_slope);
}

template <typename Real>
__device__ Real mask_of(const Dropout& dropout, int64_t edge, int64_t head) {
  if (dropout.below == 0) return 1;
  const Words<uint32_t> words = dropout.words<uint32_t>(edge, head / 4);
  const uint32_t word = head % 4 == 0 ? words.a : head % 4 == 1 ? words.b : head % 4 == 2 ? words.c : words.d;
  return word < dropout.below ? Real(0) : Real(dropout.scale);
}

template <typename Real>
struct Weights {
  Real plain, sloped;
};

// sums[s][k] = sum over a row's edges of a weight times feature from + rank + k lanes of the other end.
// weights_of(position) is called by one thread for each edge.
template <int Sums, typename Real, typename Index, typename WeightsOf>
__device__ void sum_row(const Team& team, const Csr<Index>& graph, const Gat<Real>& gat, const Place& place,
                        const Real* features, int64_t from, WeightsOf weights_of, Real (&sums)[Sums][kStrip]) {
  const int64_t begin = graph.rowptr[place.row], end = graph.rowptr[place.row + 1];
  for (int64_t p = begin; p < end; p += team.lanes) {
    const int64_t mine = p + team.rank;
    Weights<Real> weights = {0, 0};
    int64_t other = 0;
    if (mine < end) {
      weights = weights_of(mine);
      other = graph.col[mine];
    }
    for (int e = 0; e < team.lanes && p + e < end; ++e) {
      const Real plain = team.from(weights.plain, e), sloped = Sums > 1 ? team.from(weights.sloped, e) : Real(0);
      const Real* row = features + (team.from(other, e) * gat.heads + place.head) * gat.features;
#pragma unroll
      for (int k = 0; k < kStrip; ++k) {
        const int64_t f = from + team.rank + k * team.lanes;
        if (f >= gat.features) continue;
        sums[0][k] += plain * row[f];
        if (Sums > 1) sums[Sums - 1][k] += sloped * row[f];
      }
    }
  }
}

// f(feature, k) for a thread's own features in a strip.
template <typename Real, typename F>
__device__ void each_feature(const Team& team, const Gat<Real>& gat, int64_t from, F f) {
#pragma unroll
  for (int k = 0; k < kStrip; ++k) {
    const int64_t feature = from + team.rank + k * team.lanes;
    if (feature < gat.features) f(feature, k);
  }
}

template <typename Real, typename Index>
__global__ void gat_kernel(Csr<Index> graph, Gat<Real> gat, const Real* x, const Real* score_src,
                           const Real* score_dst, Real* out, Real* largest, Real* inverse, int lanes) {
  const Team team(lanes);
  const Place place(gat, lanes);
  if (place.row >= graph.rows) return;
  const int64_t own = place.row * gat.heads + place.head;
  const auto score = [&](int64_t p) {
    return leaky(score_src[graph.col[p] * gat.heads + place.head] + score_dst[own], gat.negative_slope);
  };
  const int64_t begin = graph.rowptr[place.row], end = graph.rowptr[place.row + 1];
  Real most = -kInfinity<Real>, total = 0;
  for (int64_t p = begin + team.rank; p < end; p += lanes) {
    const Real value = score(p);
    most = value > most ? value : most;
  }
  most = team.largest(most);
  if (most == -kInfinity<Real>) most = 0;
  for (int64_t p = begin + team.rank; p < end; p += lanes) total += exp(score(p) - most);
  total = team.sum(total);
  const Real factor = total == 0 ? 0 : 1 / total;
  if (team.rank == 0) {
    largest[own] = most;
    inverse[own] = factor;
  }
  const auto weights_of = [&](int64_t p) {
    return Weights<Real>{exp(score(p) - most) * factor * mask_of<Real>(gat.dropout, graph.edge(p), place.head), 0};
  };
  for (int64_t from = 0; from < gat.features; from += kStrip * lanes) {
    Real sums[1][kStrip] = {};
    sum_row(team, graph, gat, place, x, from, weights_of, sums);
    each_feature(team, gat, from, [&](int64_t f, int k) { out[own * gat.features + f] = sums[0][k]; });
  }
}

template <typename Real, typename Index>
__global__ void of_targets_kernel(Csr<Index> graph, Gat<Real> gat, const Real* grad, const Real* x,
                                  const Real* score_src, const Real* score_dst, const Real* largest,
                                  const Real* inverse, Real* of_dst, Real* targets, int lanes) {
  const Team team(lanes);
  const Place place(gat, lanes);
  if (place.row >= graph.rows) return;
  const int64_t own = place.row * gat.heads + place.head;
  const Real most = largest[own], factor = inverse[own], mine = score_dst[own];
  const auto sloped_weight = [&](int64_t p, Real& weight) {
    const Real score = score_src[graph.col[p] * gat.heads + place.head] + mine;
    weight = exp(leaky(score, gat.negative_slope) - most) * factor;
    return weight * (score > 0 ? Real(1) : gat.negative_slope);
  };
  const auto weights_of = [&](int64_t p) {
    Real weight;
    const Real sloped = sloped_weight(p, weight);
    const Real mask = mask_of<Real>(gat.dropout, graph.edge(p), place.head);
    return Weights<Real>{mask * weight, mask * sloped};
  };
  Real slopes = 0, unused;
  for (int64_t p = graph.rowptr[place.row] + team.rank; p < graph.rowptr[place.row + 1]; p += lanes)
    slopes += sloped_weight(p, unused);
  slopes = team.sum(slopes);
  Real all = 0, sloped = 0;
  for (int64_t from = 0; from < gat.features; from += kStrip * lanes) {
    Real sums[2][kStrip] = {};
    sum_row(team, graph, gat, place, x, from, weights_of, sums);
    each_feature(team, gat, from, [&](int64_t f, int k) {
      all += grad[own * gat.features + f] * sums[0][k];
      sloped += grad[own * gat.features + f] * sums[1][k];
    });
  }
  all = team.sum(all);
  sloped = team.sum(sloped);
  if (team.rank != 0) return;
  of_dst[own] = sloped - all * slopes;
  Real* part = targets + place.row * kTargetParts * gat.heads + place.head;
  part[kTargetScore * gat.heads] = mine;
  part[kTargetLargest * gat.heads] = most;
  part[kTargetInverse * gat.heads] = factor;
  part[kTargetDot * gat.heads] = all;
}

template <typename Real, typename Index>
__global__ void of_sources_kernel(Csr<Index> transpose, Gat<Real> gat, const Real* grad, const Real* x,
                                  const Real* score_src, const Real* targets, Real* of_x, Real* of_src, int lanes) {
  const Team team(lanes);
  const Place place(gat, lanes);
  if (place.row >= transpose.rows) return;
  const int64_t own = place.row * gat.heads + place.head;
  const Real mine = score_src[own];
  const auto sloped_weight = [&](int64_t p, Real& weight, Real& dot) {
    const Real* part = targets + transpose.col[p] * kTargetParts * gat.heads + place.head;
    const Real score = mine + part[kTargetScore * gat.heads];
    weight = exp(leaky(score, gat.negative_slope) - part[kTargetLargest * gat.heads]) *
             part[kTargetInverse * gat.heads];
    dot = part[kTargetDot * gat.heads];
    return weight * (score > 0 ? Real(1) : gat.negative_slope);
  };
  const auto weights_of = [&](int64_t p) {
    Real weight, dot;
    const Real sloped = sloped_weight(p, weight, dot);
    const Real mask = mask_of<Real>(gat.dropout, transpose.edge(p), place.head);
    return Weights<Real>{mask * weight, mask * sloped};
  };
  Real dots = 0;
  for (int64_t p = transpose.rowptr[place.row] + team.rank; p < transpose.rowptr[place.row + 1]; p += lanes) {
    Real weight, dot;
    const Real sloped = sloped_weight(p, weight, dot);
    dots += sloped * dot;
  }
  dots = team.sum(dots);
  Real sloped = 0;
  for (int64_t from = 0; from < gat.features; from += kStrip * lanes) {
    Real sums[2][kStrip] = {};
    sum_row(team, transpose, gat, place, grad, from, weights_of, sums);
    each_feature(team, gat, from, [&](int64_t f, int k) {
      of_x[own * gat.features + f] = sums[0][k];
      sloped += x[own * gat.features + f] * sums[1][k];
    });
  }
  sloped = team.sum(sloped);
  if (team.rank == 0) of_src[own] = sloped - dots;
}

// launch(blocks, lanes) unless there is nothing to do.
template <typename Real, typename Launch>
void with_teams(int64_t rows, const Gat<Real>& gat, Launch launch) {
  const int lanes = lanes_for(gat.features);
  const int64_t teams_a_block = kThreads / lanes, blocks = (rows * gat.heads + teams_a_block - 1) / teams_a_block;
  if (blocks > 0) launch(static_cast<unsigned>(blocks), lanes);
}

}  // namespace

template <typename Real, typename Index>
void gat_cuda(const Csr<Index>& graph, const Gat<Real>& gat, const Real* x, const Real* score_src,
              const Real* score_dst, Real* out, Real* largest, Real* inverse, CUstream_st* stream) {
  with_teams(graph.rows, gat, [&](unsigned blocks, int lanes) {
    gat_kernel<<<blocks, kThreads, 0, stream>>>(graph, gat, x, score_src, score_dst, out, largest, inverse, lanes);
  });
}

template <typename Real, typename Index>
void gat_of_targets_cuda(const Csr<Index>& graph, const Gat<Real>& gat, const Real* grad, const Real* x,
                         const Real* score_src, const Real* score_dst, const Real* largest, const Real* inverse,
                         Real* of_dst, Real* targets, CUstream_st* stream) {
  with_teams(graph.rows, gat, [&](unsigned blocks, int lanes) {
    of_targets_kernel<<<blocks, kThreads, 0, stream>>>(graph, gat, grad, x, score_src, score_dst, largest, inverse,
                                                       of_dst, targets, lanes);
  });
}

template <typename Real, typename Index>
void gat_of_sources_cuda(const Csr<Index>& transpose, const Gat<Real>& gat, const Real* grad, const Real* x,
                         const Real* score_src, const Real* targets, Real* of_x, Real* of_src, CUstream_st* stream) {
  with_teams(transpose.rows, gat, [&](unsigned blocks, int lanes) {
    of_sources_kernel<<<blocks, kThreads, 0, stream>>>(transpose, gat, grad, x, score_src, targets, of_x, of_src, lanes);
  });
}

#define DLBENCH_INSTANTIATE(Real, Index)                                                                              \
  template void gat_cuda(const Csr<Index>&, const Gat<Real>&, const Real*, const Real*, const Real*, Real*, Real*,    \
                         Real*, CUstream_st*);                                                                        \
  template void gat_of_targets_cuda(const Csr<Index>&, const Gat<Real>&, const Real*, const Real*, const Real*,       \
                                    const Real*, const Real*, const Real*, Real*, Real*, CUstream_st*);               \
  template void gat_of_sources_cuda(const Csr<Index>&, const Gat<Real>&, const Real*, const Real*, const Real*,       \
                                    const Real*, Real*, Real*, CUstream_st*);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
