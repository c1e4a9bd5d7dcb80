#include "qlr_layers.h"

#include <string.h>

#include "qlr_norm.h"
#include "qlr_products.h"
#include "qlr_replay.h"

static qlr_walk *const walk = &qlr_arena.learn.walk;

static uint32_t in_size(const qlr_shape *s) { return (uint32_t)s->in_h * s->in_w * s->in_c; }
static uint32_t out_size(const qlr_shape *s) { return (uint32_t)s->out_h * s->out_w * s->out_c; }

float *qlr_output(const qlr_slice *slice, uint32_t layer)
{
    const qlr_layer *own = &qlr_layers[layer];
    return walk->y + own->output + (own->kept ? slice->first * out_size(&own->shape) : 0);
}

static void latents(const qlr_slice *slice, float *to)
{
    const qlr_batch *batch = slice->batch;
    for (uint32_t i = slice->first; i < slice->first + slice->count; i++) {
        if (!batch->rows)
            qlr_dequantize(batch->codes + i * QLR_LATENT_ELEMENTS, to);
        else if (batch->rows[i] < QLR_EVENT_MAX)
            qlr_dequantize(qlr_event.latents + (uint32_t)batch->rows[i] * QLR_LATENT_ELEMENTS, to);
        else
            qlr_replay_read(batch->rows[i] - (uint32_t)QLR_EVENT_MAX, to);
        to += QLR_LATENT_ELEMENTS;
    }
}

const float *qlr_input(const qlr_slice *slice, uint32_t layer)
{
    if (layer == 0)
        latents(slice, walk->x);
    else
        qlr_activate(layer - 1, qlr_output(slice, layer - 1), walk->x, slice->count);
    return walk->x;
}

/* One output row of a convolution's inputs, [output column][kernel position][channel]. */
static void gather_row(const qlr_shape *s, const float *x, uint32_t oy, float *to)
{
    for (uint32_t ox = 0; ox < s->out_w; ox++)
        for (uint32_t ky = 0; ky < s->kernel_h; ky++)
            for (uint32_t kx = 0; kx < s->kernel_w; kx++, to += s->in_c) {
                const int32_t y = (int32_t)(oy * s->stride + ky) - s->pad_top;
                const int32_t z = (int32_t)(ox * s->stride + kx) - s->pad_left;
                if (y < 0 || y >= s->in_h || z < 0 || z >= s->in_w)
                    memset(to, 0, sizeof(float) * s->in_c);
                else
                    memcpy(to, x + (uint32_t)(y * s->in_w + z) * s->in_c, sizeof(float) * s->in_c);
            }
}

/* A convolution is a product of gathered rows: forward, or into the weight gradient. */
static void convolution(const qlr_shape *s, const float *x, const float *weight, float *y,
                        float *dweight, const float *g)
{
    const uint32_t inputs = (uint32_t)s->kernel_h * s->kernel_w * s->in_c;
    const uint32_t row = (uint32_t)s->out_w * s->out_c;
    for (uint32_t oy = 0; oy < s->out_h; oy++) {
        gather_row(s, x, oy, walk->patches);
        if (y)
            qlr_multiply(walk->patches, weight, y + oy * row, s->out_w, inputs, s->out_c);
        else
            qlr_multiply_outer(walk->patches, g + oy * row, dweight, s->out_w, inputs, s->out_c);
    }
}

static void linear(uint32_t layer, const float *x, float *y, uint32_t samples)
{
    const qlr_shape *s = &qlr_layers[layer].shape;
    const float *weight = qlr_state.layers + qlr_layers[layer].weight;
    if (s->kind == QLR_POINTWISE) {
        qlr_multiply(x, weight, y, samples * s->out_h * s->out_w, s->in_c, s->out_c);
        return;
    }
    for (; samples > 0; samples--, x += in_size(s), y += out_size(s))
        if (s->kind == QLR_DEPTHWISE)
            qlr_depthwise(s, x, weight, y);
        else
            convolution(s, x, weight, y, NULL, NULL);
}

void qlr_layer_outer(uint32_t layer, const float *x, const float *g, float *dweight,
                     uint32_t samples)
{
    const qlr_shape *s = &qlr_layers[layer].shape;
    if (s->kind == QLR_POINTWISE) {
        qlr_multiply_outer(x, g, dweight, samples * s->out_h * s->out_w, s->in_c, s->out_c);
        return;
    }
    for (; samples > 0; samples--, x += in_size(s), g += out_size(s))
        if (s->kind == QLR_DEPTHWISE)
            qlr_depthwise_outer(s, x, g, dweight);
        else
            convolution(s, x, NULL, NULL, dweight, g);
}

void qlr_layer_back(uint32_t layer, const float *g, float *dx, uint32_t samples)
{
    const qlr_shape *s = &qlr_layers[layer].shape;
    const float *weight = qlr_state.layers + qlr_layers[layer].weight;
    if (s->kind == QLR_POINTWISE) {
        qlr_multiply_back(g, weight, dx, samples * s->out_h * s->out_w, s->in_c, s->out_c);
        return;
    }
    /* Only the first layer may be a convolution, and nothing below it wants a gradient. */
    for (; samples > 0; samples--, g += out_size(s), dx += in_size(s))
        qlr_depthwise_back(s, g, weight, dx);
}

void qlr_forward(const qlr_slice *slice, uint32_t from, uint32_t to)
{
    for (uint32_t layer = from; layer <= to; layer++)
        linear(layer, qlr_input(slice, layer), qlr_output(slice, layer), slice->count);
}

uint32_t qlr_restart(uint32_t layer)
{
    while (layer > 0 && !qlr_layers[layer - 1].kept)
        layer--;
    return layer;
}

void qlr_pool(const qlr_slice *slice)
{
    const float *x = qlr_input(slice, QLR_LAYERS);
    float *to = walk->features;
    memset(to, 0, sizeof(float) * slice->count * QLR_FEATURES);
    for (uint32_t sample = 0; sample < slice->count; sample++, to += QLR_FEATURES) {
        for (uint32_t pixel = 0; pixel < QLR_PIXELS; pixel++)
            for (uint32_t c = 0; c < QLR_FEATURES; c++)
                to[c] += *x++;
        for (uint32_t c = 0; c < QLR_FEATURES; c++)
            to[c] /= (float)QLR_PIXELS;
    }
}

void qlr_unpool(const qlr_slice *slice, const float *of_features, float *g)
{
    for (uint32_t sample = 0; sample < slice->count; sample++, of_features += QLR_FEATURES)
        for (uint32_t pixel = 0; pixel < QLR_PIXELS; pixel++)
            for (uint32_t c = 0; c < QLR_FEATURES; c++)
                *g++ = of_features[c] / (float)QLR_PIXELS;
}
