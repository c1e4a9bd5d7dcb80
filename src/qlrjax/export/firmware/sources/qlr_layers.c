#include "qlr_layers.h"

#include <string.h>

#include "qlr_norm.h"
#include "qlr_products.h"
#include "qlr_replay.h"
#include "qlr_windows.h"

static qlr_walk *const walk = &qlr_arena.learn.walk;

static uint32_t in_size(const qlr_shape *s) { return (uint32_t)s->in_h * s->in_w * s->in_c; }
static uint32_t out_size(const qlr_shape *s) { return (uint32_t)s->out_h * s->out_w * s->out_c; }

float *qlr_output(const qlr_slice *slice, uint32_t layer)
{
    const qlr_layer *own = &qlr_layers[layer];
    return walk->y + own->output + (own->kept ? slice->first * out_size(&own->shape) : 0);
}

float *qlr_gradient(uint32_t layer) { return walk->g + qlr_layers[layer].gradient; }

static void add(float *to, const float *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        to[i] += from[i];
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

/* What a layer or the latents give, normalised and activated. */
static void values(const qlr_slice *slice, uint32_t source, float *to)
{
    if (source == QLR_THE_LATENT)
        latents(slice, to);
    else
        qlr_activate(source, qlr_output(slice, source), to, slice->count);
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

/* The way back of gather_row: adds to dx. */
static void scatter_row(const qlr_shape *s, const float *from, uint32_t oy, float *dx)
{
    for (uint32_t ox = 0; ox < s->out_w; ox++)
        for (uint32_t ky = 0; ky < s->kernel_h; ky++)
            for (uint32_t kx = 0; kx < s->kernel_w; kx++, from += s->in_c) {
                const int32_t y = (int32_t)(oy * s->stride + ky) - s->pad_top;
                const int32_t z = (int32_t)(ox * s->stride + kx) - s->pad_left;
                if (y < 0 || y >= s->in_h || z < 0 || z >= s->in_w)
                    continue;
                add(dx + (uint32_t)(y * s->in_w + z) * s->in_c, from, s->in_c);
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

static void convolution_back(const qlr_shape *s, const float *g, const float *weight, float *dx)
{
    const uint32_t inputs = (uint32_t)s->kernel_h * s->kernel_w * s->in_c;
    const uint32_t row = (uint32_t)s->out_w * s->out_c;
    memset(dx, 0, sizeof(float) * in_size(s));
    for (uint32_t oy = 0; oy < s->out_h; oy++, g += row) {
        qlr_multiply_back(g, weight, walk->patches, s->out_w, inputs, s->out_c);
        scatter_row(s, walk->patches, oy, dx);
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
        else if (s->kind == QLR_CONV)
            convolution(s, x, weight, y, NULL, NULL);
        else
            qlr_pool_windows(s, x, y);
}

void qlr_layer_outer(const qlr_slice *slice, uint32_t layer)
{
    const qlr_shape *s = &qlr_layers[layer].shape;
    const float *x = walk->x, *g = qlr_gradient(layer);
    float *dweight = qlr_state.momentum + qlr_layers[layer].weight;
    uint32_t samples = slice->count;
    values(slice, qlr_layers[layer].input, walk->x);
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

static int wants_gradient(uint32_t source)
{
    return source != QLR_THE_LATENT && qlr_layers[source].learns;
}

/* An add's gradient is that of both of its inputs. */
static void add_back(const qlr_slice *slice, uint32_t layer, uint32_t source, int is_first)
{
    const uint32_t size = slice->count * out_size(&qlr_layers[layer].shape);
    if (!wants_gradient(source))
        return;
    if (is_first)
        memcpy(qlr_gradient(source), qlr_gradient(layer), sizeof(float) * size);
    else
        add(qlr_gradient(source), qlr_gradient(layer), size);
}

static void pool_back(const qlr_slice *slice, uint32_t layer, int is_first)
{
    const qlr_layer *own = &qlr_layers[layer];
    const float *g = qlr_gradient(layer), *x = walk->x;
    float *dx = qlr_gradient(own->input);
    if (is_first)
        memset(dx, 0, sizeof(float) * slice->count * in_size(&own->shape));
    if (own->shape.kind == QLR_MAX_POOL)
        values(slice, own->input, walk->x);
    for (uint32_t i = 0; i < slice->count; i++) {
        qlr_pool_windows_back(&own->shape, x, g, dx);
        x += in_size(&own->shape), dx += in_size(&own->shape), g += out_size(&own->shape);
    }
}

static void linear_back(uint32_t layer, const float *g, float *dx, uint32_t samples)
{
    const qlr_shape *s = &qlr_layers[layer].shape;
    const float *weight = qlr_state.layers + qlr_layers[layer].weight;
    if (s->kind == QLR_POINTWISE) {
        qlr_multiply_back(g, weight, dx, samples * s->out_h * s->out_w, s->in_c, s->out_c);
        return;
    }
    for (; samples > 0; samples--, g += out_size(s), dx += in_size(s))
        if (s->kind == QLR_DEPTHWISE)
            qlr_depthwise_back(s, g, weight, dx);
        else
            convolution_back(s, g, weight, dx);
}

void qlr_layer_back(const qlr_slice *slice, uint32_t layer)
{
    const qlr_layer *own = &qlr_layers[layer];
    const int is_first = own->input != QLR_THE_LATENT && qlr_layers[own->input].until == layer;
    if (own->shape.kind == QLR_ADD) {
        const uint32_t b = own->input_b;
        add_back(slice, layer, own->input, is_first);
        add_back(slice, layer, b,
                 b != QLR_THE_LATENT && b != own->input && qlr_layers[b].until == layer);
    } else if (!wants_gradient(own->input)) {
        return;
    } else if (own->form == QLR_PLAIN) {
        pool_back(slice, layer, is_first);
    } else if (is_first) {
        linear_back(layer, qlr_gradient(layer), qlr_gradient(own->input), slice->count);
    } else { /* its inputs are no longer needed */
        linear_back(layer, qlr_gradient(layer), walk->x, slice->count);
        add(qlr_gradient(own->input), walk->x, slice->count * in_size(&own->shape));
    }
}

void qlr_add_inputs(qlr_todo *todo, uint32_t layer)
{
    const qlr_layer *own = &qlr_layers[layer];
    const uint32_t sources[2] = {own->input, own->input_b};
    for (uint32_t i = 0; i < 2; i++)
        if (sources[i] != QLR_THE_LATENT && !qlr_layers[sources[i]].kept)
            todo->layer[sources[i]] = 1;
}

void qlr_add_missing(qlr_todo *todo)
{
    for (uint32_t layer = QLR_LAYERS; layer-- != 0;)
        if (todo->layer[layer])
            qlr_add_inputs(todo, layer);
}

void qlr_forward(const qlr_slice *slice, const qlr_todo *todo)
{
    for (uint32_t layer = 0; layer != QLR_LAYERS; layer++) {
        const qlr_layer *own = &qlr_layers[layer];
        float *y = qlr_output(slice, layer);
        if (todo && !todo->layer[layer])
            continue;
        values(slice, own->input, own->shape.kind == QLR_ADD ? y : walk->x);
        if (own->shape.kind == QLR_ADD) {
            values(slice, own->input_b, walk->x);
            add(y, walk->x, slice->count * out_size(&own->shape));
        } else {
            linear(layer, walk->x, y, slice->count);
        }
    }
}

void qlr_pool(const qlr_slice *slice)
{
    const float *x = walk->x;
    float *to = walk->features;
    values(slice, QLR_LAYERS > 0 ? QLR_LAST_LAYER : QLR_THE_LATENT, walk->x);
    memset(to, 0, sizeof(float) * slice->count * QLR_FEATURES);
    for (uint32_t sample = 0; sample < slice->count; sample++, to += QLR_FEATURES) {
        for (uint32_t pixel = 0; pixel < QLR_PIXELS; pixel++)
            for (uint32_t c = 0; c < QLR_FEATURES; c++)
                to[c] += *x++;
        for (uint32_t c = 0; c < QLR_FEATURES; c++)
            to[c] /= (float)QLR_PIXELS;
        for (uint32_t c = 0; c != QLR_CENTERS; c++)
            to[c] -= qlr_state.center[c];
    }
}

void qlr_unpool(const qlr_slice *slice, const float *of_features, float *g)
{
    for (uint32_t sample = 0; sample < slice->count; sample++, of_features += QLR_FEATURES)
        for (uint32_t pixel = 0; pixel < QLR_PIXELS; pixel++)
            for (uint32_t c = 0; c < QLR_FEATURES; c++)
                *g++ = of_features[c] / (float)QLR_PIXELS;
}
