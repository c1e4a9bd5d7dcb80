/* What follows a layer's sums: batch renorm, a bias or nothing, an activation; and the way back. */
#ifndef QLR_NORM_H
#define QLR_NORM_H

#include <stdint.h>

/* How far batch renorm may correct: r in [1 / r, r], d in [-d, d]. */
typedef struct {
    float r, d;
} qlr_limits;

/* Every layer normalises by its running statistics. */
void qlr_take_running(void);

/* Statistics of a mini-batch for one layer: start, add the outputs of `samples` after `before`
 * others, finish. */
void qlr_measure(uint32_t layer, const float *y, uint32_t samples, uint32_t before);
void qlr_measured(uint32_t layer, uint32_t samples, const qlr_limits *limits);

/* Normalised, biased and activated outputs. */
void qlr_activate(uint32_t layer, const float *y, float *x, uint32_t samples);

/* The gradient of what the activation took: 0 where it clamped. */
void qlr_mask(uint32_t layer, const float *y, float *g, uint32_t samples);

/* Adds a masked gradient, and its product with the normalised outputs, to the layer's sums. */
void qlr_sum_gradient(uint32_t layer, const float *y, const float *g, uint32_t samples);

/* Adds a masked gradient to the momentum of the layer's bias. */
void qlr_sum_bias(uint32_t layer, const float *g, uint32_t samples);

/* Turns a masked gradient into that of y; `all` is the mini-batch's samples, 0 when running
 * statistics normalised. */
void qlr_norm_back(uint32_t layer, const float *y, float *g, uint32_t samples, uint32_t all);

#endif
