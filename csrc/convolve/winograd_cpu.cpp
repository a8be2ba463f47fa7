#include "convolve/winograd.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "simd.h"

namespace dlbench {
namespace {

constexpr int kWide = kLanes<float>;
using Memory = Simd<float, kWide>;
using Vector = Memory::Vector;

constexpr int kLine = 16;                            // floats of a cache line
constexpr int kRows = kVectorBytes == 64 ? 12 : 6;   // tiles whose sums fill the registers
constexpr int64_t kScratch = 192 << 10;              // floats of patches and products, about: what the second cache holds

#if defined(__AVX512F__)
inline __mmask16 first_lanes(int64_t left) { return __mmask16((1u << left) - 1); }
inline Vector load_part(const float* p, int64_t left) {
  return left >= kWide ? Memory::load(p) : reinterpreted<Vector>(_mm512_maskz_loadu_ps(first_lanes(left), p));
}
inline void store_part(float* p, int64_t left, Vector v) {
  if (left >= kWide)
    Memory::store(p, v);
  else
    _mm512_mask_storeu_ps(p, first_lanes(left), reinterpreted<__m512>(v));
}
#else
inline Vector load_part(const float* p, int64_t left) {
  Vector v = {};
  std::memcpy(&v, p, std::min<int64_t>(left, kWide) * sizeof(float));
  return v;
}
inline void store_part(float* p, int64_t left, Vector v) {
  std::memcpy(p, &v, std::min<int64_t>(left, kWide) * sizeof(float));
}
#endif

// The values of a patch's polynomial at six points.
inline void evaluate(const Vector (&d)[kPatch], Vector (&at)[kPatch]) {
  const Vector a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
  at[0] = 4 * d[0] - 5 * d[2] + d[4];
  at[1] = a + b;
  at[2] = a - b;
  at[3] = c + e;
  at[4] = c - e;
  at[5] = 4 * d[1] - 5 * d[3] + d[5];
}

// The four coefficients that are outputs, from the values of a product of polynomials.
inline void interpolate(const Vector (&at)[kPatch], Vector (&out)[kTile]) {
  const Vector a = at[1] + at[2], b = at[1] - at[2], c = at[3] + at[4], e = at[3] - at[4];
  out[0] = at[0] + a + c;
  out[1] = b + 2 * e;
  out[2] = a + 4 * c;
  out[3] = b + 8 * e + at[5];
}

struct Place {
  int64_t image, top, left;  // of a tile's first output

  Place(const Winograd& task, int64_t tile)
      : image(tile / (task.rows() * task.columns())),
        top(tile / task.columns() % task.rows() * kTile),
        left(tile % task.columns() * kTile) {}
};

// A tile's patch at the points: row `tile` of the matrix of each point, the matrices `apart` floats from each other.
void transform_patch(const Winograd& task, const Place& place, float* patch, int64_t apart) {
  const int64_t stride = task.width * task.channels;
  const int64_t top = place.top - task.padding, begin = place.left - task.padding;
  const int64_t corner = (place.image * task.height + top) * stride + begin * task.channels;
  const auto inside = [](int64_t at, int64_t size) { return at >= 0 && at < size; };
  for (int64_t c = 0; c < task.channels; c += kWide) {
    const int64_t left = task.channels - c;
    Vector half[kPatch][kPatch];  // evaluated down the columns: [column][point]
    for (int j = 0; j < kPatch; ++j) {
      Vector d[kPatch];
      const bool column = inside(begin + j, task.width);
      for (int i = 0; i < kPatch; ++i) {
        d[i] = Vector{};
        if (!column || !inside(top + i, task.height)) continue;
        const int64_t at = corner + i * stride + j * task.channels + c;
        d[i] = load_part(task.x + at, left);
        if (task.gate != nullptr) d[i] = load_part(task.gate + at, left) > 0 ? d[i] : Vector{};
      }
      evaluate(d, half[j]);
    }
    for (int i = 0; i < kPatch; ++i) {
      const Vector row[kPatch] = {half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i]};
      Vector at[kPatch];
      evaluate(row, at);
      for (int j = 0; j < kPatch; ++j) Memory::store(patch + (i * kPatch + j) * apart + c, at[j]);
    }
  }
}

// Rows of a matrix [.., channels] times `wide` vectors of kernels [channels, kPanel].
template <int rows, int wide>
inline void multiply(const float* matrix, int64_t stride, const float* kernels, int64_t channels, float* product) {
  Vector sum[rows][wide] = {};
  for (int64_t c = 0; c < channels; ++c) {
    Vector kernel[wide];
    for (int v = 0; v < wide; ++v) kernel[v] = Memory::load(kernels + c * kPanel + v * kWide);
#pragma GCC unroll 12
    for (int row = 0; row < rows; ++row) {
      const Vector value = matrix[row * stride + c] - Vector{};  // in every lane, read once for all vectors
      for (int v = 0; v < wide; ++v) sum[row][v] += value * kernel[v];
    }
  }
  for (int row = 0; row < rows; ++row)
    for (int v = 0; v < wide; ++v) Memory::store(product + row * kPanel + v * kWide, sum[row][v]);
}

// Of `features` of the panel at least.
void multiply(const float* matrix, int64_t rows, int64_t stride, const float* kernels, int64_t channels,
              int64_t features, float* product) {
  const auto some = [&](auto at_once, int64_t row) {
    for (int64_t from = 0; from < std::min<int64_t>(features, kPanel); from += 2 * kWide) {
      const float *left = matrix + row * stride, *right = kernels + from;
      float* out = product + row * kPanel + from;
      if (features - from > kWide)
        multiply<at_once(), 2>(left, stride, right, channels, out);
      else
        multiply<at_once(), 1>(left, stride, right, channels, out);
    }
  };
  int64_t row = 0;
  for (; rows - row >= kRows; row += kRows) some(std::integral_constant<int, kRows>(), row);
  for (; rows - row >= 4; row += 4) some(std::integral_constant<int, 4>(), row);
  for (; row < rows; ++row) some(std::integral_constant<int, 1>(), row);
}

// A panel's features of a tile, from their values at the points.
void write_tile(const Winograd& task, const Place& place, const float* product, int64_t apart, int64_t feature) {
  const int64_t height = std::min<int64_t>(kTile, task.out_height() - place.top);
  const int64_t width = std::min<int64_t>(kTile, task.out_width() - place.left);
  const int64_t pixel = (place.image * task.out_height() + place.top) * task.out_width() + place.left;
  for (int64_t k = 0; k < kPanel && feature + k < task.features; k += kWide) {
    const int64_t left = task.features - feature - k;
    const Vector bias = task.bias ? load_part(task.bias + feature + k, left) : Vector{};
    Vector half[kPatch][kTile];  // interpolated down the columns: [column][row]
    for (int j = 0; j < kPatch; ++j) {
      Vector at[kPatch];
      for (int i = 0; i < kPatch; ++i) at[i] = Memory::load(product + (i * kPatch + j) * apart + k);
      interpolate(at, half[j]);
    }
    for (int i = 0; i < height; ++i) {
      const Vector row[kPatch] = {half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i]};
      Vector out[kTile];
      interpolate(row, out);
      for (int j = 0; j < width; ++j) {
        Vector value = out[j] + bias;
        if (task.relu) value = value < 0 ? Vector{} : value;
        store_part(task.out + (pixel + i * task.out_width() + j) * task.features + feature + k, left, value);
      }
    }
  }
}

}  // namespace

int64_t winograd_tiles(const Winograd& task, int64_t threads) {
  const int64_t most = std::max<int64_t>(kRows, kScratch / (kPoints * (task.channels + kPanel)));
  const int64_t rounds = (task.tiles() + threads * most - 1) / (threads * most);
  const int64_t calls = std::max<int64_t>(1, threads * rounds);
  return std::max<int64_t>(1, (task.tiles() + calls - 1) / calls);
}

void winograd_cpu(const Winograd& task, int64_t begin, int64_t end) {
  const int64_t tiles = end - begin, stride = (task.channels + kWide - 1) / kWide * kWide;
  // a line more than they need, so that the points' matrices do not all fall into the same sets of the cache
  const int64_t patches_apart = tiles * stride + kLine, products_apart = tiles * kPanel + kLine;
  thread_local std::vector<float> scratch;
  scratch.resize(std::max<size_t>(scratch.size(), kPoints * (patches_apart + products_apart)));
  float* patches = scratch.data();
  float* products = patches + kPoints * patches_apart;

  for (int64_t t = 0; t < tiles; ++t)
    transform_patch(task, Place(task, begin + t), patches + t * stride, patches_apart);
  for (int64_t feature = 0; feature < task.features; feature += kPanel) {
    const float* kernels = task.kernels + feature * kPoints * task.channels;
    for (int64_t point = 0; point < kPoints; ++point)
      multiply(patches + point * patches_apart, tiles, stride, kernels + point * task.channels * kPanel, task.channels,
               task.features - feature, products + point * products_apart);
    for (int64_t t = 0; t < tiles; ++t)
      write_tile(task, Place(task, begin + t), products + t * kPanel, products_apart, feature);
  }
}

}  // namespace dlbench
