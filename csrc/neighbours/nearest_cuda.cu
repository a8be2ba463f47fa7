#include <cuda_runtime.h>

#include <algorithm>

#include "aggregate/csr.h"
#include "neighbours/nearest.h"
#include "perturb/bits.h"

namespace dlbench {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 16;   // points whose distances a thread sums at once, in registers
constexpr int kAxes = 32;   // coordinates of them in shared memory at a time

// f(point, squared distance) for the points of a thread's cloud, in their order. The threads of a block, one query each,
// share the points that they load: those of all clouds that the block's queries are of. Every thread comes here.
template <typename Real, typename F>
__device__ void visit_distances(const Points<Real>& points, int64_t query, F f) {
  __shared__ Real tile[kAxes][kTile];
  const Csr<int64_t> clouds{points.clouds, nullptr, nullptr, points.cloud_count};
  const int64_t first_query = int64_t(blockIdx.x) * kThreads;
  const int64_t last_query = min(first_query + kThreads, points.points) - 1;
  const int64_t own = clouds.row_of(min(query, last_query));
  const int64_t begin = points.clouds[clouds.row_of(first_query)], end = points.clouds[clouds.row_of(last_query) + 1];
  const int64_t own_begin = points.clouds[own], own_end = query <= last_query ? points.clouds[own + 1] : own_begin;
  const Real* centre = points.pos + min(query, last_query) * points.dimensions;

  for (int64_t from = begin; from < end; from += kTile) {
    Real sum[kTile] = {};
    for (int64_t axis = 0; axis < points.dimensions; axis += kAxes) {
      const int axes = int(min(int64_t(kAxes), points.dimensions - axis));
      __syncthreads();
      for (int i = threadIdx.x; i < axes * kTile; i += kThreads) {
        const int64_t point = min(from + i / axes, end - 1);
        tile[i % axes][i / axes] = points.pos[point * points.dimensions + axis + i % axes];
      }
      __syncthreads();
      for (int a = 0; a < axes; ++a) {
        const Real at = centre[axis + a];
#pragma unroll
        for (int k = 0; k < kTile; ++k) {
          const Real difference = tile[a][k] - at;
          sum[k] = fma(difference, difference, sum[k]);
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kTile; ++k)
      if (from + k >= own_begin && from + k < own_end) f(from + k, sum[k]);
  }
}

template <typename Real>
__global__ void neighbour_count_kernel(Points<Real> points, Real limit, int64_t* count) {
  const int64_t query = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  int64_t counted = 0;
  visit_distances(points, query,
                  [&](int64_t point, Real distance) { counted += distance <= limit && (points.loop || point != query); });
  if (query < points.points) count[query] = counted;
}

// As on the CPU: the best so far, sorted. It lies in the query's own row of the result.
template <typename Real, typename Index>
__global__ void nearest_kernel(Points<Real> points, const Index* rowptr, Index* col, Real* distances) {
  const int64_t query = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const bool there = query < points.points;
  const int64_t start = there ? rowptr[query] : 0, wanted = there ? rowptr[query + 1] - start : 0;
  Real* best = distances + start;
  Index* source = col + start;
  int64_t found = 0;
  Real worst = kInfinity<Real>;  // of the best, once there are enough
  visit_distances(points, query, [&](int64_t point, Real distance) {
    if (found == wanted && !(wanted > 0 && distance < worst)) return;
    if (!points.loop && point == query) return;
    int64_t place = found < wanted ? found++ : found - 1;
    for (; place > 0 && best[place - 1] > distance; --place) {
      best[place] = best[place - 1];
      source[place] = source[place - 1];
    }
    best[place] = distance;
    source[place] = Index(point);
    worst = best[found - 1];
  });
}

int64_t blocks_for(int64_t points) { return (points + kThreads - 1) / kThreads; }

}  // namespace

template <typename Real>
void neighbour_count_cuda(const Points<Real>& points, Real limit, int64_t* count, CUstream_st* stream) {
  if (points.points == 0) return;
  neighbour_count_kernel<<<blocks_for(points.points), kThreads, 0, stream>>>(points, limit, count);
}

template <typename Real, typename Index>
void nearest_cuda(const Points<Real>& points, const Index* rowptr, Index* col, Real* distance, CUstream_st* stream) {
  if (points.points == 0) return;
  nearest_kernel<<<blocks_for(points.points), kThreads, 0, stream>>>(points, rowptr, col, distance);
}

#define DLBENCH_INSTANTIATE(Real)                                                                             \
  template void neighbour_count_cuda(const Points<Real>&, Real, int64_t*, CUstream_st*);                      \
  template void nearest_cuda(const Points<Real>&, const int32_t*, int32_t*, Real*, CUstream_st*);             \
  template void nearest_cuda(const Points<Real>&, const int64_t*, int64_t*, Real*, CUstream_st*);
DLBENCH_INSTANTIATE(float)
DLBENCH_INSTANTIATE(double)

}  // namespace dlbench
