// neighbour_count and nearest for torch, on the CPU.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "neighbours/arguments.h"

namespace dlbench::neighbours_on_cpu {
namespace {

constexpr int64_t kSerialDifferences = 32768;  // of coordinates, below which threads cost more than they save

// The points in tiles, which live as long as this.
template <typename Real>
class TiledPoints {
 public:
  explicit TiledPoints(const PointArguments& args) : points(args.view<Real>()), of_cloud_(args.cloud_count() + 1) {
    check_rising(points.clouds, points.cloud_count, points.points, "points");
    for (int64_t cloud = 0; cloud < points.cloud_count; ++cloud) {
      const int64_t size = points.clouds[cloud + 1] - points.clouds[cloud];
      of_cloud_[cloud + 1] = of_cloud_[cloud] + (size + tile_points<Real>() - 1) / tile_points<Real>();
      largest_ = std::max(largest_, size);
    }
    const int64_t tiles = of_cloud_.back();
    point_.resize(tiles * tile_points<Real>());
    coordinates_ = at::empty({tiles, points.dimensions, tile_points<Real>()}, args.pos.options());
    if (points.dimensions <= kMostBoxed) boxes_ = at::empty({tiles, 2, points.dimensions}, args.pos.options());
    at::parallel_for(0, points.cloud_count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t cloud = begin; cloud < end; ++cloud)
        fill_tiles_cpu(points, cloud, of_cloud_.data(), coordinates_.mutable_data_ptr<Real>(),
                       boxes_.defined() ? boxes_.mutable_data_ptr<Real>() : nullptr, point_.data());
    });
  }

  Tiles<Real> tiles() const {
    return {coordinates_.const_data_ptr<Real>(), boxes_.defined() ? boxes_.const_data_ptr<Real>() : nullptr,
            point_.data(), of_cloud_.data()};
  }

  // f(begin, end) over the tiles.
  template <typename F>
  void share(F f) const {
    const int64_t of_tile = tile_points<Real>() * largest_ * std::max<int64_t>(1, points.dimensions);
    at::parallel_for(0, of_cloud_.back(), std::max<int64_t>(1, kSerialDifferences / std::max<int64_t>(1, of_tile)), f);
  }

  const Points<Real> points;

 private:
  std::vector<int64_t> of_cloud_, point_;
  int64_t largest_ = 0;
  at::Tensor coordinates_, boxes_;  // boxes_ may be undefined
};

at::Tensor neighbour_count(const at::Tensor& pos, const at::Tensor& clouds, double limit, bool loop) {
  const PointArguments args(pos, clouds, loop);
  const at::Tensor count = at::empty({args.points()}, args.clouds.options());
  visit_real(args.pos.scalar_type(), [&](auto real) {
    using Real = decltype(real);
    const TiledPoints<Real> tiled(args);
    tiled.share([&](int64_t begin, int64_t end) {
      neighbour_count_cpu(tiled.points, tiled.tiles(), Real(limit), count.mutable_data_ptr<int64_t>(), begin, end);
    });
  });
  return count;
}

template <typename Real, typename Index>
void check_rows(const Points<Real>& points, const Index* rowptr, int64_t edges) {
  check_rising(rowptr, points.points, edges, "edges");
  for (int64_t cloud = 0; cloud < points.cloud_count; ++cloud) {
    const int64_t begin = points.clouds[cloud], end = points.clouds[cloud + 1];
    const int64_t most = end - begin - (points.loop ? 0 : 1);
    for (int64_t i = begin; i < end; ++i)
      TORCH_CHECK_VALUE(rowptr[i + 1] - rowptr[i] <= most, "rowptr wants ", rowptr[i + 1] - rowptr[i],
                        " neighbours of point ", i, ", whose cloud has ", most);
  }
}

at::Tensor nearest(const at::Tensor& pos, const at::Tensor& clouds, const at::Tensor& rowptr_, int64_t edges,
                   bool loop) {
  const PointArguments args(pos, clouds, loop);
  const at::Tensor rowptr = checked_rowptr(rowptr_, args.pos.device());
  TORCH_CHECK_VALUE(rowptr.numel() == args.points() + 1, "rowptr must have shape [", args.points() + 1, "], not ",
                    rowptr.sizes());
  TORCH_CHECK_VALUE(edges >= 0, "edges must be at least 0, not ", edges);
  const at::Tensor col = at::empty({edges}, rowptr.options());
  visit_real(args.pos.scalar_type(), [&](auto real) {
    using Real = decltype(real);
    const TiledPoints<Real> tiled(args);
    visit_index(rowptr, [&](auto index) {
      using Index = decltype(index);
      check_rows(tiled.points, rowptr.const_data_ptr<Index>(), edges);
      tiled.share([&](int64_t begin, int64_t end) {
        nearest_cpu(tiled.points, tiled.tiles(), rowptr.const_data_ptr<Index>(), col.mutable_data_ptr<Index>(), begin,
                    end);
      });
    });
  });
  return col;
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) {
  m.impl("neighbour_count", neighbour_count);
  m.impl("nearest", nearest);
}

}  // namespace
}  // namespace dlbench::neighbours_on_cpu
