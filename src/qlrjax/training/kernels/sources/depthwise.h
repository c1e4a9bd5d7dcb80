/* Depthwise layers of float32 maps [n, h, w, c]: the layer, and the gradients of input and weights.
 *
 * A chunk is a sample. Gradients of weights are summed a sample at a time and then over samples in
 * their order, so that they do not depend on the number of threads.
 */
#ifndef QLRJAX_DEPTHWISE_H
#define QLRJAX_DEPTHWISE_H

#include "vectors.h"

typedef struct {
  int samples, h, w, channels, out_h, out_w, kernel_h, kernel_w, stride, top, left;
} window;

typedef struct {
  window at;
  const float *x, *rows, *gradient; /* rows: weights [taps, c] */
  float *y, *of_x, *of_rows, *parts; /* parts: [samples, taps, c] */
} depthwise;

enum { MOST_TAPS = 49 };

/* Where a window's side begins in its input, and its taps that lie inside: first to one past. */
typedef struct {
  int begin, first, end;
} side;

INLINE side side_of(int output, int stride, int pad, int kernel, int size) {
  int begin = output * stride - pad;
  return (side){begin, begin < 0 ? -begin : 0, begin + kernel > size ? size - begin : kernel};
}

INLINE side rows_of(const window *a, int oh) {
  return side_of(oh, a->stride, a->top, a->kernel_h, a->h);
}

INLINE side columns_of(const window *a, int ow) {
  return side_of(ow, a->stride, a->left, a->kernel_w, a->w);
}

INLINE void depthwise_forward(const void *work, int phase, int sample) {
  (void)phase;
  const depthwise *d = work;
  const window *a = &d->at;
  size_t c = (size_t)a->channels;
  const float *x = d->x + (size_t)sample * a->h * a->w * c;
  float *y = d->y + (size_t)sample * a->out_h * a->out_w * c;
  for (int oh = 0; oh < a->out_h; oh++) {
    side down = rows_of(a, oh);
    for (int ow = 0; ow < a->out_w; ow++, y += c) {
      side along = columns_of(a, ow);
      for (size_t k = 0; k < c; k += LANES) {
        int valid = lanes_left(k, c);
        vec sum = {0};
        for (int i = down.first; i < down.end; i++)
          for (int j = along.first; j < along.end; j++)
            sum += load(x + ((size_t)(down.begin + i) * a->w + (along.begin + j)) * c + k, valid) *
                   load(d->rows + ((size_t)i * a->kernel_w + j) * c + k, valid);
        store(y + k, sum, valid);
      }
    }
  }
}

/* Taps of a window side that an input meets: from the first on, in steps of the stride. */
INLINE int nearest_tap(int at, int pad, int stride, int outputs, int kernel, int *end) {
  int reach = at + pad; /* tap i meets output (reach - i) / stride */
  int lowest = reach - (outputs - 1) * stride;
  int first = lowest > 0 ? lowest : reach % stride;
  *end = reach + 1 < kernel ? reach + 1 : kernel;
  return first;
}

INLINE void gradient_of_input(const void *work, int phase, int sample) {
  (void)phase;
  const depthwise *d = work;
  const window *a = &d->at;
  size_t c = (size_t)a->channels;
  const float *g = d->gradient + (size_t)sample * a->out_h * a->out_w * c;
  float *out = d->of_x + (size_t)sample * a->h * a->w * c;
  for (int ih = 0; ih < a->h; ih++) {
    int i1, i0 = nearest_tap(ih, a->top, a->stride, a->out_h, a->kernel_h, &i1);
    for (int iw = 0; iw < a->w; iw++, out += c) {
      int j1, j0 = nearest_tap(iw, a->left, a->stride, a->out_w, a->kernel_w, &j1);
      for (size_t k = 0; k < c; k += LANES) {
        int valid = lanes_left(k, c);
        vec sum = {0};
        for (int i = i0; i < i1; i += a->stride)
          for (int j = j0; j < j1; j += a->stride) {
            size_t oh = (size_t)(ih + a->top - i) / a->stride;
            size_t ow = (size_t)(iw + a->left - j) / a->stride;
            sum += load(g + (oh * a->out_w + ow) * c + k, valid) *
                   load(d->rows + ((size_t)i * a->kernel_w + j) * c + k, valid);
          }
        store(out + k, sum, valid);
      }
    }
  }
}

INLINE void part_of_rows(const depthwise *d, int sample) {
  const window *a = &d->at;
  size_t c = (size_t)a->channels;
  int taps = a->kernel_h * a->kernel_w;
  const float *x = d->x + (size_t)sample * a->h * a->w * c;
  const float *g = d->gradient + (size_t)sample * a->out_h * a->out_w * c;
  float *part = d->parts + (size_t)sample * taps * c;
  for (size_t k = 0; k < c; k += LANES) {
    int valid = lanes_left(k, c);
    vec sums[MOST_TAPS];
    for (int t = 0; t < taps; t++) sums[t] = (vec){0};
    for (int oh = 0; oh < a->out_h; oh++) {
      side down = rows_of(a, oh);
      for (int ow = 0; ow < a->out_w; ow++) {
        side along = columns_of(a, ow);
        vec of = load(g + ((size_t)oh * a->out_w + ow) * c + k, valid);
        for (int i = down.first; i < down.end; i++)
          for (int j = along.first; j < along.end; j++)
            sums[i * a->kernel_w + j] +=
                of * load(x + ((size_t)(down.begin + i) * a->w + (along.begin + j)) * c + k, valid);
      }
    }
    for (int t = 0; t < taps; t++) store(part + (size_t)t * c + k, sums[t], valid);
  }
}

INLINE void sum_parts(const depthwise *d) {
  size_t size = (size_t)d->at.kernel_h * d->at.kernel_w * d->at.channels;
  memset(d->of_rows, 0, size * sizeof(float));
  for (int sample = 0; sample < d->at.samples; sample++) {
    const float *part = d->parts + (size_t)sample * size;
    for (size_t k = 0; k < size; k += LANES) {
      int valid = lanes_left(k, size);
      store(d->of_rows + k, load(d->of_rows + k, valid) + load(part + k, valid), valid);
    }
  }
}

INLINE void gradient_of_rows(const void *work, int phase, int chunk) {
  if (phase)
    sum_parts(work);
  else
    part_of_rows(work, chunk);
}

#endif
