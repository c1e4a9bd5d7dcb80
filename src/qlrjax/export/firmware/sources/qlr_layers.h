/* The trained layers in FP32. A layer is
 *
 *     y = linear(x)                                  convolution, depthwise or pointwise
 *     n = (y - mean) / deviation                     of the mini-batch, or running
 *     z = gamma * (n * r + d) + beta                 batch renorm; r and d are constants
 *     x' = clamp(z, low, high)                     of its activation
 *
 * and global average pooling and a linear classifier without bias follow. A walk takes a slice of
 * samples at a time; what a pass needs of earlier layers is kept, or computed again.
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

/* Linear outputs of layers `from` to `to`, from what layer `from` takes. */
void qlr_forward(const qlr_slice *slice, uint32_t from, uint32_t to);

/* Where a layer's linear outputs of the slice are. */
float *qlr_output(const qlr_slice *slice, uint32_t layer);

/* What a layer takes: latents, or the layer before, normalised and activated; into qlr_walk.x. */
const float *qlr_input(const qlr_slice *slice, uint32_t layer);

/* What the head takes, into qlr_walk.features. */
void qlr_pool(const qlr_slice *slice);

/* The gradient of pooled features, spread over the last layer's outputs. */
void qlr_unpool(const qlr_slice *slice, const float *of_features, float *g);

/* Adds a layer's weight gradient, given that of its linear outputs. */
void qlr_layer_outer(uint32_t layer, const float *x, const float *g, float *dweight,
                     uint32_t samples);

/* The gradient of a layer's inputs. */
void qlr_layer_back(uint32_t layer, const float *g, float *dx, uint32_t samples);

/* The first layer that must be computed for `layer`: the one behind the last kept one below. */
uint32_t qlr_restart(uint32_t layer);

#endif
