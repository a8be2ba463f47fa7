// The four numbers that bound a step, and how they may differ from sample to sample and from channel to channel.
#pragma once
#include <cstdint>

#include "portable.h"

namespace dlbench {

template <typename Real>
struct Limits {
  Real eps;           // radius of the ball, >= 0, rounded towards zero
  Real step;          // negative descends
  Real lower, upper;  // ends of the box, finite, rounded into it
};

// How the elements of a batch lie in memory: sample after sample, in each of them [channels, inner] or [inner, channels].
struct Batch {
  int64_t samples, channels, inner;
  bool channels_last;

  DLBENCH_SHARED int64_t size() const { return channels * inner; }
  DLBENCH_SHARED int64_t channel(int64_t i) const { return channels_last ? i % channels : i / inner; }
};

// values[4][samples][channels], the fields of Limits in their order; samples or channels are 1 where all share them.
template <typename Real>
struct LimitsTable {
  const Real* values;
  int64_t samples, channels;

  DLBENCH_SHARED Limits<Real> at(int64_t sample, int64_t channel) const {
    const int64_t next = samples * channels;
    const Real* p = values + (samples == 1 ? 0 : sample * channels) + (channels == 1 ? 0 : channel);
    return {p[0], p[next], p[2 * next], p[3 * next]};
  }
};

}  // namespace dlbench
