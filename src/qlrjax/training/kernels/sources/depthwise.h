/* Depthwise layers of float32 maps [n, h, w, c]: the layer, and the gradients of input and weights.
 *
 * What the layer reads may be the raw output of the layer below it: then it is normalised and
 * activated on its way into the planes, forward and backward, and never lies in memory.
 *
 * A chunk is a sample. Sums over samples are made a sample at a time and joined in their order, so
 * that they do not depend on the number of threads.
 */
#ifndef QLRJAX_DEPTHWISE_H
#define QLRJAX_DEPTHWISE_H

#include "planes.h"
#include "sums.h"

typedef struct {
  int samples, h, w, channels, out_h, out_w, kernel_h, kernel_w, stride, top, left;
} window;

typedef struct {
  shares shares;
  window at;
  const float *x, *rows, *gradient; /* rows: weights [taps, c] */
  affine before;                    /* of x */
  float *y, *of_x;
  /* The weights' gradient [taps, c]; where x is normalised, two rows more: sums of its gradient behind
   * the activation, alone and times x - mean. */
  float *of_rows, *parts;
  desks *desks;
} depthwise;

enum { MOST_TAPS = 49 };

INLINE int taps_of(const window *a) { return a->kernel_h * a->kernel_w; }

/* The input, with the zeros that its windows reach. */
INLINE plane plane_of_input(const window *a) {
  int rows = (a->out_h - 1) * a->stride + a->kernel_h, columns = (a->out_w - 1) * a->stride + a->kernel_w;
  if (rows < a->top + a->h) rows = a->top + a->h;
  if (columns < a->left + a->w) columns = a->left + a->w;
  return (plane){rows, columns, a->top, a->left, 1};
}

/* The gradient of the output, spread by the stride: what an input's gradient gathers is a window. */
INLINE plane plane_of_gradient(const window *a) {
  int top = a->kernel_h - 1 - a->top, left = a->kernel_w - 1 - a->left;
  return (plane){a->h + a->kernel_h - 1, a->w + a->kernel_w - 1, top, left, a->stride};
}

INLINE size_t desk_floats(const window *a) {
  plane input = plane_of_input(a), gradient = plane_of_gradient(a);
  return BLOCK * (plane_floats(&input) + plane_floats(&gradient));
}

INLINE map input_of(const depthwise *d, int sample) {
  const window *a = &d->at;
  size_t c = (size_t)a->channels;
  return (map){d->x + (size_t)sample * a->h * a->w * c, a->h, a->w, c};
}

INLINE map gradient_of(const depthwise *d, int sample) {
  const window *a = &d->at;
  size_t c = (size_t)a->channels;
  return (map){d->gradient + (size_t)sample * a->out_h * a->out_w * c, a->out_h, a->out_w, c};
}

/* Weights of LANES channels. */
INLINE void load_taps(vec *taps, const float *rows, int count, size_t c, int valid) {
  for (int t = 0; t < count; t++) taps[t] = load(rows + (size_t)t * c, valid);
}

/* Windows of one plane into channels of the output y; kernel sizes come as constants where they can. */
INLINE void windows(const window *a, const float *in, const plane *p, const float *rows, float *y,
                    int valid, int kh, int kw) {
  size_t c = (size_t)a->channels;
  vec taps[MOST_TAPS];
  load_taps(taps, rows, kh * kw, c, valid);
  for (int oh = 0; oh < a->out_h; oh++)
    for (int ow = 0; ow < a->out_w; ow++, y += c) {
      const float *from = in + ((size_t)oh * a->stride * p->columns + (size_t)ow * a->stride) * LANES;
      vec sum = {0};
      __builtin_prefetch(y + BLOCK * LANES, 1);
      for (int i = 0; i < kh; i++)
        for (int j = 0; j < kw; j++)
          sum += load(from + (i * p->columns + j) * LANES, LANES) * taps[i * kw + j];
      store(y, sum, valid);
    }
}

/* The input's gradient from a plane of the output's. */
INLINE void gathered(const window *a, const float *in, const plane *p, const float *rows, float *of_x,
                     int valid, int kh, int kw) {
  size_t c = (size_t)a->channels;
  vec taps[MOST_TAPS];
  load_taps(taps, rows, kh * kw, c, valid);
  for (int ih = 0; ih < a->h; ih++)
    for (int iw = 0; iw < a->w; iw++, of_x += c) {
      const float *from = in + ((size_t)ih * p->columns + iw) * LANES;
      vec sum = {0};
      __builtin_prefetch(of_x + BLOCK * LANES, 1);
      for (int i = 0; i < kh; i++)
        for (int j = 0; j < kw; j++)
          sum += load(from + ((kh - 1 - i) * p->columns + (kw - 1 - j)) * LANES, LANES) *
                 taps[i * kw + j];
      store(of_x, sum, valid);
    }
}

/* The weights' gradient from a plane of the input and the gradient of the output. */
INLINE void correlated(const window *a, const float *in, const plane *p, const float *g, float *part,
                       int valid, int kh, int kw) {
  size_t c = (size_t)a->channels;
  vec sums[MOST_TAPS];
  for (int t = 0; t < kh * kw; t++) sums[t] = (vec){0};
  for (int oh = 0; oh < a->out_h; oh++)
    for (int ow = 0; ow < a->out_w; ow++, g += c) {
      const float *from = in + ((size_t)oh * a->stride * p->columns + (size_t)ow * a->stride) * LANES;
      vec of = load(g, valid);
      __builtin_prefetch(g + BLOCK * LANES);
      for (int i = 0; i < kh; i++)
        for (int j = 0; j < kw; j++)
          sums[i * kw + j] += of * load(from + (i * p->columns + j) * LANES, LANES);
    }
  for (int t = 0; t < kh * kw; t++) store(part + (size_t)t * c, sums[t], valid);
}

/* The gradient of x becomes that of the raw output: what the activation lets through, and its sums. */
INLINE void let_back(const depthwise *d, const float *in, const plane *p, const float *raw, float *of_x,
                     float *part, vec mean, int valid) {
  const window *a = &d->at;
  size_t c = (size_t)a->channels;
  vec sum = {0}, product = {0};
  for (int ih = 0; ih < a->h; ih++)
    for (int iw = 0; iw < a->w; iw++, of_x += c, raw += c) {
      vec x = load(in + ((size_t)(ih + p->top) * p->columns + iw + p->left) * LANES, LANES);
      vec of = where_active(x, load(of_x, valid), d->before.top);
      store(of_x, of, valid);
      sum += of;
      product += of * (load(raw, valid) - mean);
    }
  store(part, sum, valid);
  store(part + c, product, valid);
}

/* 3x3 is what networks have; the compiler unrolls it. */
#define SIZED(pass, a, ...)                                    \
  do {                                                         \
    if ((a)->kernel_h == 3 && (a)->kernel_w == 3)              \
      pass(a, __VA_ARGS__, 3, 3);                              \
    else                                                       \
      pass(a, __VA_ARGS__, (a)->kernel_h, (a)->kernel_w);      \
  } while (0)

INLINE void forward_sample(const depthwise *d, int sample, float *desk) {
  const window *a = &d->at;
  plane p = plane_of_input(a);
  map x = input_of(d, sample);
  float *y = d->y + (size_t)sample * a->out_h * a->out_w * x.channels;
  for (size_t k = 0; k < x.channels; k += BLOCK * LANES) {
    fill(desk, &p, &x, k, &d->before);
    for (size_t i = 0, at = k; i < BLOCK && at < x.channels; i++, at += LANES) {
      int valid = lanes_left(at, x.channels);
      SIZED(windows, a, desk + i * plane_floats(&p), &p, d->rows + at, y + at, valid);
    }
  }
}

INLINE void backward_sample(const depthwise *d, int sample, float *desk) {
  const window *a = &d->at;
  plane p = plane_of_input(a), q = plane_of_gradient(a);
  map x = input_of(d, sample), g = gradient_of(d, sample);
  affine none = {0};
  size_t taps = (size_t)taps_of(a), c = x.channels, rows = taps + (d->before.gain ? 2 : 0);
  float *in = desk, *out = desk + BLOCK * plane_floats(&p);
  float *of_x = d->of_x + (size_t)sample * a->h * a->w * c;
  float *part = d->parts + (size_t)sample * rows * c;
  for (size_t k = 0; k < c; k += BLOCK * LANES) {
    if (d->of_rows) fill(in, &p, &x, k, &d->before);
    if (d->of_x) fill(out, &q, &g, k, &none);
    for (size_t i = 0, at = k; i < BLOCK && at < c; i++, at += LANES) {
      int valid = lanes_left(at, c);
      const float *inputs = in + i * plane_floats(&p), *outputs = out + i * plane_floats(&q);
      if (d->of_rows) SIZED(correlated, a, inputs, &p, g.values + at, part + at, valid);
      if (d->of_x) SIZED(gathered, a, outputs, &q, d->rows + at, of_x + at, valid);
      if (d->before.gain)
        let_back(d, inputs, &p, x.values + at, of_x + at, part + taps * c + at,
                 load(d->before.mean + at, valid), valid);
    }
  }
}

INLINE void depthwise_forward(const void *work, int phase, int sample) {
  (void)phase;
  const depthwise *d = work;
  int desk = take_desk(d->desks);
  forward_sample(d, sample, d->desks->memory + (size_t)desk * d->desks->floats);
  leave_desk(d->desks, desk);
}

INLINE void depthwise_backward(const void *work, int phase, int chunk) {
  const depthwise *d = work;
  if (phase) {
    join(&d->shares, chunk, d->parts, d->of_rows);
    return;
  }
  int desk = take_desk(d->desks);
  backward_sample(d, chunk, d->desks->memory + (size_t)desk * d->desks->floats);
  leave_desk(d->desks, desk);
}

#endif
