/* One packed layer of a frozen stage, as `pack.py` lays it out, and the scalar contract.
 *
 *     y = clip((kappa * acc + lam) >> shift, 0, 2^bits - 1)        exact in 64 bits
 */
#ifndef QLRJAX_LAYER_H
#define QLRJAX_LAYER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PANEL 16 /* output channels that are computed together */
#define MAGIC 0x514c5232

enum kind { CONV, DEPTHWISE, POINTWISE, POOL };
enum instructions { PLAIN, AVX2, AVX512_VNNI };

typedef struct {
  int32_t magic, instructions, layers, bytes;
} header;

/* Offsets are in bytes from the start of the constants. */
typedef struct {
  int32_t kind, rows, columns, stride, top, bottom, left, right;
  int32_t in_channels, out_channels, shift, bits;
  int32_t wide;   /* some (kappa * acc + lam) >> shift may leave int32 */
  int32_t quads;  /* groups of 4 inputs of a product, or pairs of taps of a depthwise layer */
  int32_t weight, quant, pad, extra;
  int32_t reserved[2];
} layer;

/* kappa and lam of a panel, in the order in which the kernel holds its lanes. */
typedef struct {
  int32_t kappa[PANEL];
  int64_t lam[PANEL];
} quant;

/* Inputs of 8 channels' product once more, where one int8 weight was split into two. */
typedef struct {
  int32_t first, count; /* into the layer's extra quads */
} extra_range;

typedef struct {
  int32_t images, in_h, in_w, out_h, out_w;
} extent;

static inline uint8_t requantize(int32_t acc, int32_t kappa, int64_t lam, const layer *l) {
  int64_t value = (int64_t)kappa * acc + lam, top = ((int64_t)1 << l->bits) - 1;
  if (value < 0) return 0;
  value >>= l->shift;
  return (uint8_t)(value > top ? top : value);
}

static inline int panels(const layer *l) { return (l->out_channels + PANEL - 1) / PANEL; }

/* The product of `rows` pixels, `pitch` bytes apart, with panels `from` to `to`. */
typedef void product_kernel(const uint8_t *constants, const layer *l, const uint8_t *x,
                            ptrdiff_t pitch, int rows, int from, int to, uint8_t *y);

/* Some output pixels of a depthwise layer, one beside the other; taps[t] is the pixel that lies under
 * kernel position t of the first, and `step` bytes on under that of the next. */
typedef void depthwise_kernel(const uint8_t *constants, const layer *l, const uint8_t *const *taps,
                              ptrdiff_t step, int pixels, uint8_t *y);

#endif
