/* The AVX-512 intrinsics of `vnni.h` in plain C, after Intel's Intrinsics Guide, so that its layout
 * and its arithmetic are tested on machines without them. Compile with -include. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define FOR_VNNI target("avx2")
#define BEST_INSTRUCTIONS 2
typedef union {
  int8_t b[64];
  uint8_t u[64];
  int16_t h[32];
  int32_t i[16];
  uint64_t q[8];
  int64_t s[8];
} by_hand;
#define HAND static inline by_hand __attribute__((unused))
#define EACH(n) for (int k = 0; k < (n); k++)

HAND hand_load(const void *p) { by_hand r; memcpy(&r, p, 64); return r; }
HAND hand_set32(int32_t v) { by_hand r; EACH(16) r.i[k] = v; return r; }
HAND hand_set64(int64_t v) { by_hand r; EACH(8) r.s[k] = v; return r; }
HAND hand_zero(void) { return hand_set32(0); }
HAND hand_mul(by_hand a, by_hand b) {
  by_hand r;
  EACH(8) r.s[k] = (int64_t)a.i[2 * k] * b.i[2 * k];
  return r;
}
HAND hand_add64(by_hand a, by_hand b) { EACH(8) a.q[k] += b.q[k]; return a; }
HAND hand_srli(by_hand a, int n) { EACH(8) a.q[k] >>= n; return a; }
HAND hand_slli(by_hand a, int n) { EACH(8) a.q[k] <<= n; return a; }
HAND hand_max32(by_hand a, by_hand b) { EACH(16) if (b.i[k] > a.i[k]) a.i[k] = b.i[k]; return a; }
HAND hand_max64(by_hand a, by_hand b) { EACH(8) if (b.s[k] > a.s[k]) a.s[k] = b.s[k]; return a; }
HAND hand_min64(by_hand a, by_hand b) { EACH(8) if (b.s[k] < a.s[k]) a.s[k] = b.s[k]; return a; }
HAND hand_blend(int mask, by_hand a, by_hand b) {
  EACH(16) if (mask >> k & 1) a.i[k] = b.i[k];
  return a;
}
HAND hand_dot(by_hand acc, by_hand x, by_hand w) {
  EACH(64) acc.i[k / 4] = (int32_t)((uint32_t)acc.i[k / 4] + (uint32_t)(x.u[k] * w.b[k]));
  return acc;
}
HAND hand_dot16(by_hand acc, by_hand x, by_hand w) {
  EACH(32) acc.i[k / 2] = (int32_t)((uint32_t)acc.i[k / 2] + (uint32_t)(x.h[k] * w.h[k]));
  return acc;
}
__attribute__((target("avx2"))) HAND hand_widen(__m256i bytes) {
  uint8_t from[32];
  by_hand r;
  memcpy(from, &bytes, 32);
  EACH(32) r.h[k] = from[k];
  return r;
}
static inline __m128i __attribute__((unused)) hand_narrow(by_hand a) {
  uint8_t bytes[16];
  EACH(16) bytes[k] = (uint32_t)a.i[k] > 255 ? 255 : (uint8_t)a.i[k];
  return _mm_loadu_si128((const __m128i *)bytes);
}

#define __m512i by_hand
#define _mm512_loadu_si512 hand_load
#define _mm512_set1_epi32 hand_set32
#define _mm512_set1_epi64 hand_set64
#define _mm512_setzero_si512 hand_zero
#define _mm512_mul_epi32 hand_mul
#define _mm512_add_epi64 hand_add64
#define _mm512_srli_epi64 hand_srli
#define _mm512_slli_epi64 hand_slli
#define _mm512_srl_epi64(a, n) hand_srli(a, _mm_cvtsi128_si32(n))
#define _mm512_sll_epi64(a, n) hand_slli(a, _mm_cvtsi128_si32(n))
#define _mm512_max_epi32 hand_max32
#define _mm512_max_epi64 hand_max64
#define _mm512_min_epi64 hand_min64
#define _mm512_mask_blend_epi32 hand_blend
#define _mm512_dpbusd_epi32 hand_dot
#define _mm512_dpwssd_epi32 hand_dot16
#define _mm512_cvtepu8_epi16 hand_widen
#define _mm512_cvtusepi32_epi8 hand_narrow
