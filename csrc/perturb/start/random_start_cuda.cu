#include <cuda_runtime.h>

#include "pack.cuh"
#include "perturb/start/start_point.h"

namespace dlbench {
namespace {

constexpr int kThreads = 256;

// Four elements of a sample, of which the last may lie beyond its end. Blocks go through one sample after the other.
struct Four {
  int64_t sample;
  uint32_t counter;
};

__device__ Four four_of_thread(int64_t blocks_a_sample) {
  return {blockIdx.x / blocks_a_sample, uint32_t(blockIdx.x % blocks_a_sample * kThreads + threadIdx.x)};
}

template <Norm norm>
__device__ Pack<float, 4> draw_four(Stream stream, uint32_t counter) {
  const auto words = start_words<uint32_t>(stream, counter);
  return {start_draw<norm>(words.a), start_draw<norm>(words.b), start_draw<norm>(words.c), start_draw<norm>(words.d)};
}

// Adds up each sample's masses. They are integers: the order in which warps come does not matter.
template <Norm norm, typename Real>
__global__ void mass_kernel(RandomStart<Real> start, unsigned long long* masses, int64_t blocks_a_sample) {
  const Four four = four_of_thread(blocks_a_sample);
  const Pack<float, 4> draws = draw_four<norm>(start.stream(four.sample), four.counter);
  long long mass = 0;
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (4 * int64_t(four.counter) + k < start.batch.size()) mass += start_mass<norm>(draws.element[k]);
  for (int distance = 16; distance > 0; distance /= 2) mass += __shfl_xor_sync(0xffffffff, mass, distance);
  if (threadIdx.x % 32 == 0) atomicAdd(masses + four.sample, mass);
}

// The draws are made a second time, which is cheaper than to keep them in memory.
template <Norm norm, bool packed, typename Real>
__global__ void start_kernel(RandomStart<Real> start, const Real* x, Real* out, const int64_t* masses,
                             int64_t blocks_a_sample) {
  const Four four = four_of_thread(blocks_a_sample);
  const int64_t first = 4 * int64_t(four.counter), elements = start.batch.size();
  if (first >= elements) return;
  x += four.sample * elements;
  out += four.sample * elements;
  const Pack<float, 4> draws = draw_four<norm>(start.stream(four.sample), four.counter);
  const int64_t mass = norm == Norm::linf ? 0 : masses[four.sample];
  const Real common = start_scale<norm>(start, four.sample, start.limits_at(four.sample, 0), mass);
  const auto point = [&](Real centre, int k) {
    const Limits<Real> limits = start.limits_at(four.sample, start.channel_of(first + k));
    const Real scale = norm == Norm::linf ? checked_radius(limits.eps) : common;
    return start_point(centre, draws.element[k], scale, limits.lower, limits.upper);
  };
  if constexpr (packed) {
    auto points = *reinterpret_cast<const Pack<Real, 4>*>(x + first);
#pragma unroll
    for (int k = 0; k < 4; ++k) points.element[k] = point(points.element[k], k);
    *reinterpret_cast<Pack<Real, 4>*>(out + first) = points;
  } else {
    for (int k = 0; k < 4 && first + k < elements; ++k) {
      const int64_t place = start.place_of(first + k);
      out[place] = point(x[place], k);
    }
  }
}

template <Norm norm, typename Real>
void launch(const RandomStart<Real>& start, const Real* x, Real* out, int64_t* masses, cudaStream_t stream) {
  const int64_t elements = start.batch.size();
  const int64_t blocks_a_sample = ((elements + 3) / 4 + kThreads - 1) / kThreads;
  const auto blocks = static_cast<unsigned>(start.batch.samples * blocks_a_sample);  // 2^31 of them are 2^41 elements
  if constexpr (norm != Norm::linf)
    mass_kernel<norm><<<blocks, kThreads, 0, stream>>>(start, reinterpret_cast<unsigned long long*>(masses),
                                                       blocks_a_sample);
  using Reals = Pack<Real, 4>;
  if (!start.batch.channels_last && elements % 4 == 0 && aligned<Reals>(x) && aligned<Reals>(out))
    start_kernel<norm, true><<<blocks, kThreads, 0, stream>>>(start, x, out, masses, blocks_a_sample);
  else
    start_kernel<norm, false><<<blocks, kThreads, 0, stream>>>(start, x, out, masses, blocks_a_sample);
}

}  // namespace

template <typename Real>
void random_start_cuda(const RandomStart<Real>& start, const Real* x, Real* out, int64_t* masses, CUstream_st* stream) {
  if (start.batch.samples * start.batch.size() == 0) return;
  switch (start.norm) {
    case Norm::linf:
      return launch<Norm::linf>(start, x, out, masses, stream);
    case Norm::l2:
      return launch<Norm::l2>(start, x, out, masses, stream);
    case Norm::l1:
      return launch<Norm::l1>(start, x, out, masses, stream);
  }
}

template void random_start_cuda(const RandomStart<float>&, const float*, float*, int64_t*, CUstream_st*);
template void random_start_cuda(const RandomStart<double>&, const double*, double*, int64_t*, CUstream_st*);

}  // namespace dlbench
