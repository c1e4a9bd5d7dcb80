/* How a call is shared out among threads, and sums over samples.
 *
 * Even phases have a chunk a sample; what a sample contributes to a sum is its part. Odd phases join
 * the parts, a chunk for some of the sum's floats, always in the order of samples: so no sum depends
 * on the number of threads.
 */
#ifndef QLRJAX_SUMS_H
#define QLRJAX_SUMS_H

#include "vectors.h"

/* The work of every kernel begins with it. */
typedef struct {
  int samples;
  size_t floats; /* of what the parts are joined to */
} shares;

enum { JOINED = 1024 }; /* floats of a chunk */

static int chunks_of(const void *work, int phase) {
  const shares *s = work;
  return phase % 2 ? (int)((s->floats + JOINED - 1) / JOINED) : s->samples;
}

/* The floats of a chunk: from the first to one past the last. */
typedef struct {
  size_t from, end;
} range;

INLINE range range_of(const shares *s, int chunk) {
  size_t from = (size_t)chunk * JOINED, end = from + JOINED;
  return (range){from, end < s->floats ? end : s->floats};
}

/* Parts are [samples, floats]. */
INLINE void join(const shares *s, int chunk, const float *parts, float *sum) {
  range r = range_of(s, chunk);
  memset(sum + r.from, 0, (r.end - r.from) * sizeof(float));
  for (int sample = 0; sample < s->samples; sample++, parts += s->floats)
    for (size_t k = r.from; k < r.end; k += LANES) {
      int valid = lanes_left(k, r.end);
      store(sum + k, load(sum + k, valid) + load(parts + k, valid), valid);
    }
}

#endif
