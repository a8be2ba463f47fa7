// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter and a
// key to four words of 32 random bits. Whoever holds both has the numbers, in whatever order they are asked for.
#pragma once
#include <cstdint>

#include "portable.h"

namespace dlbench {

template <typename Word>
struct Words {
  Word a, b, c, d;
};

// Word: uint32_t, or uint64_t with the upper half empty, in whose lanes vectors of the CPU multiply in place.
template <typename Word>
DLBENCH_SHARED Words<Word> philox(Words<Word> counter, uint64_t key) {
  Word low = uint32_t(key), high = uint32_t(key >> 32);
  Word a = counter.a, b = counter.b, c = counter.c, d = counter.d;  // a struct would keep the loop from being unrolled
  for (int round = 0; round < 10; ++round) {
    const uint64_t p = uint64_t(0xD2511F53) * uint32_t(a), q = uint64_t(0xCD9E8D57) * uint32_t(c);
    a = Word(q >> 32) ^ b ^ low;
    b = uint32_t(q);
    c = Word(p >> 32) ^ d ^ high;
    d = uint32_t(p);
    low = uint32_t(low + 0x9E3779B9);
    high = uint32_t(high + 0xBB67AE85);
  }
  return {a, b, c, d};
}

}  // namespace dlbench
