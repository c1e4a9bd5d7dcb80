/* Whole layers, cut into chunks that threads may take in any order. */
#ifndef QLRJAX_LAYERS_H
#define QLRJAX_LAYERS_H

#include "layer.h"
#include "plain.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define X86 1
#include "avx2.h"
#include "vnni.h"
#endif

#define PATCHES 64   /* pixels of a convolution that are gathered together */
#define TAPS_MAX 256 /* kernel positions of a depthwise layer; `pack.py` refuses more */
#define SLACK 64     /* bytes that may be read past a map */

/* The widest instructions that this machine has. */
static int best_instructions(void) {
#ifdef BEST_INSTRUCTIONS
  return BEST_INSTRUCTIONS;
#elif defined(X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    return AVX512_VNNI;
  if (__builtin_cpu_supports("avx2")) return AVX2;
#endif
  return PLAIN;
}

static product_kernel *product_of(int instructions) {
#ifdef X86
  if (instructions == AVX512_VNNI) return product_vnni;
  if (instructions == AVX2) return product_avx2;
#endif
  return product_plain;
}

static depthwise_kernel *depthwise_of(int instructions) {
#ifdef X86
  if (instructions == AVX512_VNNI) return depthwise_vnni;
  if (instructions == AVX2) return depthwise_avx2;
#endif
  return depthwise_plain;
}

typedef struct {
  const uint8_t *constants;
  const layer *l;
  int instructions;
  extent size;
} task;

static extent extent_of(const layer *l, int images, int in_h, int in_w) {
  extent e = {images, in_h, in_w, in_h, in_w};
  if (l->kind == POOL) {
    e.out_h = e.out_w = 1;
  } else if (l->kind != POINTWISE) {
    e.out_h = (in_h + l->top + l->bottom - l->rows) / l->stride + 1;
    e.out_w = (in_w + l->left + l->right - l->columns) / l->stride + 1;
  }
  return e;
}

static ptrdiff_t share(ptrdiff_t total, int chunk, int chunks) { return total * chunk / chunks; }

/* A row of kernel positions of one output pixel, inside or outside of the image. */
static const uint8_t *pixel(const task *t, const uint8_t *image, int row, int column) {
  if (row < 0 || row >= t->size.in_h || column < 0 || column >= t->size.in_w)
    return t->constants + t->l->pad;
  return image + ((ptrdiff_t)row * t->size.in_w + column) * t->l->in_channels;
}

/* Columns of an output line whose windows lie within the image: from the first to one past. */
static void columns_within(const task *t, int *first, int *end) {
  const layer *l = t->l;
  *first = (l->left + l->stride - 1) / l->stride;
  int reach = t->size.in_w + l->left - l->columns; /* where the last window may begin */
  *end = reach < 0 ? 0 : reach / l->stride + 1;
  if (*end > t->size.out_w) *end = t->size.out_w;
}

static void depthwise_rows(const task *t, const uint8_t *x, uint8_t *y, ptrdiff_t from,
                           ptrdiff_t to) {
  const layer *l = t->l;
  const uint8_t *taps[TAPS_MAX + 1];
  depthwise_kernel *kernel = depthwise_of(t->instructions);
  int count = l->rows * l->columns, first, end;
  columns_within(t, &first, &end);
  ptrdiff_t step = (ptrdiff_t)l->stride * l->in_channels;
  for (ptrdiff_t line = from; line < to; line++) {
    const uint8_t *image = x + line / t->size.out_h * t->size.in_h * t->size.in_w * l->in_channels;
    int top = (int)(line % t->size.out_h) * l->stride - l->top, pixels;
    int whole = top >= 0 && top + l->rows <= t->size.in_h;
    uint8_t *out = y + line * t->size.out_w * l->out_channels;
    for (int column = 0; column < t->size.out_w; column += pixels) {
      int left = column * l->stride - l->left;
      pixels = whole && column >= first && column < end ? end - column : 1;
      for (int i = 0; i < l->rows; i++)
        for (int j = 0; j < l->columns; j++)
          taps[i * l->columns + j] = pixel(t, image, top + i, left + j);
      taps[count] = taps[0];
      kernel(t->constants, l, taps, step, pixels, out + (ptrdiff_t)column * l->out_channels);
    }
  }
}

/* The inputs of one output pixel of a convolution, kernel row by kernel row. */
static void gather(const task *t, const uint8_t *image, int top, int left, uint8_t *patch) {
  const layer *l = t->l;
  int within = left >= 0 && left + l->columns <= t->size.in_w, bytes = l->columns * l->in_channels;
  for (int i = 0; i < l->rows; i++) {
    if (within && top + i >= 0 && top + i < t->size.in_h) {
      const uint8_t *from = image + ((ptrdiff_t)(top + i) * t->size.in_w + left) * l->in_channels;
      if (bytes == 9) /* three pixels of three colours: two moves instead of a call */
        memcpy(patch, from, 9);
      else
        memcpy(patch, from, (size_t)bytes);
      patch += bytes;
      continue;
    }
    for (int j = 0; j < l->columns; j++, patch += l->in_channels)
      memcpy(patch, pixel(t, image, top + i, left + j), (size_t)l->in_channels);
  }
}

static void convolution(const task *t, const uint8_t *x, uint8_t *y, ptrdiff_t from, ptrdiff_t to,
                        uint8_t *patches) {
  const layer *l = t->l;
  ptrdiff_t pitch = (ptrdiff_t)l->quads * 4, area = (ptrdiff_t)t->size.out_h * t->size.out_w;
  product_kernel *kernel = product_of(t->instructions);
  const uint8_t *image = x + from / area * t->size.in_h * t->size.in_w * l->in_channels;
  int line = (int)(from % area / t->size.out_w), column = (int)(from % area % t->size.out_w);
  for (ptrdiff_t begin = from; begin < to; begin += PATCHES) {
    int rows = (int)(to - begin < PATCHES ? to - begin : PATCHES);
    for (int r = 0; r < rows; r++) {
      gather(t, image, line * l->stride - l->top, column * l->stride - l->left,
             patches + r * pitch);
      if (++column < t->size.out_w) continue;
      column = 0;
      if (++line < t->size.out_h) continue;
      line = 0;
      image += (ptrdiff_t)t->size.in_h * t->size.in_w * l->in_channels;
    }
    kernel(t->constants, l, patches, pitch, rows, 0, panels(l), y + begin * l->out_channels);
  }
}

/* One of `chunks` parts of a layer. */
static void run_chunk(const task *t, const uint8_t *x, uint8_t *y, int chunk, int chunks,
                      uint8_t *patches) {
  const layer *l = t->l;
  const extent *s = &t->size;
  ptrdiff_t area = (ptrdiff_t)s->images * s->out_h * s->out_w, lines = (ptrdiff_t)s->images * s->out_h;
  switch (l->kind) {
    case CONV:
      convolution(t, x, y, share(area, chunk, chunks), share(area, chunk + 1, chunks), patches);
      break;
    case DEPTHWISE:
      depthwise_rows(t, x, y, share(lines, chunk, chunks), share(lines, chunk + 1, chunks));
      break;
    case POOL: {
      ptrdiff_t from = share(panels(l), chunk, chunks), to = share(panels(l), chunk + 1, chunks);
      int pixels = s->in_h * s->in_w;
      for (int i = 0; i < s->images; i++)
        pool(t->constants, l, x + (ptrdiff_t)i * pixels * l->in_channels, pixels, (int)from,
             (int)to, y + (ptrdiff_t)i * l->out_channels);
      break;
    }
    default:
      if (area >= 8 * chunks * 4) { /* cut between pixels, by whole tiles */
        ptrdiff_t tiles = (area + 7) / 8;
        ptrdiff_t from = 8 * share(tiles, chunk, chunks), to = 8 * share(tiles, chunk + 1, chunks);
        if (to > area) to = area;
        product_of(t->instructions)(t->constants, l, x + from * l->in_channels, l->in_channels,
                                    (int)(to - from), 0, panels(l), y + from * l->out_channels);
      } else {
        int pairs = (panels(l) + 1) / 2;
        int from = 2 * (int)share(pairs, chunk, chunks), to = 2 * (int)share(pairs, chunk + 1, chunks);
        if (to > panels(l)) to = panels(l);
        product_of(t->instructions)(t->constants, l, x, l->in_channels, (int)area, from, to, y);
      }
  }
}

#endif
