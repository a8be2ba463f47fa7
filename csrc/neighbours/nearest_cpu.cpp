#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "neighbours/lanes_at_most.h"
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

// At most the squared distance to any point in a box.
template <typename Real>
Real box_distance(const Real* box, const Real* query, int64_t dimensions) {
  Real sum = 0;
  for (int64_t d = 0; d < dimensions; ++d) {
    const Real gap = std::max(std::max(box[d] - query[d], query[d] - box[dimensions + d]), Real(0));
    sum = std::fma(gap, gap, sum);
  }
  return sum;
}

// For the points of tiles [begin, end) as queries, some at a time: start(q, query) first, then for the tiles of its cloud
// in which wants(q, distance to the box) holds for one of them f(q, query, numbers of a vector's points, how many there
// are, distances), its own tile first; then finish(q, query).
template <typename Real, typename Start, typename Wants, typename F, typename Finish>
void visit_distances(const Points<Real>& points, const Tiles<Real>& tiles, int64_t begin, int64_t end, Start start,
                     Wants wants, F f, Finish finish) {
  const int64_t dimensions = points.dimensions;
  int64_t cloud = std::upper_bound(tiles.of_cloud, tiles.of_cloud + points.cloud_count, begin) - tiles.of_cloud - 1;
  for (int64_t own = begin; own < end; ++own) {
    while (tiles.of_cloud[cloud + 1] <= own) ++cloud;
    const int64_t first = tiles.of_cloud[cloud], last = tiles.of_cloud[cloud + 1];
    const int64_t size = points.clouds[cloud + 1] - points.clouds[cloud];
    const auto known = [&](int64_t tile) { return std::min(kTile<Real>, size - (tile - first) * kTile<Real>); };
    const int64_t* numbers = tiles.point + own * kTile<Real>;
    for (int64_t slot = 0; slot < known(own); slot += kQueries) {
      const int count = int(std::min<int64_t>(kQueries, known(own) - slot));
      const Real* queries[kQueries];
      for (int q = 0; q < kQueries; ++q)  // those that are missing repeat the last one, unheard
        queries[q] = points.pos + numbers[slot + std::min(q, count - 1)] * dimensions;
      for (int q = 0; q < count; ++q) start(q, numbers[slot + q]);

      const auto meet = [&](int64_t tile) {
        bool wanted = tiles.boxes == nullptr;
        for (int q = 0; q < count && !wanted; ++q)
          wanted = wants(q, box_distance(tiles.boxes + 2 * tile * dimensions, queries[q], dimensions));
        if (!wanted) return;
        Vector<Real> distances[kQueries][kVectors];
        tile_distances<Real>(tiles.coordinates + tile * dimensions * kTile<Real>, queries, dimensions, distances);
        for (int v = 0; v * kLanes<Real> < known(tile); ++v) {
          const int there = int(std::min<int64_t>(kLanes<Real>, known(tile) - v * kLanes<Real>));
          const int64_t* others = tiles.point + tile * kTile<Real> + v * kLanes<Real>;
          for (int q = 0; q < count; ++q) f(q, numbers[slot + q], others, there, distances[q][v]);
        }
      };
      meet(own);
      for (int64_t by = 1; own + by < last || own - by >= first; ++by) {
        if (own + by < last) meet(own + by);
        if (own - by >= first) meet(own - by);
      }
      for (int q = 0; q < count; ++q) finish(q, numbers[slot + q]);
    }
  }
}

constexpr uint32_t first_lanes(int count) { return count >= 32 ? ~uint32_t(0) : (uint32_t(1) << count) - 1; }

// Halves the points along the longest side of their box until they fit in tiles.
template <typename Real>
void bring_together(const Points<Real>& points, int64_t* begin, int64_t* end) {
  while (end - begin > kTile<Real>) {
    int64_t longest = 0;
    Real extent = -1;
    for (int64_t d = 0; d < points.dimensions; ++d) {
      const auto [low, high] = std::minmax_element(begin, end, [&](int64_t a, int64_t b) {
        return points.pos[a * points.dimensions + d] < points.pos[b * points.dimensions + d];
      });
      const Real side = points.pos[*high * points.dimensions + d] - points.pos[*low * points.dimensions + d];
      if (side > extent) extent = side, longest = d;
    }
    const int64_t tiles = (end - begin + kTile<Real> - 1) / kTile<Real>;
    int64_t* middle = begin + tiles / 2 * kTile<Real>;
    std::nth_element(begin, middle, end, [&](int64_t a, int64_t b) {
      return points.pos[a * points.dimensions + longest] < points.pos[b * points.dimensions + longest];
    });
    bring_together(points, begin, middle);
    begin = middle;
  }
}

}  // namespace

template <typename Real>
int64_t tile_points() {
  return kTile<Real>;
}

template <typename Real>
void fill_tiles_cpu(const Points<Real>& points, int64_t cloud, const int64_t* of_cloud, Real* coordinates, Real* boxes,
                    int64_t* point) {
  const int64_t dimensions = points.dimensions, size = points.clouds[cloud + 1] - points.clouds[cloud];
  point += of_cloud[cloud] * kTile<Real>;
  std::iota(point, point + size, points.clouds[cloud]);
  if (boxes && dimensions > 0) bring_together(points, point, point + size);
  for (int64_t tile = of_cloud[cloud]; tile < of_cloud[cloud + 1]; ++tile, point += kTile<Real>) {
    const int64_t known = std::min(kTile<Real>, size - (tile - of_cloud[cloud]) * kTile<Real>);
    for (int64_t d = 0; d < dimensions; ++d) {
      Real* to = coordinates + (tile * dimensions + d) * kTile<Real>;
      for (int64_t i = 0; i < known; ++i) to[i] = points.pos[point[i] * dimensions + d];
      std::fill(to + known, to + kTile<Real>, std::numeric_limits<Real>::infinity());
      if (!boxes) continue;
      boxes[2 * tile * dimensions + d] = *std::min_element(to, to + known);
      boxes[(2 * tile + 1) * dimensions + d] = *std::max_element(to, to + known);
    }
  }
}

template <typename Real>
void neighbour_count_cpu(const Points<Real>& points, const Tiles<Real>& tiles, Real limit, int64_t* count,
                         int64_t begin, int64_t end) {
  int64_t counted[kQueries];
  visit_distances(
      points, tiles, begin, end, [&](int q, int64_t) { counted[q] = 0; },
      [&](int, Real distance) { return distance <= limit; },
      [&](int q, int64_t, const int64_t*, int there, Vector<Real> distances) {
        counted[q] += __builtin_popcount(lanes_at_most(distances, limit) & first_lanes(there));
      },
      [&](int q, int64_t query) { count[query] = counted[q] - (points.loop ? 0 : 1); });
}

template <typename Real, typename Index>
void nearest_cpu(const Points<Real>& points, const Tiles<Real>& tiles, const Index* rowptr, Index* col, int64_t begin,
                 int64_t end) {
  // The best so far of each query, sorted by distance and then by number.
  struct Best {
    std::vector<Real> distance;
    Index* source;
    int64_t found, wanted;

    // Whether a point takes the place of the one at `place`, or comes before it.
    bool before(Real value, int64_t point, int64_t place) const {
      return value < distance[place] || (value == distance[place] && point < source[place]);
    }
    bool takes(Real value, int64_t point) const { return found < wanted || before(value, point, wanted - 1); }

    void insert(Real value, int64_t point) {
      int64_t place = found < wanted ? found++ : found - 1;
      for (; place > 0 && before(value, point, place - 1); --place) {
        distance[place] = distance[place - 1];
        source[place] = source[place - 1];
      }
      distance[place] = value;
      source[place] = Index(point);
    }
    Real worst() const { return found < wanted ? std::numeric_limits<Real>::infinity() : distance[wanted - 1]; }
  } best[kQueries];

  visit_distances(
      points, tiles, begin, end,
      [&](int q, int64_t query) {
        best[q].source = col + rowptr[query];
        best[q].wanted = rowptr[query + 1] - rowptr[query];
        best[q].found = 0;
        if (int64_t(best[q].distance.size()) < best[q].wanted) best[q].distance.resize(best[q].wanted);
      },
      [&](int q, Real distance) { return best[q].wanted > 0 && distance <= best[q].worst(); },
      [&](int q, int64_t query, const int64_t* others, int there, Vector<Real> distances) {
        Best& row = best[q];
        if (row.wanted == 0) return;
        uint32_t nearer = lanes_at_most(distances, row.worst()) & first_lanes(there);
        for (; nearer; nearer &= nearer - 1) {
          const int lane = __builtin_ctz(nearer);
          const Real value = distances[lane];
          if ((points.loop || others[lane] != query) && row.takes(value, others[lane])) row.insert(value, others[lane]);
        }
      },
      [](int, int64_t) {});
}

#define DLBENCH_INSTANTIATE(Real)                                                                                     \
  template int64_t tile_points<Real>();                                                                               \
  template void fill_tiles_cpu(const Points<Real>&, int64_t, const int64_t*, Real*, Real*, int64_t*);                 \
  template void neighbour_count_cpu(const Points<Real>&, const Tiles<Real>&, Real, int64_t*, int64_t, int64_t);       \
  template void nearest_cpu(const Points<Real>&, const Tiles<Real>&, const int32_t*, int32_t*, int64_t, int64_t);     \
  template void nearest_cpu(const Points<Real>&, const Tiles<Real>&, const int64_t*, int64_t*, int64_t, int64_t);
DLBENCH_INSTANTIATE(float)
DLBENCH_INSTANTIATE(double)

}  // namespace dlbench
