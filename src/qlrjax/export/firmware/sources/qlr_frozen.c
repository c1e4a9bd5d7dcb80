#include "qlr_frozen.h"

#include <string.h>

#include "qlr_dot.h"

enum { TAPS_MAX = 49 };

/* Where an output pixel's inputs lie: a pointer per kernel position, the padding's codes outside. */
static void find_taps(const qlr_frozen_layer *layer, const uint8_t *x, uint32_t oy, uint32_t ox,
                      const uint8_t **taps)
{
    const qlr_shape *s = &layer->shape;
    const int32_t top = (int32_t)(oy * s->stride) - s->pad_top;
    const int32_t left = (int32_t)(ox * s->stride) - s->pad_left;
    for (int32_t y = top; y < top + s->kernel_h; y++)
        for (int32_t z = left; z < left + s->kernel_w; z++) {
            const int inside = y >= 0 && y < s->in_h && z >= 0 && z < s->in_w;
            *taps++ = inside ? x + (uint32_t)(y * s->in_w + z) * s->in_c : layer->padding;
        }
}

/* Two pixels' inputs against all output channels. */
static void dot_pixels(const qlr_frozen_layer *layer, const uint8_t *x0, const uint8_t *x1,
                       uint32_t groups, uint8_t *y0, uint8_t *y1)
{
    const uint32_t channels = layer->shape.out_c, shift = layer->shift, most = layer->code_max;
    const int8_t *weight = layer->weight;
    const int32_t *scale = layer->scale;
    int32_t acc[4];
    for (uint32_t c = 0; c + 1 < channels; c += 2, weight += 8 * groups, scale += 4) {
        qlr_dot(x0, x1, weight, groups, acc);
        y0[c] = qlr_requantize(acc[0], scale, shift, most);
        y0[c + 1] = qlr_requantize(acc[1], scale + 2, shift, most);
        y1[c] = qlr_requantize(acc[2], scale, shift, most);
        y1[c + 1] = qlr_requantize(acc[3], scale + 2, shift, most);
    }
    if (channels % 2) {
        qlr_dot(x0, x1, weight, groups, acc);
        y0[channels - 1] = qlr_requantize(acc[0], scale, shift, most);
        y1[channels - 1] = qlr_requantize(acc[2], scale, shift, most);
    }
}

/* 1x1 on whole words of channels: the pixels lie as the products want them. */
static void pointwise(const qlr_frozen_layer *layer, const uint8_t *x, uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    const uint32_t pixels = (uint32_t)s->out_h * s->out_w;
    for (uint32_t p = 0; p < pixels; p += 2) {
        const uint32_t q = p + 1 < pixels ? p + 1 : p; /* the last one may stand alone */
        dot_pixels(layer, x + p * s->in_c, x + q * s->in_c, s->in_c / 4u, y + p * s->out_c,
                   y + q * s->out_c);
    }
}

/* Copies an output pixel's inputs into one row. */
static void gather(const qlr_frozen_layer *layer, const uint8_t *x, uint32_t pixel, uint8_t *row)
{
    const qlr_shape *s = &layer->shape;
    const uint8_t *taps[TAPS_MAX];
    const uint32_t kernel = (uint32_t)s->kernel_h * s->kernel_w, channels = s->in_c;
    find_taps(layer, x, pixel / s->out_w, pixel % s->out_w, taps);
    for (uint32_t t = 0; t < kernel; t++)
        for (uint32_t c = 0; c < channels; c++)
            *row++ = taps[t][c];
}

static void convolution(const qlr_frozen_layer *layer, const uint8_t *x, uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    const uint32_t pixels = (uint32_t)s->out_h * s->out_w;
    const uint32_t inputs = (uint32_t)s->kernel_h * s->kernel_w * s->in_c;
    const uint32_t groups = (inputs + 3) / 4;
    uint8_t *row0 = qlr_arena.frozen.patch, *row1 = row0 + 4 * groups;
    memset(row0, 0, 8 * groups); /* the weights' filling meets zeros */
    for (uint32_t p = 0; p < pixels; p += 2) {
        const uint32_t q = p + 1 < pixels ? p + 1 : p;
        gather(layer, x, p, row0);
        gather(layer, x, q, row1);
        dot_pixels(layer, row0, row1, groups, y + p * s->out_c, y + q * s->out_c);
    }
}

/* Depthwise weights: [ceil(channels / 4)][kernel position][4]. */
static inline void depthwise_pixel(const qlr_frozen_layer *layer, const uint8_t *const *taps,
                                   uint32_t count, uint8_t *y)
{
    const uint32_t channels = layer->shape.out_c, shift = layer->shift, most = layer->code_max;
    const int32_t *scale = layer->scale;
    uint32_t c = 0;
#ifdef QLR_SIMD32
    const int8_t *weight = layer->weight;
    for (; c + 3 < channels; c += 4, scale += 8) {
        int32_t acc0 = 0, acc1 = 0, acc2 = 0, acc3 = 0;
        for (uint32_t t = 0; t < count; t++, weight += 4) {
            const uint32_t x = qlr_word(taps[t] + c), w = qlr_word(weight);
            const int16x2_t xe = qlr_even(x), xo = qlr_odd(x);
            const int16x2_t we = qlr_signed_even(w), wo = qlr_signed_odd(w);
            acc0 = __smlabb(we, xe, acc0);
            acc1 = __smlabb(wo, xo, acc1);
            acc2 = __smlatt(we, xe, acc2);
            acc3 = __smlatt(wo, xo, acc3);
        }
        y[c] = qlr_requantize(acc0, scale, shift, most);
        y[c + 1] = qlr_requantize(acc1, scale + 2, shift, most);
        y[c + 2] = qlr_requantize(acc2, scale + 4, shift, most);
        y[c + 3] = qlr_requantize(acc3, scale + 6, shift, most);
    }
#endif
    for (; c < channels; c++, scale += 2) {
        const int8_t *own = layer->weight + (c / 4) * 4 * count + c % 4;
        int32_t acc = 0;
        for (uint32_t t = 0; t < count; t++)
            acc += own[4 * t] * taps[t][c];
        y[c] = qlr_requantize(acc, scale, shift, most);
    }
}

static void depthwise(const qlr_frozen_layer *layer, const uint8_t *x, uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    const uint8_t *taps[TAPS_MAX];
    const uint32_t kernel = (uint32_t)s->kernel_h * s->kernel_w;
    for (uint32_t oy = 0; oy < s->out_h; oy++)
        for (uint32_t ox = 0; ox < s->out_w; ox++, y += s->out_c) {
            find_taps(layer, x, oy, ox, taps);
            if (kernel == 9)
                depthwise_pixel(layer, taps, 9, y); /* a constant: the compiler unrolls it */
            else
                depthwise_pixel(layer, taps, kernel, y);
        }
}

/* Global average pooling: the sum under the same contract. */
static void pool(const qlr_frozen_layer *layer, const uint8_t *x, uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    const uint32_t pixels = (uint32_t)s->in_h * s->in_w;
    for (uint32_t c = 0; c < s->out_c; c++) {
        int32_t acc = 0;
        for (uint32_t p = 0; p < pixels; p++)
            acc += x[p * s->in_c + c];
        y[c] = qlr_requantize(acc, layer->scale + 2 * c, layer->shift, layer->code_max);
    }
}

void qlr_frozen_layer_run(const qlr_frozen_layer *layer, const uint8_t *x, uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    switch (s->kind) {
    case QLR_DEPTHWISE:
        depthwise(layer, x, y);
        break;
    case QLR_POOL:
        pool(layer, x, y);
        break;
    case QLR_POINTWISE:
        if (s->in_c % 4 == 0) {
            pointwise(layer, x, y);
            break;
        }
        /* fall through */
    default:
        convolution(layer, x, y);
    }
}

void qlr_frozen_run(const uint8_t *image, uint8_t *latent)
{
    uint8_t *cells = qlr_arena.frozen.cells;
    const uint8_t *x = image;
    /* The image is at the low end, or elsewhere: outputs go to the high end and the low in turn. */
    for (uint32_t i = 0; i != QLR_FROZEN_LAYERS; i++) {
        const qlr_shape *s = &qlr_frozen_layers[i].shape;
        const uint32_t size = (uint32_t)s->out_h * s->out_w * s->out_c;
        uint8_t *y = i % 2 ? cells : cells + (QLR_FROZEN_BYTES - size);
        qlr_frozen_layer_run(&qlr_frozen_layers[i], x, y);
        x = y;
    }
    memmove(latent, x, QLR_LATENT_ELEMENTS);
}
