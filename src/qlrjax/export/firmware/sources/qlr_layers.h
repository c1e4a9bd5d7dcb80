/* The trained layers in FP32. A layer is
 *
 *     y = linear(x)                                  convolution, depthwise or pointwise
 *     n = (y - mean) / deviation                     of the mini-batch, or running
 *     z = gamma * (n * r + d) + beta                 batch renorm; r and d are constants
 *     x' = clamp(z, low, high)                       of its activation
 *
 * or, without batch norm, z = y + bias; y of an add is the sum of two layers' x', that of a pooling
 * a window's maximum or mean. Layers stand in an order in which each takes from earlier ones.
 * Global average pooling and a linear classifier without bias follow. A walk takes a slice of
 * samples at a time; what a pass needs of other layers is kept, or computed again.
 */
#ifndef QLR_LAYERS_H
#define QLR_LAYERS_H

#include <stdint.h>

#include "qlr_state.h"

/* A mini-batch, or images to predict: where row i's values come from. */
typedef struct {
    const uint16_t *rows; /* see qlr_shared.learn.batch; NULL: 8-bit codes at `codes` */
    const uint8_t *codes;
    uint32_t count;       /* of all samples */
} qlr_batch;

/* A few of them. */
typedef struct {
    const qlr_batch *batch;
    uint32_t first, count;
} qlr_slice;

/* What a pass computes: 1 for each such layer. */
typedef struct {
    uint8_t layer[QLR_LAYERS + 1];
} qlr_todo;

/* Adds a layer's inputs that are not kept. */
void qlr_add_inputs(qlr_todo *todo, uint32_t layer);

/* Adds what those that are there need of others that are not kept. */
void qlr_add_missing(qlr_todo *todo);

/* Outputs y of the layers to do; of all where it is NULL. */
void qlr_forward(const qlr_slice *slice, const qlr_todo *todo);

/* Where a layer's outputs y of the slice are, and their gradient. */
float *qlr_output(const qlr_slice *slice, uint32_t layer);
float *qlr_gradient(uint32_t layer);

/* What the head takes, into qlr_walk.features: the mean of all pixels, less the center. */
void qlr_pool(const qlr_slice *slice);

/* The gradient of pooled features, spread over the last layer's outputs. */
void qlr_unpool(const qlr_slice *slice, const float *of_features, float *g);

/* Adds a layer's weight gradient to the momenta, given that of its outputs y. */
void qlr_layer_outer(const qlr_slice *slice, uint32_t layer);

/* Hands the gradient of a layer's outputs y down to the layers that it takes: the last one that
 * takes from a layer sets the gradient there, the others add to it. */
void qlr_layer_back(const qlr_slice *slice, uint32_t layer);

#endif
