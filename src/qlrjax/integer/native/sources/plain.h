/* Plain C for every machine; the compiler finds what vectors there are. */
#ifndef QLRJAX_PLAIN_H
#define QLRJAX_PLAIN_H

#include "layer.h"

static void product_plain(const uint8_t *constants, const layer *l, const uint8_t *x,
                          ptrdiff_t pitch, int rows, int from, int to, uint8_t *y) {
  for (int p = from; p < to; p++) {
    const int8_t *w = (const int8_t *)constants + l->weight + (ptrdiff_t)p * l->quads * 4 * PANEL;
    const quant *q = (const quant *)(constants + l->quant) + p;
    int valid = l->out_channels - p * PANEL;
    if (valid > PANEL) valid = PANEL;
    for (int r = 0; r < rows; r++) {
      int32_t acc[PANEL] = {0};
      for (int k = 0; k < 4 * l->quads; k++) { /* weights lie input by input here */
        int32_t value = x[r * pitch + k];
        for (int c = 0; c < PANEL; c++) acc[c] += value * w[k * PANEL + c];
      }
      uint8_t *out = y + (ptrdiff_t)r * l->out_channels + p * PANEL;
      for (int c = 0; c < valid; c++) out[c] = requantize(acc[c], q->kappa[c], q->lam[c], l);
    }
  }
}

static void depthwise_plain(const uint8_t *constants, const layer *l, const uint8_t *const *taps,
                            ptrdiff_t step, int pixels, uint8_t *y) {
  int count = l->rows * l->columns;
  for (int p = 0; p < panels(l); p++) {
    const int16_t *w = (const int16_t *)(constants + l->weight) + p * l->quads * 2 * PANEL;
    const quant *q = (const quant *)(constants + l->quant) + p;
    int valid = l->out_channels - p * PANEL;
    if (valid > PANEL) valid = PANEL;
    for (int n = 0; n < pixels; n++) {
      int32_t acc[PANEL] = {0};
      ptrdiff_t at = n * step + p * PANEL;
      for (int t = 0; t < count; t++)
        for (int c = 0; c < PANEL; c++) acc[c] += (int32_t)taps[t][at + c] * w[t * PANEL + c];
      uint8_t *out = y + (ptrdiff_t)n * l->out_channels + p * PANEL;
      for (int c = 0; c < valid; c++) out[c] = requantize(acc[c], q->kappa[c], q->lam[c], l);
    }
  }
}

static void pool(const uint8_t *constants, const layer *l, const uint8_t *x, int pixels, int from,
                 int to, uint8_t *y) {
  for (int p = from; p < to; p++) {
    const quant *q = (const quant *)(constants + l->quant) + p;
    int32_t acc[PANEL] = {0};
    int valid = l->out_channels - p * PANEL;
    if (valid > PANEL) valid = PANEL;
    for (int i = 0; i < pixels; i++)
      for (int c = 0; c < valid; c++) acc[c] += x[(ptrdiff_t)i * l->in_channels + p * PANEL + c];
    for (int c = 0; c < valid; c++)
      y[p * PANEL + c] = requantize(acc[c], q->kappa[c], q->lam[c], l);
  }
}

#endif
