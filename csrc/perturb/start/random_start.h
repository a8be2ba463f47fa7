// A random point of the ball of radius eps around each sample, uniformly drawn, then clipped into the box:
//
//     out = clip(x + v, lower, upper),    v uniform in { v : |v| <= eps }
//
// An element's number depends on the seed, the sample's id, its restart and the element's place in the sample's logical
// order (row-major), and on nothing else: not on the batch, its layout in memory, the number of threads or the device.
// The seed is the key of Philox; the counter is (element / 4, restart, id's lower half, id's upper half); element % 4
// picks the word.
//
// In the L-infinity ball v is eps times uniform numbers, and eps may differ from channel to channel. In the others, where
// the first channel's eps counts, it comes from numbers g of density exp(-|g|^p) and an exponential E, after Barthe,
// Guédon, Mendelson and Naor ("A probabilistic approach to the geometry of the l_p^n-ball", Annals of Probability 33,
// 2005): v = eps g / (sum |g|^p + E)^(1/p). E's counter is the last one, which no element has. The sum is one of
// integers, which has no order.
//
// The ball holds in real arithmetic, not up to rounding: the radius is rounded down (for L2 and L1 by 2^-22 of itself,
// and to 0 where it is near the denormal numbers), and x + v is rounded towards x. Where ball and box do not meet, the
// box wins. eps = 0 gives x bit by bit, if it is inside the box. A NaN or an infinity in x, or an eps that is no radius,
// gives NaN.
#pragma once
#include <cstdint>

#include "perturb/limits.h"

namespace dlbench {

enum class Norm { linf, l2, l1 };

// Whose numbers of a seed's.
struct Stream {
  uint64_t seed, id;
  uint32_t restart;
};

template <typename Real>
struct RandomStart {
  Norm norm;
  uint64_t seed;
  const int64_t* streams;   // [samples, 2]: id and restart, the latter modulo 2^32
  Limits<Real> limits;      // of all, without a table; there is no step
  LimitsTable<Real> table;  // its values may be null
  Batch batch;              // of fewer than 2^32 elements a sample

  DLBENCH_SHARED Stream stream(int64_t sample) const {
    return {seed, uint64_t(streams[2 * sample]), uint32_t(streams[2 * sample + 1])};
  }

  DLBENCH_SHARED Limits<Real> limits_at(int64_t sample, int64_t channel) const {
    return table.values ? table.at(sample, channel) : limits;
  }

  // Logically a sample's elements are [channels, inner].
  DLBENCH_SHARED int64_t channel_of(int64_t element) const { return uint32_t(element) / uint32_t(batch.inner); }
  DLBENCH_SHARED int64_t place_of(int64_t element) const {
    return batch.channels_last ? uint32_t(element) % uint32_t(batch.inner) * batch.channels + channel_of(element)
                               : element;
  }
};

// Samples [begin, end) only. Real: float, double.
template <typename Real>
void random_start_cpu(const RandomStart<Real>& start, const Real* x, Real* out, int64_t begin, int64_t end);

// All samples, on the current device, in `stream`. masses [samples] hold zeros, and are not needed for L-infinity.
template <typename Real>
void random_start_cuda(const RandomStart<Real>& start, const Real* x, Real* out, int64_t* masses, CUstream_st* stream);

}  // namespace dlbench
