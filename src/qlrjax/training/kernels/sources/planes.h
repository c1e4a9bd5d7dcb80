/* A sample's maps in planes: LANES channels each, with zeros around, so that windows need no bounds.
 *
 * Planes lie in memory that the threads of a call share out among themselves. It begins with zeros,
 * and all samples and channels of a call write to the same places, so that the rest stays zero.
 */
#ifndef QLRJAX_PLANES_H
#define QLRJAX_PLANES_H

#include <stdatomic.h>

#include "vectors.h"

/* Planes of a block are filled together: a pixel's channels that follow each other in memory. */
enum { BLOCK = 4 };

/* Value (r, q) of a map lies in row top + r * step, column left + q * step. */
typedef struct {
  int rows, columns, top, left, step;
} plane;

/* A map [h, w, channels] of one sample. */
typedef struct {
  const float *values;
  int h, w;
  size_t channels;
} map;

/* What values go through before they are read: (y - mean) * gain + offset and an activation; top is 6
 * for ReLU6, 0 for ReLU and -1 for none. Without a gain they are read as they are. */
typedef struct {
  const float *mean, *gain, *offset;
  int top;
} affine;

INLINE size_t plane_floats(const plane *p) { return (size_t)p->rows * (size_t)p->columns * LANES; }

INLINE vec activated(vec x, int top) {
  vec zero = {0}, ceiling = zero + (float)top;
  if (top >= 0) x = where(x > zero, x);
  if (top > 0) x = where(x < ceiling, x) + where(~(x < ceiling), ceiling);
  return x;
}

/* A gradient where an activation lets it through: by what goes in, or by what comes out of it. */
INLINE vec where_active(vec x, vec gradient, int top) {
  vec zero = {0};
  if (top < 0) return gradient;
  lanes mask = x > zero;
  if (top > 0) mask &= x < zero + (float)top;
  return where(mask, gradient);
}

/* Channels from k on, of all pixels, into the planes of a block. NaN becomes 0 behind a ReLU, as in JAX. */
INLINE void fill(float *planes, const plane *p, const map *m, size_t k, const affine *a) {
  size_t size = plane_floats(p);
  int count = 0, valid[BLOCK];
  vec mean[BLOCK], gain[BLOCK], offset[BLOCK];
  for (; count < BLOCK && k + (size_t)count * LANES < m->channels; count++) {
    size_t at = k + (size_t)count * LANES;
    valid[count] = lanes_left(at, m->channels);
    if (!a->gain) continue;
    mean[count] = load(a->mean + at, valid[count]);
    gain[count] = load(a->gain + at, valid[count]);
    offset[count] = load(a->offset + at, valid[count]);
  }
  for (int r = 0; r < m->h; r++) {
    int row = p->top + r * p->step;
    if (row < 0 || row >= p->rows) continue;
    for (int q = 0; q < m->w; q++) {
      int column = p->left + q * p->step;
      if (column < 0 || column >= p->columns) continue;
      const float *from = m->values + ((size_t)r * m->w + q) * m->channels + k;
      float *to = planes + ((size_t)row * p->columns + column) * LANES;
      for (int i = 0; i < count; i++) {
        vec v = load(from + i * LANES, valid[i]);
        __builtin_prefetch(from + (i + BLOCK) * LANES);
        if (a->gain) v = activated((v - mean[i]) * gain[i] + offset[i], a->top);
        store(to + (size_t)i * size, v, LANES);
      }
    }
  }
}

/* Memory for the threads of a call. */
typedef struct {
  atomic_ullong taken; /* a bit a thread */
  size_t floats;       /* of every thread */
  float *memory;
} desks;

INLINE int take_desk(desks *d) {
  unsigned long long taken = atomic_load(&d->taken);
  for (;;) {
    int free_one = __builtin_ctzll(~taken);
    if (atomic_compare_exchange_weak(&d->taken, &taken, taken | 1ull << free_one)) return free_one;
  }
}

INLINE void leave_desk(desks *d, int desk) { atomic_fetch_and(&d->taken, ~(1ull << desk)); }

#endif
