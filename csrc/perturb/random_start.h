// A random point of the ball of radius eps around each sample, uniformly drawn, then clipped into the box:
//
//     out = clip(x + v, lower, upper),    v uniform in { v : |v| <= eps }
//
// An element's number depends on the seed, the restart, the sample's id and the element's place in the sample's logical
// order (row-major), and on nothing else: not on the batch, its layout in memory, the number of threads or the device.
// The seed is the key of Philox; the counter is (element / 4, restart, id's lower half, id's upper half); element % 4
// picks the word.
//
// In the L-infinity ball v is eps times uniform numbers. In the others, after Barthe, Guédon, Mendelson and Naor ("A
// probabilistic approach to the geometry of the l_p^n-ball", Annals of Probability 33, 2005): from numbers g of density
// exp(-|g|^p), and E exponential, v = eps g / (sum |g|^p + E)^(1/p). E's counter is the last one, which no element has.
// The sum is one of integers, which has no order.
//
// The ball holds in real arithmetic, not up to rounding: the radius is rounded down (L2 and L1: by 2^-22 of itself, and
// to 0 where it is denormal), and x + v is rounded towards x. Where ball and box do not meet, the box wins. eps = 0 gives
// x bit by bit, if it is inside the box. A NaN or an infinity in x, or an eps that is no radius, gives NaN.
#pragma once
#include <cstdint>

#include "portable.h"

namespace dlbench {

enum class Norm { linf, l2, l1 };

// One number for all, or one for each.
struct Numbers {
  const double* first;
  int64_t step;  // 0 or 1

  DLBENCH_SHARED double operator[](int64_t i) const { return first[i * step]; }
};

// Logically a sample's elements go through the pixels of one channel after the other. So they do in memory, unless the
// channels of one pixel after the other lie there. There are fewer than 2^32 of them.
struct SampleShape {
  int64_t channels, pixels;
  bool channels_last;

  DLBENCH_SHARED int64_t elements() const { return channels * pixels; }
  DLBENCH_SHARED int64_t channel(int64_t element) const { return uint32_t(element) / uint32_t(pixels); }
  DLBENCH_SHARED int64_t place(int64_t element) const {
    return channels_last ? uint32_t(element) % uint32_t(pixels) * channels + channel(element) : element;
  }
};

// Whose numbers of a seed's.
struct Stream {
  uint64_t seed, id;
  uint32_t restart;
};

struct RandomStart {
  Norm norm;
  uint64_t seed;
  uint32_t restart;
  const int64_t* ids;    // or null, where they count from 0
  Numbers eps;           // of samples
  Numbers lower, upper;  // of channels
  SampleShape shape;

  DLBENCH_SHARED Stream stream(int64_t sample) const {
    return {seed, uint64_t(ids ? ids[sample] : sample), restart};
  }
};

// Samples [begin, end) only. Real: float, double.
template <typename Real>
void random_start_cpu(const RandomStart& start, const Real* x, Real* out, int64_t begin, int64_t end);

// All samples, on the current device, in `stream`. masses [samples] hold zeros, and are not needed for L-infinity.
template <typename Real>
void random_start_cuda(const RandomStart& start, const Real* x, Real* out, int64_t* masses, int64_t samples,
                       CUstream_st* stream);

}  // namespace dlbench
