#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "neighbours/lanes_below.h"
#include "neighbours/nearest.h"

namespace dlbench {
namespace {

// Some queries meet the vectors of a tile at once: the sums stay in registers, and a tile is loaded once for them all.
constexpr int kVectors = 4, kQueries = kVectorBytes == 64 ? 4 : 2;

template <typename Real>
constexpr int64_t kTile = kVectors * kLanes<Real>;

template <typename Real>
using Vector = typename Simd<Real, kLanes<Real>>::Vector;

// sum + a * a, rounded once.
template <typename Real>
inline Vector<Real> add_square(Vector<Real> sum, Vector<Real> a) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return sum + a * a;  // compilers fuse this
#else
  for (int lane = 0; lane < kLanes<Real>; ++lane) sum[lane] = std::fma(a[lane], a[lane], sum[lane]);
  return sum;
#endif
}

template <typename Real>
void tile_distances(const Real* tile, const Real* const* queries, int64_t dimensions,
                    Vector<Real> (&sums)[kQueries][kVectors]) {
  using S = Simd<Real, kLanes<Real>>;
  Vector<Real> sum[kQueries][kVectors] = {};
  for (int64_t d = 0; d < dimensions; ++d, tile += kTile<Real>) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const Vector<Real> point = S::load(tile + v * kLanes<Real>);
#pragma GCC unroll 4
      for (int q = 0; q < kQueries; ++q) sum[q][v] = add_square<Real>(sum[q][v], point - queries[q][d]);
    }
  }
#pragma GCC unroll 4
  for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[q][v] = sum[q][v];
}

// f(q, query, first point of the vector, how many of its lanes are points, distances) for all vectors of each query's
// cloud, in the order of points; start(q, query) and finish(q, query) around them.
template <typename Real, typename Start, typename F, typename Finish>
void visit_distances(const Points<Real>& points, const Tiles<Real>& tiles, int64_t begin, int64_t end, Start start, F f,
                     Finish finish) {
  int64_t cloud = std::upper_bound(points.clouds, points.clouds + points.cloud_count, begin) - points.clouds - 1;
  Vector<Real> distances[kQueries][kVectors];
  for (int64_t first = begin; first < end;) {
    while (points.clouds[cloud + 1] <= first) ++cloud;
    const int64_t cloud_begin = points.clouds[cloud], cloud_end = points.clouds[cloud + 1];
    const int count = int(std::min<int64_t>({kQueries, end - first, cloud_end - first}));
    const Real* queries[kQueries];
    for (int q = 0; q < kQueries; ++q)  // those that are missing repeat the last one, unheard
      queries[q] = points.pos + (first + std::min(q, count - 1)) * points.dimensions;
    for (int q = 0; q < count; ++q) start(q, first + q);
    const Real* tile = tiles.tiles + tiles.of_cloud[cloud] * points.dimensions * kTile<Real>;
    for (int64_t at = cloud_begin; at < cloud_end; at += kTile<Real>, tile += points.dimensions * kTile<Real>) {
      tile_distances<Real>(tile, queries, points.dimensions, distances);
      for (int q = 0; q < count; ++q)
        for (int v = 0; v < kVectors; ++v) {
          const int64_t from = at + v * kLanes<Real>, known = std::min<int64_t>(kLanes<Real>, cloud_end - from);
          if (known > 0) f(q, first + q, from, int(known), distances[q][v]);
        }
    }
    for (int q = 0; q < count; ++q) finish(q, first + q);
    first += count;
  }
}

constexpr uint32_t first_lanes(int count) { return count >= 32 ? ~uint32_t(0) : (uint32_t(1) << count) - 1; }

}  // namespace

template <typename Real>
int64_t tile_points() {
  return kTile<Real>;
}

template <typename Real>
void fill_tiles_cpu(const Points<Real>& points, const int64_t* of_cloud, Real* tiles) {
  for (int64_t cloud = 0; cloud < points.cloud_count; ++cloud) {
    const int64_t begin = points.clouds[cloud], end = points.clouds[cloud + 1];
    for (int64_t tile = of_cloud[cloud]; tile < of_cloud[cloud + 1]; ++tile) {
      const int64_t first = begin + (tile - of_cloud[cloud]) * kTile<Real>;
      Real* to = tiles + tile * points.dimensions * kTile<Real>;
      for (int64_t d = 0; d < points.dimensions; ++d)
        for (int64_t i = 0; i < kTile<Real>; ++i)
          *to++ = first + i < end ? points.pos[(first + i) * points.dimensions + d]
                                  : std::numeric_limits<Real>::infinity();
    }
  }
}

template <typename Real>
void neighbour_count_cpu(const Points<Real>& points, const Tiles<Real>& tiles, Real limit, int64_t* count,
                         int64_t begin, int64_t end) {
  const Real above = std::nextafter(limit, std::numeric_limits<Real>::infinity());
  int64_t counted[kQueries];
  visit_distances(
      points, tiles, begin, end, [&](int q, int64_t) { counted[q] = 0; },
      [&](int q, int64_t, int64_t, int known, Vector<Real> distances) {
        const uint32_t within = limit < above ? lanes_below(distances, above) : ~uint32_t(0);  // or the limit is infinite
        counted[q] += __builtin_popcount(within & first_lanes(known));
      },
      [&](int q, int64_t query) { count[query] = counted[q] - (points.loop ? 0 : 1); });
}

template <typename Real, typename Index>
void nearest_cpu(const Points<Real>& points, const Tiles<Real>& tiles, const Index* rowptr, Index* col, int64_t begin,
                 int64_t end) {
  // The best so far of each query, sorted; a later point comes after those that are equally far.
  struct Best {
    std::vector<Real> distance;
    Index* source;
    int64_t found, wanted;

    void insert(Real value, int64_t point) {
      int64_t place = found < wanted ? found++ : found - 1;
      for (; place > 0 && distance[place - 1] > value; --place) {
        distance[place] = distance[place - 1];
        source[place] = source[place - 1];
      }
      distance[place] = value;
      source[place] = Index(point);
    }
    bool takes(Real value) const { return found < wanted || (wanted > 0 && value < distance[wanted - 1]); }
  } best[kQueries];

  visit_distances(
      points, tiles, begin, end,
      [&](int q, int64_t query) {
        best[q].source = col + rowptr[query];
        best[q].wanted = rowptr[query + 1] - rowptr[query];
        best[q].found = 0;
        if (int64_t(best[q].distance.size()) < best[q].wanted) best[q].distance.resize(best[q].wanted);
      },
      [&](int q, int64_t query, int64_t from, int known, Vector<Real> distances) {
        Best& row = best[q];
        if (row.wanted == 0) return;
        uint32_t nearer = row.found < row.wanted ? ~uint32_t(0) : lanes_below(distances, row.distance[row.wanted - 1]);
        for (nearer &= first_lanes(known); nearer; nearer &= nearer - 1) {
          const int lane = __builtin_ctz(nearer);
          const Real value = distances[lane];
          if (row.takes(value) && (points.loop || from + lane != query)) row.insert(value, from + lane);
        }
      },
      [](int, int64_t) {});
}

#define DLBENCH_INSTANTIATE(Real)                                                                                     \
  template int64_t tile_points<Real>();                                                                               \
  template void fill_tiles_cpu(const Points<Real>&, const int64_t*, Real*);                                           \
  template void neighbour_count_cpu(const Points<Real>&, const Tiles<Real>&, Real, int64_t*, int64_t, int64_t);       \
  template void nearest_cpu(const Points<Real>&, const Tiles<Real>&, const int32_t*, int32_t*, int64_t, int64_t);     \
  template void nearest_cpu(const Points<Real>&, const Tiles<Real>&, const int64_t*, int64_t*, int64_t, int64_t);
DLBENCH_INSTANTIATE(float)
DLBENCH_INSTANTIATE(double)

}  // namespace dlbench
