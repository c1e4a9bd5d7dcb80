/* AVX-512 VNNI: 8 pixels by 32 channels in registers, four products an instruction, exact. */
#ifndef QLRJAX_VNNI_H
#define QLRJAX_VNNI_H

#include <immintrin.h>

#include "layer.h"

#ifndef FOR_VNNI /* a test gives the instructions by hand, for machines that lack them */
#define FOR_VNNI target("avx512f,avx512bw,avx512vl,avx512vnni")
#endif
#define ON_VNNI __attribute__((FOR_VNNI))
#define INLINE_VNNI static inline __attribute__((always_inline, FOR_VNNI))

INLINE_VNNI __m512i quad_vnni(const uint8_t *x) {
  int32_t four;
  memcpy(&four, x, 4);
  return _mm512_set1_epi32(four);
}

INLINE_VNNI __m512i clip64_vnni(__m512i value, __m128i shift, __m512i top) {
  value = _mm512_srl_epi64(_mm512_max_epi64(value, _mm512_setzero_si512()), shift);
  return _mm512_min_epi64(value, top);
}

/* What requantizes a panel, in registers: odd lanes beside even ones. */
typedef struct {
  __m512i even, odd, even_lam, odd_lam;
  __m128i shift, up, top; /* up: 32 - shift */
} quant_vnni;

INLINE_VNNI quant_vnni load_quant_vnni(const quant *q, const layer *l) {
  __m512i kappa = _mm512_loadu_si512(q->kappa);
  return (quant_vnni){kappa,
                      _mm512_srli_epi64(kappa, 32),
                      _mm512_loadu_si512(q->lam),
                      _mm512_loadu_si512(q->lam + 8),
                      _mm_cvtsi32_si128(l->shift),
                      _mm_cvtsi32_si128(32 - l->shift),
                      _mm_set1_epi8((char)((1 << l->bits) - 1))};
}

/* `wide` comes as a constant. */
INLINE_VNNI __m128i requantize_vnni(__m512i acc, const quant_vnni *q, int bits, int wide) {
  __m512i even = _mm512_add_epi64(_mm512_mul_epi32(acc, q->even), q->even_lam);
  __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(acc, 32), q->odd);
  odd = _mm512_add_epi64(odd, q->odd_lam);
  if (wide) {
    __m512i top = _mm512_set1_epi64((1 << bits) - 1);
    even = clip64_vnni(even, q->shift, top);
    odd = _mm512_slli_epi64(clip64_vnni(odd, q->shift, top), 32);
  } else {
    even = _mm512_srl_epi64(even, q->shift);
    odd = _mm512_sll_epi64(odd, q->up);
  }
  __m512i words = _mm512_mask_blend_epi32(0xAAAA, even, odd);
  words = _mm512_max_epi32(words, _mm512_setzero_si512());
  return _mm_min_epu8(_mm512_cvtusepi32_epi8(words), q->top);
}

INLINE_VNNI void store_vnni(uint8_t *y, __m128i codes, int valid) {
  if (valid >= PANEL) {
    _mm_storeu_si128((__m128i *)y, codes);
  } else {
    uint8_t buffer[PANEL];
    _mm_storeu_si128((__m128i *)buffer, codes);
    memcpy(y, buffer, (size_t)valid);
  }
}

/* Codes of a panel's pixels; `valid` channels of it are there. */
INLINE_VNNI void finish_vnni(const __m512i acc[8][2], int side, const quant *quants, const layer *l,
                             int rows, int valid, uint8_t *y) {
  quant_vnni q = load_quant_vnni(quants, l);
  ptrdiff_t step = l->out_channels;
  int bits = l->bits, wide = l->wide;
  if (rows == 8 && valid >= PANEL && !wide) { /* most are */
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++)
      _mm_storeu_si128((__m128i *)(y + r * step), requantize_vnni(acc[r][side], &q, bits, 0));
    return;
  }
#pragma GCC unroll 8
  for (int r = 0; r < 8; r++)
    if (r < rows)
      store_vnni(y + r * step, wide ? requantize_vnni(acc[r][side], &q, bits, 1)
                                    : requantize_vnni(acc[r][side], &q, bits, 0), valid);
}

INLINE_VNNI void tile_vnni(const uint8_t *constants, const layer *l, int p, int two,
                           const uint8_t *const row[8], int rows, uint8_t *y) {
  const int8_t *w0 = (const int8_t *)constants + l->weight + (ptrdiff_t)p * l->quads * 64;
  const int8_t *w1 = two ? w0 + (ptrdiff_t)l->quads * 64 : w0;
  __m512i acc[8][2];
#pragma GCC unroll 8
  for (int r = 0; r < 8; r++) acc[r][0] = acc[r][1] = _mm512_setzero_si512();
  for (int k = 0; k < l->quads; k++) {
    __m512i left = _mm512_loadu_si512(w0 + 64 * (ptrdiff_t)k);
    __m512i right = _mm512_loadu_si512(w1 + 64 * (ptrdiff_t)k);
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
      __m512i x = quad_vnni(row[r] + 4 * k);
      acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], x, left);
      if (two) acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], x, right);
    }
  }
  const quant *q = (const quant *)(constants + l->quant) + p;
  int valid = l->out_channels - p * PANEL;
  finish_vnni(acc, 0, q, l, rows, valid, y);
  if (two) finish_vnni(acc, 1, q + 1, l, rows, valid - PANEL, y + PANEL);
}

ON_VNNI static void product_vnni(const uint8_t *constants, const layer *l, const uint8_t *x,
                                 ptrdiff_t pitch, int rows, int from, int to, uint8_t *y) {
  for (int p = from; p < to; p += 2)
    for (int r = 0; r < rows; r += 8) {
      int left = rows - r < 8 ? rows - r : 8;
      const uint8_t *row[8];
      for (int i = 0; i < 8; i++) row[i] = x + pitch * (r + (i < left ? i : left - 1));
      uint8_t *out = y + (ptrdiff_t)r * l->out_channels + p * PANEL;
      if (p + 1 < to)
        tile_vnni(constants, l, p, 1, row, left, out);
      else
        tile_vnni(constants, l, p, 0, row, left, out);
    }
}

/* Two taps at a time in int16, 16 channels from the panel's first on: exact without any split.
 * `pairs`, `wide` and whether the panel is full come as constants where they can. */
INLINE_VNNI void panel_vnni(const uint8_t *constants, const layer *l, int p,
                            const uint8_t *const *taps, ptrdiff_t step, int pixels, int pairs,
                            int wide, int valid, uint8_t *y) {
  const uint8_t *w = constants + l->weight + (ptrdiff_t)p * pairs * 64;
  quant_vnni q = load_quant_vnni((const quant *)(constants + l->quant) + p, l);
  ptrdiff_t at = p * PANEL, pitch = l->out_channels;
  int bits = l->bits;
  y += at;
  for (int n = 0; n < pixels; n++, at += step, y += pitch) {
    __m512i acc = _mm512_setzero_si512();
    for (int t = 0; t < pairs; t++) {
      __m128i a = _mm_loadu_si128((const __m128i *)(taps[2 * t] + at));
      __m128i b = _mm_loadu_si128((const __m128i *)(taps[2 * t + 1] + at));
      __m256i both = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
      acc = _mm512_dpwssd_epi32(acc, _mm512_cvtepu8_epi16(both), _mm512_loadu_si512(w + 64 * t));
    }
    store_vnni(y, requantize_vnni(acc, &q, bits, wide), valid);
  }
}

ON_VNNI static void depthwise_vnni(const uint8_t *constants, const layer *l,
                                   const uint8_t *const *taps, ptrdiff_t step, int pixels,
                                   uint8_t *y) {
  int usual = l->quads == 5 && !l->wide;
  for (int p = 0; p < panels(l); p++) {
    int valid = l->out_channels - p * PANEL;
    if (usual && valid >= PANEL)
      panel_vnni(constants, l, p, taps, step, pixels, 5, 0, PANEL, y);
    else if (l->wide)
      panel_vnni(constants, l, p, taps, step, pixels, l->quads, 1, valid, y);
    else
      panel_vnni(constants, l, p, taps, step, pixels, l->quads, 0, valid, y);
  }
}

#endif
