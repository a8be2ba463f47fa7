// Marks a function that kernels of the CPU and of the GPU share.
#pragma once

#ifdef __CUDACC__
#define DLBENCH_SHARED __host__ __device__ inline
#else
#define DLBENCH_SHARED inline
#endif

struct CUstream_st;  // what a cudaStream_t points to, so that headers need not know CUDA
