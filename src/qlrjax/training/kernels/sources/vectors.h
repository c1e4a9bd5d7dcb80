/* Sixteen floats at once; the compiler makes of them what the processor has.
 *
 * Every function that computes is inlined into one for each set of instructions (see VERSIONS), so
 * that one source serves them all. Channels are the last axis and no sum runs over it: results do
 * not depend on the width of a vector.
 */
#ifndef QLRJAX_VECTORS_H
#define QLRJAX_VECTORS_H

#include <string.h>

/* How vectors are passed does not matter where all functions are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define LANES 16
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int lanes __attribute__((vector_size(4 * LANES)));

/* Lanes that are left from place k on, all of a vector's at most. */
INLINE int lanes_left(size_t k, size_t size) { return (int)(size - k < LANES ? size - k : LANES); }

INLINE vec load(const float *from, int valid) {
  vec v = {0};
  if (valid >= LANES)
    memcpy(&v, from, sizeof v);
  else
    memcpy(&v, from, (size_t)valid * sizeof(float));
  return v;
}

INLINE void store(float *to, vec v, int valid) {
  if (valid >= LANES)
    memcpy(to, &v, sizeof v);
  else
    memcpy(to, &v, (size_t)valid * sizeof(float));
}

/* v where the mask is set, else 0. */
INLINE vec where(lanes mask, vec v) {
  lanes bits;
  memcpy(&bits, &v, sizeof v);
  bits &= mask;
  memcpy(&v, &bits, sizeof v);
  return v;
}

typedef void runner(const void *work, int phase, int chunk);

/* The sets of instructions of `call.py`, the narrowest first. */
enum { PLAIN, AVX2, AVX512 };

/* The widest set that is used; tests build narrower ones. */
#ifndef WIDEST
#define WIDEST AVX512
#endif

#if defined(__x86_64__)
static int best_instructions(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return PLAIN;
  int has_512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
  int best = has_512 ? AVX512 : AVX2;
  return best < WIDEST ? best : WIDEST;
}

#define ON(set) __attribute__((target(set)))
#define VERSIONS(name)                                                                       \
  ON("avx512f,avx512vl,fma") static void name##_avx512(const void *w, int p, int c) {         \
    name(w, p, c);                                                                           \
  }                                                                                          \
  ON("avx2,fma") static void name##_avx2(const void *w, int p, int c) { name(w, p, c); }     \
  static void name##_plain(const void *w, int p, int c) { name(w, p, c); }                   \
  static runner *name##_best(void) {                                                         \
    int best = best_instructions();                                                          \
    return best == AVX512 ? name##_avx512 : best == AVX2 ? name##_avx2 : name##_plain;       \
  }
#else
static int best_instructions(void) { return PLAIN; }

#define VERSIONS(name)                                                                       \
  static void name##_plain(const void *w, int p, int c) { name(w, p, c); }                   \
  static runner *name##_best(void) { return name##_plain; }
#endif

#endif
