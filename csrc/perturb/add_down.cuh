// a + b rounded down, on the GPU; add_down.h has the CPU's way.
#pragma once

namespace dlbench {

// The GPU has an instruction for it. Adding 0 turns its -0 into the +0 of rounding to nearest.
struct AddDownByInstruction {
  __device__ float operator()(float a, float b) const { return __fadd_rd(a, b) + 0.0f; }
  __device__ double operator()(double a, double b) const { return __dadd_rd(a, b) + 0.0; }
};

}  // namespace dlbench
