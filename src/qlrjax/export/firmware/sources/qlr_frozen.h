/* The frozen stage: integers only, uint8 in and uint8 out. For every output channel c:
 *
 *     acc = sum(weight * x)                                     exact in int32
 *     y   = clip((kappa[c] * acc + lambda[c]) >> shift, 0, code_max)
 *
 * and of an add, with two multipliers:
 *
 *     y   = clip((kappa[c] * a + kappa_b[c] * b + lambda[c]) >> shift, 0, code_max)
 */
#ifndef QLR_FROZEN_H
#define QLR_FROZEN_H

#include <stdint.h>

#include "qlr_state.h"

/* One layer; b is an add's second input. What it takes and what it gives do not overlap. */
void qlr_frozen_layer_run(const qlr_frozen_layer *layer, const uint8_t *x, const uint8_t *b,
                          uint8_t *y);

/* All layers: QLR_LATENT_ELEMENTS 8-bit codes of one image. Uses the arena. */
void qlr_frozen_run(const uint8_t *image, uint8_t *latent);

#endif
