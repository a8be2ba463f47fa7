// Convolutions of 3x3 and stride 1, within a border of zeros, as Winograd has them (Lavin & Gray, CVPR 2016,
// arXiv:1509.09308): a tile of 4x4 outputs and the 6x6 inputs around it, a patch, are polynomials, which are multiplied
// at 36 points, where 144 products would be needed otherwise.
//
//     at every point:  [tiles, channels] x [channels, features]
//
// An input that is not finite spoils the tiles whose patches hold it. Rounding errors are some ten to twenty
// times those of sums of products.
#pragma once
#include <cstdint>

namespace dlbench {

constexpr int kTile = 4;    // outputs, each way
constexpr int kPatch = 6;   // inputs of a tile, each way
constexpr int kPoints = 36;
constexpr int kPanel = 32;  // features that are computed at once

struct Winograd {
  const float* x;        // [images, height, width, channels]
  const float* gate;     // of the same shape: where it is not positive, x counts as 0; or null
  const float* kernels;  // [panels, kPoints, channels, kPanel], at the points, zeros beyond the last feature
  const float* bias;     // [features], or null
  float* out;            // [images, out_height(), out_width(), features]
  int64_t images, height, width, channels, features;
  int64_t padding;  // how wide the border is
  bool relu;        // negative outputs become 0

  int64_t out_height() const { return height + 2 * padding - 2; }
  int64_t out_width() const { return width + 2 * padding - 2; }
  int64_t rows() const { return (out_height() + kTile - 1) / kTile; }
  int64_t columns() const { return (out_width() + kTile - 1) / kTile; }
  int64_t tiles() const { return images * rows() * columns(); }
};

// How many tiles are best done in one call, of so many threads.
int64_t winograd_tiles(const Winograd& task, int64_t threads);

// Tiles [begin, end), counted along the rows of each image.
void winograd_cpu(const Winograd& task, int64_t begin, int64_t end);

}  // namespace dlbench
