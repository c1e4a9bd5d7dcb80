/* AVX2: 4 pixels by 16 channels in registers.
 *
 * vpmaddubsw adds two products in int16 and saturates. `pack.py` therefore keeps the positive
 * weights of a pair at 128 or less together, and the negative ones too; what is left of a weight
 * goes into extra quads, so that sums are exact whatever the input.
 * Lanes hold channels 0-3, 8-11 | 4-7, 12-15, which the packs below put back into order.
 */
#ifndef QLRJAX_AVX2_H
#define QLRJAX_AVX2_H

#include <immintrin.h>

#include "layer.h"

#define ON_AVX2 __attribute__((target("avx2")))
#define INLINE_AVX2 static inline __attribute__((always_inline, target("avx2")))

INLINE_AVX2 __m256i quad_avx2(const uint8_t *x) {
  int32_t four;
  memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

INLINE_AVX2 __m256i clip64_avx2(__m256i value, __m128i shift, __m256i top) {
  __m256i zero = _mm256_setzero_si256();
  value = _mm256_srl_epi64(_mm256_andnot_si256(_mm256_cmpgt_epi64(zero, value), value), shift);
  return _mm256_blendv_epi8(value, top, _mm256_cmpgt_epi64(value, top));
}

/* Low words of (kappa * acc + lam) >> shift; of a wide layer, clipped already. */
INLINE_AVX2 __m256i requantize_avx2(__m256i acc, const quant *q, int half, const layer *l) {
  __m256i kappa = _mm256_loadu_si256((const __m256i *)(q->kappa + 8 * half));
  const __m256i *lam = (const __m256i *)(q->lam + 8 * half);
  __m256i even = _mm256_add_epi64(_mm256_mul_epi32(acc, kappa), _mm256_loadu_si256(lam));
  __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(acc, 32), _mm256_srli_epi64(kappa, 32));
  odd = _mm256_add_epi64(odd, _mm256_loadu_si256(lam + 1));
  __m128i shift = _mm_cvtsi32_si128(l->shift);
  if (l->wide) {
    __m256i top = _mm256_set1_epi64x((1 << l->bits) - 1);
    even = clip64_avx2(even, shift, top);
    odd = _mm256_slli_epi64(clip64_avx2(odd, shift, top), 32);
  } else {
    even = _mm256_srl_epi64(even, shift);
    odd = _mm256_sll_epi64(odd, _mm_cvtsi32_si128(32 - l->shift));
  }
  return _mm256_blend_epi32(even, odd, 0xAA);
}

INLINE_AVX2 void store_avx2(uint8_t *y, __m128i codes, int valid) {
  if (valid >= PANEL) {
    _mm_storeu_si128((__m128i *)y, codes);
  } else {
    uint8_t buffer[PANEL];
    _mm_storeu_si128((__m128i *)buffer, codes);
    memcpy(y, buffer, (size_t)valid);
  }
}

INLINE_AVX2 __m256i words_avx2(__m256i low, __m256i high, const quant *q, const layer *l) {
  return _mm256_packs_epi32(requantize_avx2(low, q, 0, l), requantize_avx2(high, q, 1, l));
}

INLINE_AVX2 __m256i multiply_avx2(__m256i acc, __m256i x, __m256i w) {
  __m256i pairs = _mm256_maddubs_epi16(x, w);
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* What was taken off large weights of 8 channels. */
INLINE_AVX2 void extras_avx2(const uint8_t *constants, const layer *l, int eight,
                             const uint8_t *const row[4], __m256i acc[4][2], int half) {
  const extra_range *range = (const extra_range *)(constants + l->extra);
  const int32_t *places = (const int32_t *)(range + 2 * panels(l)) + range[eight].first;
  const int8_t *w = (const int8_t *)constants + l->weight;
  w += (ptrdiff_t)panels(l) * l->quads * 64 + (ptrdiff_t)range[eight].first * 32;
  for (int e = 0; e < range[eight].count; e++) {
    __m256i weights = _mm256_loadu_si256((const __m256i *)(w + 32 * (ptrdiff_t)e));
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
      acc[r][half] = multiply_avx2(acc[r][half], quad_avx2(row[r] + places[e]), weights);
  }
}

ON_AVX2 static void tile_avx2(const uint8_t *constants, const layer *l, int p,
                              const uint8_t *const row[4], int rows, uint8_t *y) {
  const int8_t *weight = (const int8_t *)constants + l->weight;
  const int8_t *w = weight + (ptrdiff_t)p * l->quads * 64;
  const quant *q = (const quant *)(constants + l->quant) + p;
  __m256i acc[4][2];
  for (int r = 0; r < 4; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
  for (int k = 0; k < l->quads; k++) {
    __m256i w0 = _mm256_loadu_si256((const __m256i *)(w + 64 * (ptrdiff_t)k));
    __m256i w1 = _mm256_loadu_si256((const __m256i *)(w + 64 * (ptrdiff_t)k + 32));
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      __m256i x = quad_avx2(row[r] + 4 * k);
      acc[r][0] = multiply_avx2(acc[r][0], x, w0);
      acc[r][1] = multiply_avx2(acc[r][1], x, w1);
    }
  }
#pragma GCC unroll 2
  for (int half = 0; half < 2; half++) extras_avx2(constants, l, 2 * p + half, row, acc, half);
  int valid = l->out_channels - p * PANEL;
  __m128i top = _mm_set1_epi8((char)((1 << l->bits) - 1));
  for (int r = 0; r < rows; r += 2) {
    __m256i codes = _mm256_packus_epi16(words_avx2(acc[r][0], acc[r][1], q, l),
                                        words_avx2(acc[r + 1][0], acc[r + 1][1], q, l));
    codes = _mm256_permute4x64_epi64(codes, 0xD8);
    __m128i low = _mm_min_epu8(_mm256_castsi256_si128(codes), top);
    __m128i high = _mm_min_epu8(_mm256_extracti128_si256(codes, 1), top);
    store_avx2(y + (ptrdiff_t)r * l->out_channels, low, valid);
    if (r + 1 < rows) store_avx2(y + (ptrdiff_t)(r + 1) * l->out_channels, high, valid);
  }
}

ON_AVX2 static void product_avx2(const uint8_t *constants, const layer *l, const uint8_t *x,
                                 ptrdiff_t pitch, int rows, int from, int to, uint8_t *y) {
  for (int p = from; p < to; p++)
    for (int r = 0; r < rows; r += 4) {
      int left = rows - r < 4 ? rows - r : 4;
      const uint8_t *row[4];
      for (int i = 0; i < 4; i++) row[i] = x + pitch * (r + (i < left ? i : left - 1));
      tile_avx2(constants, l, p, row, left, y + (ptrdiff_t)r * l->out_channels + p * PANEL);
    }
}

/* Two taps at a time in int16, 16 channels: exact without any split. */
INLINE_AVX2 void taps_avx2(const uint8_t *constants, const layer *l, const uint8_t *const *taps,
                           ptrdiff_t step, int pixels, int pairs, uint8_t *y) {
  __m128i top = _mm_set1_epi8((char)((1 << l->bits) - 1));
  for (int p = 0; p < panels(l); p++) {
    const __m256i *w = (const __m256i *)(constants + l->weight) + (ptrdiff_t)p * pairs * 2;
    const quant *q = (const quant *)(constants + l->quant) + p;
    for (int n = 0; n < pixels; n++) {
      ptrdiff_t at = n * step + p * PANEL;
      __m256i low = _mm256_setzero_si256(), high = low;
      for (int t = 0; t < pairs; t++) {
        __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(taps[2 * t] + at)));
        __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(taps[2 * t + 1] + at)));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b),
                                                      _mm256_loadu_si256(w + 2 * t)));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b),
                                                        _mm256_loadu_si256(w + 2 * t + 1)));
      }
      __m256i words = words_avx2(low, high, q, l);
      __m256i codes = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0x08);
      store_avx2(y + (ptrdiff_t)n * l->out_channels + p * PANEL,
                 _mm_min_epu8(_mm256_castsi256_si128(codes), top), l->out_channels - p * PANEL);
    }
  }
}

ON_AVX2 static void depthwise_avx2(const uint8_t *constants, const layer *l,
                                   const uint8_t *const *taps, ptrdiff_t step, int pixels,
                                   uint8_t *y) {
  if (l->quads == 5)
    taps_avx2(constants, l, taps, step, pixels, 5, y);
  else
    taps_avx2(constants, l, taps, step, pixels, l->quads, y);
}

#endif
