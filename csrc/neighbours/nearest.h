// Neighbours of points in clouds: the points of one cloud, clouds[c] to clouds[c+1], are each other's neighbours.
//
//     neighbour_count   how many lie within a squared distance, for every point
//     nearest           row i of `rowptr` gets as many as fit in it, the nearest first; of equally far ones the first
//
// A squared distance is the sum over coordinates, in their order, of fused multiply-adds of the difference with itself:
// the same bits on the CPU and on the GPU, and exactly equal where lattice points are equally far.
#pragma once
#include <cstdint>

#include "portable.h"

namespace dlbench {

template <typename Real>
struct Points {
  const Real* pos;        // [points, dimensions], finite
  const int64_t* clouds;  // [clouds + 1]
  int64_t points, dimensions, cloud_count;
  bool loop;  // whether a point is its own neighbour
};

// On the CPU the points of a cloud are laid out in tiles, coordinate by coordinate, the rest of the last one infinite. In
// few dimensions those of a tile are near each other, and have a box: a tile whose box is too far is passed over. The
// distance to a box is summed as those to points are, so that with every rounding it is at most theirs.
template <typename Real>
struct Tiles {
  const Real* coordinates;  // [tiles, dimensions, tile_points<Real>()]
  const Real* boxes;        // [tiles, 2, dimensions], lower ends and upper ends; or null
  const int64_t* point;     // [tiles, tile_points<Real>()], the number of each
  const int64_t* of_cloud;  // [clouds + 1]; the first tile of each
};

template <typename Real>
int64_t tile_points();

constexpr int64_t kMostBoxed = 8;  // dimensions; in more, every box is near every other

// Fills what the pointers of `tiles` say, of_cloud excepted, for one cloud.
template <typename Real>
void fill_tiles_cpu(const Points<Real>& points, int64_t cloud, const int64_t* of_cloud, Real* coordinates, Real* boxes,
                    int64_t* point);

// The points of tiles [begin, end) only. count [points]; rowptr [points + 1], col [edges]. No row is longer than there are
// neighbours. Real: float, double. Index: int32_t, int64_t.
template <typename Real>
void neighbour_count_cpu(const Points<Real>& points, const Tiles<Real>& tiles, Real limit, int64_t* count,
                         int64_t begin, int64_t end);
template <typename Real, typename Index>
void nearest_cpu(const Points<Real>& points, const Tiles<Real>& tiles, const Index* rowptr, Index* col, int64_t begin,
                 int64_t end);

// All points, on the current device, in `stream`. distance [edges] is room to work in.
template <typename Real>
void neighbour_count_cuda(const Points<Real>& points, Real limit, int64_t* count, CUstream_st* stream);
template <typename Real, typename Index>
void nearest_cuda(const Points<Real>& points, const Index* rowptr, Index* col, Real* distance, CUstream_st* stream);

}  // namespace dlbench
