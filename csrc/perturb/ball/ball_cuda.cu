// One kernel for all steps and projections. A sample is read from memory once: its points and their centres stay in the
// shared memory of the block that works on it, or, where that is too small (ImageNet's samples), of a cluster of up to
// eight blocks, each with a slice of the sample, which exchange their sums through distributed shared memory. Samples that
// are larger still, or devices without clusters, work on global memory in the same way, and in place.
#include <cuda_runtime.h>

#include <algorithm>

#include "perturb/ball/ball.h"
#include "perturb/team.cuh"

namespace dlbench {
namespace {

constexpr int kMostThreads = 512;  // of a block; with more, registers would be kept in memory
constexpr int kMostBlocks = 8;     // of a cluster, that every device with clusters can have

// ------------------------------------------------------------------------------------------------- a slice of a sample

// What one block works on. Its elements have numbers in their sample, and lie from `first` on.
template <typename Real>
struct Slice {
  Real* x_adv;     // the sample
  const Real* x;   // the sample
  Real* v;         // the slice, where it is worked on: in shared memory, or x_adv itself
  Real* centre;    // the slice of x, in shared memory; null if there is no room
  int64_t sample, first, end;
  Batch batch;
  BallLimits<Real> limits;

  // f(place in the sample, place in the slice, limits) for this thread's elements, the same ones at every call.
  template <typename F>
  __device__ void each(F f) const {
    int64_t place = first + threadIdx.x;
    if (!limits.by_channel()) {
      const Limits<Real> here = limits.at(sample, 0);
#pragma unroll 4
      for (; place < end; place += blockDim.x) f(place, place - first, here);
      return;
    }
    // The channel is a quotient, or a remainder; both are carried along, as dividing takes longer than all the rest.
    const int64_t by = batch.channels_last ? batch.channels : batch.inner;
    const int64_t whole_step = blockDim.x / by, step = blockDim.x % by;
    int64_t whole = place / by, rest = place % by;
    for (; place < end; place += blockDim.x) {
      f(place, place - first, limits.at(sample, batch.channels_last ? rest : whole));
      whole += whole_step, rest += step;
      if (rest >= by) rest -= by, ++whole;
    }
  }

  __device__ Real centre_at(int64_t place) const { return centre ? centre[place - first] : x[place]; }
};

// ----------------------------------------------------------------------------------------------------------- the moves

// Each has prepare(slice, team), which returns what a thread calls with its points.

struct Stay {
  struct Move {
    template <typename Real>
    __device__ Real operator()(Real x_adv, int64_t, const Limits<Real>&) const {
      return x_adv;
    }
    __device__ void finish(int64_t) const {}
  };
  template <typename Real>
  __device__ Move prepare(const Slice<Real>&, Team&, unsigned char*) const {
    return {};
  }
};

// A move along a gradient, which it tallies on the way.
template <typename Format, typename How>
struct AlongGradient {
  using Bits = typename Format::Bits;
  How how;
  const Bits* grad;  // the sample
  int64_t* tally;
  int counts[kKinds] = {};

  template <typename Real>
  __device__ Real operator()(Real x_adv, int64_t place, const Limits<Real>& box) {
    const Bits bits = grad[place];
    if (tally)
      for (int which = 0; which < kKinds; ++which)
        counts[which] += is_kind(which, bits, FloatBits<Bits>{Format::kInfinity, Format::kSmallestNormal});
    return how.template operator()<Format>(x_adv, bits, box.lower, box.upper);
  }

  __device__ void finish(int64_t sample) {
    if (!tally) return;
    for (int which = 0; which < kKinds; ++which) {
      for (int by = kWarp / 2; by > 0; by /= 2) counts[which] += __shfl_down_sync(0xffffffffu, counts[which], by);
      if (threadIdx.x % kWarp == 0 && counts[which] > 0)  // whole numbers: it does not matter who comes first
        atomicAdd(reinterpret_cast<unsigned long long*>(tally + sample * kKinds + which),
                  static_cast<unsigned long long>(counts[which]));
    }
  }
};

template <typename Format>
struct L2Steps {
  const typename Format::Bits* grad;
  int64_t* tally;

  template <typename Real>
  __device__ AlongGradient<Format, L2Move> prepare(const Slice<Real>& slice, Team& team, unsigned char*) const {
    const auto* own = grad + slice.sample * slice.batch.size();
    double scale = 1;
    if (kNeedsScale<Format>) {
      double most = 0;
      slice.each([&](int64_t place, int64_t, const Limits<Real>&) { most = fmax(most, fabs(finite<Format>(own[place]))); });
      scale = scale_for(team.all(most, Larger()));
    }
    Sums squares{};
    slice.each([&](int64_t place, int64_t, const Limits<Real>&) {
      const double slope = finite<Format>(own[place]) * scale;
      squares.cost += slope * slope;
    });
    const double norm = sqrt(team.all(squares, Add()).cost);
    return {{norm > 0 ? slice.limits.at(slice.sample, 0).step / norm : 0, scale}, own, tally};
  }
};

// The digit in which the wanted-th largest key falls, given how many keys there are of each; by one warp.
struct Digit {
  int digit;
  int64_t larger, equal;  // keys
};
constexpr int kDigit = 8, kDigits = 1 << kDigit;

__device__ void find_digit(const int64_t (&keys)[kDigits], int64_t wanted, Digit& found) {
  constexpr int kEach = kDigits / kWarp;  // digits of a lane, from the highest on
  int digit = kDigits - 1 - kEach * int(threadIdx.x);
  int64_t own = 0;
  for (int i = 0; i < kEach; ++i) own += keys[digit - i];
  int64_t up_to_own = own;
  for (int by = 1; by < kWarp; by *= 2) {
    const int64_t before = __shfl_up_sync(0xffffffffu, static_cast<long long>(up_to_own), by);
    if (threadIdx.x >= by) up_to_own += before;
  }
  int64_t larger = up_to_own - own;
  if (larger >= wanted || wanted > up_to_own) return;
  while (larger + keys[digit] < wanted) larger += keys[digit--];
  found = {digit, larger, keys[digit]};
}

template <typename Format>
struct L1Steps {
  using Bits = typename Format::Bits;
  const Bits* grad;
  Sparsity sparsity;
  int64_t* tally;

  // The k-th largest key, digit by digit from the highest. Until the points come the keys lie where these will: a key is
  // at most as large as a point and its centre.
  template <typename Real>
  __device__ AlongGradient<Format, L1Move<Bits>> prepare(const Slice<Real>& slice, Team& team,
                                                         unsigned char* memory) const {
    static_assert(sizeof(Bits) <= 2 * sizeof(Real));
    __shared__ unsigned counts[kDigits];
    __shared__ int64_t totals[kDigits];
    __shared__ Digit found;
    const Bits* own = grad + slice.sample * slice.batch.size();
    const double step = slice.limits.at(slice.sample, 0).step;
    Bits* keys = slice.centre ? reinterpret_cast<Bits*>(memory) : nullptr;
    const auto key_of = [&](int64_t place, const Limits<Real>& box) {
      return L1Move<Bits>::template key<Format>(slice.x_adv[place], own[place], step < 0, box.lower, box.upper);
    };
    if (keys) slice.each([&](int64_t place, int64_t i, const Limits<Real>& box) { keys[i] = key_of(place, box); });

    const int64_t k = coordinates(sparsity.at(slice.sample), slice.batch.size());
    int64_t larger = 0, equal = 0;
    Bits least = 0;
    for (int shift = 8 * sizeof(Bits) - kDigit; shift >= 0; shift -= kDigit) {
      for (int digit = threadIdx.x; digit < kDigits; digit += blockDim.x) counts[digit] = 0;
      __syncthreads();
      slice.each([&](int64_t place, int64_t i, const Limits<Real>& box) {
        const Bits key = keys ? keys[i] : key_of(place, box);
        const bool shares_digits = shift + kDigit == 8 * sizeof(Bits) || (key ^ least) >> (shift + kDigit) == 0;
        if (shares_digits) atomicAdd(&counts[(key >> shift) & (kDigits - 1)], 1u);
      });
      team.sync();
      for (int digit = threadIdx.x; digit < kDigits; digit += blockDim.x) {
        totals[digit] = 0;
        for (int rank = 0; rank < team.size(); ++rank) totals[digit] += *team.in_block(rank, &counts[digit]);
      }
      __syncthreads();
      if (threadIdx.x < kWarp) find_digit(totals, k - larger, found);
      team.sync();  // before anybody counts again
      larger += found.larger, equal = found.equal;
      least |= static_cast<Bits>(found.digit) << shift;
    }
    const int64_t moving = least > 0 ? larger + equal : larger;
    return {{least > 0 ? least : Bits(1), share_of<Real>(step, moving)}, own, tally};
  }
};

// ---------------------------------------------------------------------------------------------------------- the kernel

template <typename Ball, typename Moves>
__global__ void __launch_bounds__(kMostThreads)
    ball_kernel(typename Ball::Real* x_adv, const typename Ball::Real* x, Batch batch,
                BallLimits<typename Ball::Real> limits, Moves moves, int64_t share, bool on_chip) {
  using Real = typename Ball::Real;
  extern __shared__ __align__(16) unsigned char memory[];
  Team team;
  const int64_t sample = blockIdx.x / team.size(), size = batch.size(), first = team.rank() * share;
  x_adv += sample * size, x += sample * size;
  Real* v = on_chip ? reinterpret_cast<Real*>(memory) : x_adv + first;
  const Slice<Real> slice{x_adv,  x,     v,
                          on_chip ? v + share : nullptr,
                          sample, first, min(first + share, size),
                          batch,  limits};

  auto move = moves.prepare(slice, team, memory);
  Sums mine{};
  slice.each([&](int64_t place, int64_t i, const Limits<Real>& box) {
    const Real moved = move(x_adv[place], place, box), centre = x[place];
    v[i] = moved;
    if (on_chip) slice.centre[i] = centre;
    mine += sums_of<Ball>(part_of(Ball(Ball::kUnchanged), moved, centre, box.lower, box.upper));
  });
  move.finish(sample);

  const Sums unchanged = team.all(mine, Add());
  const Ball ball(solve<Ball>(limits.at(sample, 0).eps, unchanged, [&](double multiplier) {
    const Ball trial(multiplier);
    Sums sums{};
    slice.each([&](int64_t place, int64_t i, const Limits<Real>& box) {
      sums += sums_of<Ball>(part_of(trial, v[i], slice.centre_at(place), box.lower, box.upper));
    });
    return team.all(sums, Add());
  }));
  slice.each([&](int64_t place, int64_t i, const Limits<Real>& box) {
    x_adv[place] = settled(ball, v[i], slice.centre_at(place), box.lower, box.upper);
  });
  team.sync();  // a block's memory must not go while others read from it
}

// Fewest blocks that hold a sample on chip, or one without shared memory where none do.
struct Plan {
  int blocks;
  int64_t share, bytes;
};

Plan plan_for(int64_t size, int64_t bytes_each, int64_t bytes_a_block, int most_blocks) {
  for (int blocks = 1; blocks <= most_blocks; blocks *= 2) {
    const int64_t share = (size + blocks - 1) / blocks;
    if (share * bytes_each <= bytes_a_block) return {blocks, share, share * bytes_each};
  }
  return {1, size, 0};
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, which, device);
  return value;
}

template <typename Ball, typename Moves>
void launch(typename Ball::Real* x_adv, const typename Ball::Real* x, Batch batch,
            BallLimits<typename Ball::Real> limits, Moves moves, cudaStream_t stream) {
  const auto kernel = ball_kernel<Ball, Moves>;
  cudaFuncAttributes own;
  cudaFuncGetAttributes(&own, kernel);
  const int64_t room = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - int64_t(own.sharedSizeBytes);
  const bool clusters = attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
  Plan plan = plan_for(batch.size(), 2 * sizeof(typename Ball::Real), room, clusters ? kMostBlocks : 1);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(plan.bytes));

  const auto threads_for = [](int64_t share) {  // about four elements each
    return static_cast<unsigned>(std::clamp<int64_t>((share / 4 + kWarp - 1) / kWarp * kWarp, kWarp, kMostThreads));
  };
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(plan.blocks), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(batch.samples * plan.blocks));
  config.blockDim = dim3(threads_for(plan.share));
  config.dynamicSmemBytes = plan.bytes;
  config.stream = stream;
  if (plan.blocks > 1) {
    config.attrs = &cluster, config.numAttrs = 1;
    int fitting = 0;  // 0 on a part of a GPU that has no eight blocks for a cluster
    if (cudaOccupancyMaxActiveClusters(&fitting, kernel, &config) != cudaSuccess || fitting == 0) {
      cudaGetLastError();
      plan = {1, batch.size(), 0};
      config.gridDim = dim3(static_cast<unsigned>(batch.samples));
      config.blockDim = dim3(threads_for(plan.share));
      config.dynamicSmemBytes = 0, config.attrs = nullptr, config.numAttrs = 0;
    }
  }
  cudaLaunchKernelEx(&config, kernel, x_adv, x, batch, limits, moves, plan.share, plan.bytes > 0);
}

}  // namespace

template <typename Format, typename Real>
void l2_step_cuda(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                  int64_t* tally, CUstream_st* stream) {
  launch<L2<Real>>(x_adv, x, batch, limits, L2Steps<Format>{grad, tally}, stream);
}

template <typename Format, typename Real>
void l1_step_cuda(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                  Sparsity sparsity, int64_t* tally, CUstream_st* stream) {
  launch<L1<Real>>(x_adv, x, batch, limits, L1Steps<Format>{grad, sparsity, tally}, stream);
}

template <typename Ball>
void project_cuda(typename Ball::Real* x_adv, const typename Ball::Real* x, Batch batch,
                  BallLimits<typename Ball::Real> limits, CUstream_st* stream) {
  launch<Ball>(x_adv, x, batch, limits, Stay(), stream);
}

#define DLBENCH_INSTANTIATE(Real, Format)                                                                         \
  template void l2_step_cuda<Format>(Real*, const Real*, const Format::Bits*, Batch, BallLimits<Real>, int64_t*,  \
                                     CUstream_st*);                                                               \
  template void l1_step_cuda<Format>(Real*, const Real*, const Format::Bits*, Batch, BallLimits<Real>, Sparsity,  \
                                     int64_t*, CUstream_st*);
DLBENCH_INSTANTIATE(float, Binary16)
DLBENCH_INSTANTIATE(float, Brain16)
DLBENCH_INSTANTIATE(float, Binary32)
DLBENCH_INSTANTIATE(float, Binary64)
DLBENCH_INSTANTIATE(double, Binary16)
DLBENCH_INSTANTIATE(double, Brain16)
DLBENCH_INSTANTIATE(double, Binary32)
DLBENCH_INSTANTIATE(double, Binary64)
template void project_cuda<L2<float>>(float*, const float*, Batch, BallLimits<float>, CUstream_st*);
template void project_cuda<L2<double>>(double*, const double*, Batch, BallLimits<double>, CUstream_st*);
template void project_cuda<L1<float>>(float*, const float*, Batch, BallLimits<float>, CUstream_st*);
template void project_cuda<L1<double>>(double*, const double*, Batch, BallLimits<double>, CUstream_st*);

}  // namespace dlbench
