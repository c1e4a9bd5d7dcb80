/* Batch renorm of float32 maps [n, h, w, c]: moments of a mini-batch, and the gradient.
 *
 * Sums are made a sample at a time, in the cache, and joined in the order of samples: the mean and
 * the sum of squares around it as Chan et al. (1979) join them, so that nothing is read twice from
 * memory and nothing cancels.
 */
#ifndef QLRJAX_RENORM_H
#define QLRJAX_RENORM_H

#include "planes.h"
#include "sums.h"

typedef struct {
  shares shares;
  int pixels, channels;
  const uint8_t *there; /* of every sample, whether it counts */
  const float *y, *gradient, *steepness;
  affine after; /* of y */
  float *of_y, *joined, *parts; /* joined: [2, c]; parts: [samples, 2, c] */
} renorm;

INLINE void part_of_moments(const renorm *r, int sample) {
  size_t c = (size_t)r->channels, pixels = (size_t)r->pixels;
  const float *y = r->y + (size_t)sample * pixels * c;
  float *means = r->parts + (size_t)sample * 2 * c, *squares = means + c;
  if (!r->there[sample]) return;
  memset(means, 0, 2 * c * sizeof(float));
  for (size_t p = 0; p < pixels; p++)
    for (size_t k = 0; k < c; k += LANES) {
      int valid = lanes_left(k, c);
      store(means + k, load(means + k, valid) + load(y + p * c + k, valid), valid);
    }
  for (size_t k = 0; k < c; k++) means[k] /= (float)pixels;
  for (size_t p = 0; p < pixels; p++)
    for (size_t k = 0; k < c; k += LANES) {
      int valid = lanes_left(k, c);
      vec away = load(y + p * c + k, valid) - load(means + k, valid);
      store(squares + k, load(squares + k, valid) + away * away, valid);
    }
}

/* Mean and biased variance of some channels. */
INLINE void join_moments(const renorm *r, int chunk) {
  size_t c = (size_t)r->channels;
  range here = range_of(&r->shares, chunk);
  float seen = 0, pixels = (float)r->pixels, *first = r->joined, *second = first + c;
  memset(first + here.from, 0, (here.end - here.from) * sizeof(float));
  memset(second + here.from, 0, (here.end - here.from) * sizeof(float));
  for (int sample = 0; sample < r->shares.samples; sample++) {
    if (!r->there[sample]) continue;
    const float *means = r->parts + (size_t)sample * 2 * c, *squares = means + c;
    float share = pixels / (seen + pixels), weight = seen * share;
    for (size_t k = here.from; k < here.end; k += LANES) {
      int valid = lanes_left(k, here.end);
      vec mean = load(first + k, valid), apart = load(means + k, valid) - mean;
      vec sum = load(second + k, valid) + load(squares + k, valid) + apart * apart * weight;
      store(first + k, mean + apart * share, valid);
      store(second + k, sum, valid);
    }
    seen += pixels;
  }
  for (size_t k = here.from; k < here.end && seen > 0; k++) second[k] /= seen;
}

INLINE void moments(const void *work, int phase, int chunk) {
  if (phase)
    join_moments(work, chunk);
  else
    part_of_moments(work, chunk);
}

/* The gradient where the activation lets it through; `away` is y - mean. */
INLINE vec let_through(const renorm *r, vec of, vec away, vec gain, vec offset) {
  return where_active(away * gain + offset, of, r->after.top);
}

/* Sums of the gradient that comes through, and of its products with y - mean. */
INLINE void part_of_sums(const renorm *r, int sample) {
  size_t c = (size_t)r->channels, pixels = (size_t)r->pixels, at = (size_t)sample * pixels * c;
  float *sums = r->parts + (size_t)sample * 2 * c, *products = sums + c;
  memset(sums, 0, 2 * c * sizeof(float));
  for (size_t p = 0; p < pixels; p++, at += c)
    for (size_t k = 0; k < c; k += LANES) {
      int valid = lanes_left(k, c);
      vec away = load(r->y + at + k, valid) - load(r->after.mean + k, valid);
      vec of = let_through(r, load(r->gradient + at + k, valid), away, load(r->after.gain + k, valid),
                           load(r->after.offset + k, valid));
      store(sums + k, load(sums + k, valid) + of, valid);
      store(products + k, load(products + k, valid) + of * away, valid);
    }
}

/* of_y = gain * (g - [there] * (sum / m + (y - mean) * product / m * steepness)), m values a channel. */
INLINE void gradient_of_map(const renorm *r, int sample) {
  size_t c = (size_t)r->channels, pixels = (size_t)r->pixels, at = (size_t)sample * pixels * c;
  float values = 0;
  for (int i = 0; i < r->shares.samples; i++) values += r->there[i] ? (float)pixels : 0.0f;
  float share = r->there[sample] ? 1.0f / values : 0.0f;
  for (size_t p = 0; p < pixels; p++, at += c)
    for (size_t k = 0; k < c; k += LANES) {
      int valid = lanes_left(k, c);
      vec gain = load(r->after.gain + k, valid);
      vec away = load(r->y + at + k, valid) - load(r->after.mean + k, valid);
      vec of = let_through(r, load(r->gradient + at + k, valid), away, gain,
                           load(r->after.offset + k, valid));
      vec common = load(r->joined + k, valid) +
                   away * (load(r->joined + c + k, valid) * load(r->steepness + k, valid));
      store(r->of_y + at + k, (of - common * share) * gain, valid);
    }
}

INLINE void renorm_backward(const void *work, int phase, int chunk) {
  const renorm *r = work;
  if (phase == 0)
    part_of_sums(r, chunk);
  else if (phase == 1)
    join(&r->shares, chunk, r->parts, r->joined);
  else
    gradient_of_map(r, chunk);
}

#endif
