/* The frozen stage. For every output channel c:
 *
 *     acc = sum(weight * x)                                     exact in int32
 *     y   = clip((kappa[c] * acc + lambda[c]) >> shift, 0, code_max)
 *
 * The product and the sum are exact in 64 bits. The shift floors, which for a negative value does
 * not matter because the clip turns it into 0.
 */
#include "qlr_frozen.h"

#include <string.h>

#include "net.h"
#include "qlr_layer.h"

typedef struct {
    qlr_shape shape;
    int shift, code_max;
    const int8_t *weight;
    const int32_t *kappa, *lambda;
    const uint8_t *pad_value; /* one code per input channel, what lies outside the image */
} frozen_layer;

#include "frozen_data.h"

static int32_t accumulate(const frozen_layer *layer, const uint8_t *x, int oy, int ox, int oc)
{
    const qlr_shape *s = &layer->shape;
    int32_t acc = 0;
    for (int ky = 0; ky < s->kernel_h; ky++) {
        for (int kx = 0; kx < s->kernel_w; kx++) {
            const int y = oy * s->stride - s->pad_top + ky;
            const int z = ox * s->stride - s->pad_left + kx;
            const int inside = y >= 0 && y < s->in_h && z >= 0 && z < s->in_w;
            const uint8_t *pixel = inside ? x + (y * s->in_w + z) * s->in_c : layer->pad_value;
            const int tap = (oc * s->kernel_h + ky) * s->kernel_w + kx;
            if (s->kind == QLR_POOL) {
                acc += pixel[oc];
            } else if (s->kind == QLR_DEPTHWISE) {
                acc += layer->weight[tap] * pixel[oc];
            } else {
                const int8_t *row = layer->weight + tap * s->in_c;
                for (int ic = 0; ic < s->in_c; ic++)
                    acc += row[ic] * pixel[ic];
            }
        }
    }
    return acc;
}

static uint8_t requantize(const frozen_layer *layer, int32_t acc, int oc)
{
    const int64_t value = (int64_t)layer->kappa[oc] * acc + layer->lambda[oc];
    if (value < 0)
        return 0;
    const int64_t code = value >> layer->shift;
    return (uint8_t)(code < layer->code_max ? code : layer->code_max);
}

static void run_layer(const frozen_layer *layer, const uint8_t *x, uint8_t *out)
{
    for (int oy = 0; oy < layer->shape.out_h; oy++)
        for (int ox = 0; ox < layer->shape.out_w; ox++)
            for (int oc = 0; oc < layer->shape.out_c; oc++)
                *out++ = requantize(layer, accumulate(layer, x, oy, ox, oc), oc);
}

void qlr_frozen_run(const uint8_t *image, uint8_t *latent)
{
    /* Layers write into one buffer while they read the other. */
    static uint8_t buffers[2][FROZEN_BUFFER];
    const uint8_t *x = image;
    for (int i = 0; i < FROZEN_LAYERS; i++) {
        run_layer(&frozen_layers[i], x, buffers[i % 2]);
        x = buffers[i % 2];
    }
    memcpy(latent, x, LATENT_ELEMENTS);
}
