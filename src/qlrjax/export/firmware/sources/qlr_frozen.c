#include "qlr_frozen.h"

#include <string.h>

#include "qlr_dot.h"

enum { TAPS_MAX = 49 };

/* Where the kernel lies over the input for an output pixel. */
typedef struct {
    int32_t top, left;
    int inside; /* nowhere in the padding */
} window;

static inline window window_at(const qlr_shape *s, uint32_t oy, uint32_t ox)
{
    window found;
    found.top = (int32_t)(oy * s->stride) - s->pad_top;
    found.left = (int32_t)(ox * s->stride) - s->pad_left;
    found.inside = found.top >= 0 && found.top + s->kernel_h <= s->in_h && found.left >= 0 &&
                   found.left + s->kernel_w <= s->in_w;
    return found;
}

/* A pointer per kernel position, to the padding's codes outside the image. */
static void find_taps(const qlr_frozen_layer *layer, const uint8_t *x, const window *at,
                      const uint8_t **taps)
{
    const qlr_shape *s = &layer->shape;
    for (int32_t y = at->top; y < at->top + s->kernel_h; y++)
        for (int32_t z = at->left; z < at->left + s->kernel_w; z++) {
            const int inside = y >= 0 && y < s->in_h && z >= 0 && z < s->in_w;
            *taps++ = inside ? x + (uint32_t)(y * s->in_w + z) * s->in_c : layer->padding;
        }
}

static inline uint8_t code_of(int32_t acc, const int32_t *scale, uint32_t shift, uint32_t code_max,
                              int is_short)
{
    return is_short ? qlr_requantize_short(acc, scale, shift)
                    : qlr_requantize(acc, scale, shift, code_max);
}

/* Two pixels' inputs against all output channels; `is_short` is a constant of each call. */
static inline void dot_rows(const qlr_frozen_layer *layer, const uint8_t *x0, const uint8_t *x1,
                            uint32_t groups, uint8_t *y0, uint8_t *y1, int is_short)
{
    const uint32_t channels = layer->shape.out_c, shift = layer->shift, most = layer->code_max;
    const int8_t *weight = layer->weight;
    const int32_t *scale = layer->scale;
    int32_t acc[4];
    for (uint32_t c = 0; c + 1 < channels; c += 2, weight += 8 * groups, scale += 4) {
        qlr_dot(x0, x1, weight, groups, acc);
        y0[c] = code_of(acc[0], scale, shift, most, is_short);
        y0[c + 1] = code_of(acc[1], scale + 2, shift, most, is_short);
        y1[c] = code_of(acc[2], scale, shift, most, is_short);
        y1[c + 1] = code_of(acc[3], scale + 2, shift, most, is_short);
    }
    if (channels % 2) {
        qlr_dot(x0, x1, weight, groups, acc);
        y0[channels - 1] = code_of(acc[0], scale, shift, most, is_short);
        y1[channels - 1] = code_of(acc[2], scale, shift, most, is_short);
    }
}

static void dot_pixels(const qlr_frozen_layer *layer, const uint8_t *x0, const uint8_t *x1,
                       uint32_t groups, uint8_t *y0, uint8_t *y1)
{
    if (layer->is_short)
        dot_rows(layer, x0, x1, groups, y0, y1, 1);
    else
        dot_rows(layer, x0, x1, groups, y0, y1, 0);
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

/* By words, which need not be aligned. */
static inline uint8_t *copy(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    for (; bytes >= 4; bytes -= 4, to += 4, from += 4)
        memcpy(to, from, 4);
    for (; bytes > 0; bytes--)
        *to++ = *from++;
    return to;
}

/* Copies an output pixel's inputs into one row. */
static void gather(const qlr_frozen_layer *layer, const uint8_t *x, uint32_t pixel, uint8_t *row)
{
    const qlr_shape *s = &layer->shape;
    const uint8_t *taps[TAPS_MAX];
    const uint32_t kernel = (uint32_t)s->kernel_h * s->kernel_w, channels = s->in_c;
    const window at = window_at(s, pixel / s->out_w, pixel % s->out_w);
    if (at.inside) { /* a row of the kernel lies in one piece */
        const uint32_t next = (uint32_t)s->in_w * channels, width = s->kernel_w * channels;
        x += (uint32_t)(at.top * s->in_w + at.left) * channels;
        for (uint32_t y = 0; y < s->kernel_h; y++, x += next)
            row = copy(row, x, width);
        return;
    }
    find_taps(layer, x, &at, taps);
    for (uint32_t t = 0; t < kernel; t++)
        row = copy(row, taps[t], channels);
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
                                   uint32_t count, uint8_t *y, int is_short)
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
        y[c] = code_of(acc0, scale, shift, most, is_short);
        y[c + 1] = code_of(acc1, scale + 2, shift, most, is_short);
        y[c + 2] = code_of(acc2, scale + 4, shift, most, is_short);
        y[c + 3] = code_of(acc3, scale + 6, shift, most, is_short);
    }
#endif
    for (; c < channels; c++, scale += 2) {
        const int8_t *own = layer->weight + (c / 4) * 4 * count + c % 4;
        int32_t acc = 0;
        for (uint32_t t = 0; t < count; t++)
            acc += own[4 * t] * taps[t][c];
        y[c] = code_of(acc, scale, shift, most, is_short);
    }
}

static void depthwise(const qlr_frozen_layer *layer, const uint8_t *x, uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    const uint8_t *taps[TAPS_MAX];
    const uint32_t kernel = (uint32_t)s->kernel_h * s->kernel_w;
    const uint32_t step = (uint32_t)s->stride * s->in_c;
    for (uint32_t oy = 0; oy < s->out_h; oy++) {
        int inside = 0;
        for (uint32_t ox = 0; ox < s->out_w; ox++, y += s->out_c) {
            const window at = window_at(s, oy, ox);
            if (inside && at.inside)
                for (uint32_t t = 0; t < kernel; t++)
                    taps[t] += step;
            else
                find_taps(layer, x, &at, taps);
            inside = at.inside;
            if (kernel == 9 && layer->is_short) /* constants: the compiler unrolls it */
                depthwise_pixel(layer, taps, 9, y, 1);
            else
                depthwise_pixel(layer, taps, kernel, y, layer->is_short);
        }
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

/* The largest code of a window, or the sum of its codes, under the same contract. */
static void pool_windows(const qlr_frozen_layer *layer, const uint8_t *x, uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    const uint8_t *taps[TAPS_MAX];
    const uint32_t kernel = (uint32_t)s->kernel_h * s->kernel_w;
    for (uint32_t oy = 0; oy < s->out_h; oy++)
        for (uint32_t ox = 0; ox < s->out_w; ox++) {
            const window at = window_at(s, oy, ox);
            find_taps(layer, x, &at, taps);
            for (uint32_t c = 0; c < s->out_c; c++) {
                int32_t most = 0, sum = 0;
                for (uint32_t t = 0; t < kernel; t++) {
                    const int32_t code = taps[t][c];
                    sum += code;
                    most = code > most ? code : most;
                }
                *y++ = qlr_requantize(s->kind == QLR_MAX_POOL ? most : sum, layer->scale + 2 * c,
                                      layer->shift, layer->code_max);
            }
        }
}

static void add(const qlr_frozen_layer *layer, const uint8_t *a, const uint8_t *b, uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    for (uint32_t p = 0; p < (uint32_t)s->out_h * s->out_w; p++)
        for (uint32_t c = 0; c < s->out_c; c++) {
            int64_t value = (int64_t)layer->scale[2 * c] * *a++ + layer->scale[2 * c + 1];
            value += (int64_t)layer->scale_b[c] * *b++;
            const uint64_t code = value < 0 ? 0u : (uint64_t)value >> layer->shift;
            *y++ = (uint8_t)(code > layer->code_max ? layer->code_max : code);
        }
}

void qlr_frozen_layer_run(const qlr_frozen_layer *layer, const uint8_t *x, const uint8_t *b,
                          uint8_t *y)
{
    const qlr_shape *s = &layer->shape;
    switch (s->kind) {
    case QLR_DEPTHWISE:
        depthwise(layer, x, y);
        break;
    case QLR_POOL:
        pool(layer, x, y);
        break;
    case QLR_ADD:
        add(layer, x, b, y);
        break;
    case QLR_MAX_POOL:
    case QLR_AVERAGE_POOL:
        pool_windows(layer, x, y);
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
    const uint8_t *last = image;
    for (uint32_t i = 0; i != QLR_FROZEN_LAYERS; i++) {
        const qlr_frozen_layer *layer = &qlr_frozen_layers[i];
        const uint8_t *x = layer->input == QLR_THE_IMAGE ? image : cells + layer->input;
        const uint8_t *b = layer->input_b == QLR_THE_IMAGE ? image : cells + layer->input_b;
        qlr_frozen_layer_run(layer, x, b, cells + layer->output);
        last = cells + layer->output;
    }
    memcpy(latent, last, QLR_LATENT_ELEMENTS);
}
