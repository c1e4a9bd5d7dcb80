/* The adaptive stage in FP32. A layer is
 *
 *     y = linear(x)                       convolution, depthwise or pointwise
 *     normal = (y - mean) / deviation     of the mini-batch
 *     z = gamma * (normal * r + d) + beta     batch renorm; r and d are constants to the gradient
 *     x' = clamp(z, 0, RELU_MAX)
 *
 * and global average pooling and a linear classifier without bias follow. The mini-batch is kept
 * whole, because its own mean and deviation take part: `input` and `normal` of every layer lie in
 * one arena.
 */
#include "qlr_train.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "net.h"
#include "qlr_layer.h"

typedef struct {
    qlr_shape shape;
    size_t weight, gamma, beta; /* where they begin in the parameters and their gradients */
    size_t channel;             /* where its channels begin in the statistics */
    size_t input, normal;       /* where they begin in the arena, MINIBATCH samples each */
} adaptive_layer;

#include "adaptive_data.h"

static float gradients[ADAPTIVE_PARAMS], momenta[ADAPTIVE_PARAMS];
static float arena[ARENA_FLOATS];
static float batch_mean[ADAPTIVE_CHANNELS + 1], batch_deviation[ADAPTIVE_CHANNELS + 1];
static float renorm_r[ADAPTIVE_CHANNELS + 1], renorm_d[ADAPTIVE_CHANNELS + 1];
/* Gradients of activations: a layer reads one and writes the other. */
static float upstream[2][GRADIENT_FLOATS];

static float clamp(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

static size_t in_size(const qlr_shape *s) { return (size_t)s->in_h * s->in_w * s->in_c; }
static size_t out_size(const qlr_shape *s) { return (size_t)s->out_h * s->out_w * s->out_c; }

/* ---- linear part, one sample -------------------------------------------------------------- */

/* Finds where a tap's inputs and weights begin; returns how many there are, 0 in the padding. */
static int find_tap(const qlr_shape *s, int oy, int ox, int oc, int ky, int kx, size_t *x, size_t *w)
{
    const int y = oy * s->stride - s->pad_top + ky, z = ox * s->stride - s->pad_left + kx;
    if (y < 0 || y >= s->in_h || z < 0 || z >= s->in_w)
        return 0;
    const int count = s->kind == QLR_DEPTHWISE ? 1 : s->in_c;
    *x = ((size_t)y * s->in_w + z) * s->in_c + (s->kind == QLR_DEPTHWISE ? oc : 0);
    *w = (((size_t)oc * s->kernel_h + ky) * s->kernel_w + kx) * count;
    return count;
}

static void linear_forward(const qlr_shape *s, const float *weight, const float *x, float *y)
{
    size_t from = 0, tap = 0;
    for (int oy = 0; oy < s->out_h; oy++)
        for (int ox = 0; ox < s->out_w; ox++)
            for (int oc = 0; oc < s->out_c; oc++) {
                float sum = 0.0f;
                for (int ky = 0; ky < s->kernel_h; ky++)
                    for (int kx = 0; kx < s->kernel_w; kx++) {
                        const int count = find_tap(s, oy, ox, oc, ky, kx, &from, &tap);
                        for (int i = 0; i < count; i++)
                            sum += weight[tap + i] * x[from + i];
                    }
                *y++ = sum;
            }
}

/* Adds to the gradients of the weight and, unless dx is NULL, of the input. */
static void linear_backward(const qlr_shape *s, const float *weight, const float *x,
                            const float *dy, float *dweight, float *dx)
{
    size_t from = 0, tap = 0;
    for (int oy = 0; oy < s->out_h; oy++)
        for (int ox = 0; ox < s->out_w; ox++)
            for (int oc = 0; oc < s->out_c; oc++, dy++)
                for (int ky = 0; ky < s->kernel_h; ky++)
                    for (int kx = 0; kx < s->kernel_w; kx++) {
                        const int count = find_tap(s, oy, ox, oc, ky, kx, &from, &tap);
                        for (int i = 0; i < count; i++)
                            dweight[tap + i] += *dy * x[from + i];
                        for (int i = 0; dx && i < count; i++)
                            dx[from + i] += *dy * weight[tap + i];
                    }
}

/* ---- batch renorm ------------------------------------------------------------------------- */

/* Values of one channel of a mini-batch: `first`, then every `step`-th of n * pixels. */
typedef struct {
    int n, pixels;
    size_t step;
} channel_view;

/* Mean of a, or of a * b unless b is NULL. Sums sample by sample, which keeps rounding small. */
static float mean_of(const channel_view *v, const float *a, const float *b)
{
    float total = 0.0f;
    size_t i = 0;
    for (int sample = 0; sample < v->n; sample++) {
        float sum = 0.0f;
        for (int pixel = 0; pixel < v->pixels; pixel++, i += v->step)
            sum += b ? a[i] * b[i] : a[i];
        total += sum;
    }
    return total / ((float)v->n * (float)v->pixels);
}

/* Statistics of the mini-batch for channel c, and batch renorm's correction toward the running. */
static void measure(const channel_view *v, const float *y, size_t c)
{
    batch_mean[c] = mean_of(v, y, NULL);
    float squares = 0.0f;
    size_t i = 0;
    for (int sample = 0; sample < v->n; sample++) {
        float sum = 0.0f;
        for (int pixel = 0; pixel < v->pixels; pixel++, i += v->step)
            sum += (y[i] - batch_mean[c]) * (y[i] - batch_mean[c]);
        squares += sum;
    }
    batch_deviation[c] = sqrtf(squares / ((float)v->n * (float)v->pixels) + BN_EPSILON);
    renorm_r[c] = clamp(batch_deviation[c] / deviations[c], 1.0f / R_MAX, R_MAX);
    renorm_d[c] = clamp((batch_mean[c] - means[c]) / deviations[c], -D_MAX, D_MAX);
}

/* Without the mini-batch's statistics, the running ones take their place and correct nothing. */
static void take_running(size_t c)
{
    batch_mean[c] = means[c];
    batch_deviation[c] = deviations[c];
    renorm_r[c] = 1.0f;
    renorm_d[c] = 0.0f;
}

/* Normalises y in place and writes the layer's output. */
static void activate(const adaptive_layer *layer, float *y, float *out, int n, int measured)
{
    const qlr_shape *s = &layer->shape;
    const channel_view view = {n, s->out_h * s->out_w, (size_t)s->out_c};
    for (int channel = 0; channel < s->out_c; channel++) {
        const size_t c = layer->channel + channel;
        const float gamma = params[layer->gamma + channel], beta = params[layer->beta + channel];
        if (measured)
            measure(&view, y + channel, c);
        else
            take_running(c);
        for (size_t i = channel; i < n * out_size(s); i += view.step) {
            y[i] = (y[i] - batch_mean[c]) / batch_deviation[c];
            out[i] = clamp(gamma * (y[i] * renorm_r[c] + renorm_d[c]) + beta, 0.0f, RELU_MAX);
        }
    }
}

/* Turns the gradient g of the output into that of the linear part's y, in place. */
static void activate_backward(const adaptive_layer *layer, const float *normal, const float *out,
                              float *g, int n)
{
    const qlr_shape *s = &layer->shape;
    const channel_view view = {n, s->out_h * s->out_w, (size_t)s->out_c};
    const float count = (float)n * (float)view.pixels;
    for (int channel = 0; channel < s->out_c; channel++) {
        const size_t c = layer->channel + channel, end = n * out_size(s);
        for (size_t i = channel; i < end; i += view.step)
            if (out[i] <= 0.0f || out[i] >= RELU_MAX)
                g[i] = 0.0f;
        const float mean = mean_of(&view, g + channel, NULL);
        const float slope = mean_of(&view, g + channel, normal + channel);
        gradients[layer->beta + channel] = mean * count;
        gradients[layer->gamma + channel] = (slope * renorm_r[c] + mean * renorm_d[c]) * count;
        const float gain = params[layer->gamma + channel] * renorm_r[c] / batch_deviation[c];
        for (size_t i = channel; i < end; i += view.step)
            g[i] = gain * (BATCH_STATISTICS ? g[i] - mean - normal[i] * slope : g[i]);
    }
}

/* ---- the whole stage ---------------------------------------------------------------------- */

static float *layer_output(int index)
{
    return arena + (index + 1 < ADAPTIVE_LAYERS ? adaptive_layers[index + 1].input : FEATURES_AT);
}

static void forward(const float *latents, int n, int measured)
{
    memcpy(arena, latents, (size_t)n * LATENT_ELEMENTS * sizeof(float));
#ifdef IMAGE_MEAN /* the cut is at layer 0: latents are pixels */
    const float pixel_mean[] = IMAGE_MEAN, pixel_std[] = IMAGE_STD;
    for (size_t i = 0; i < (size_t)n * LATENT_ELEMENTS; i++)
        arena[i] = (arena[i] - pixel_mean[i % LATENT_C]) / pixel_std[i % LATENT_C];
#endif
    for (int index = 0; index < ADAPTIVE_LAYERS; index++) {
        const adaptive_layer *layer = &adaptive_layers[index];
        const qlr_shape *s = &layer->shape;
        for (int sample = 0; sample < n; sample++)
            linear_forward(s, params + layer->weight, arena + layer->input + sample * in_size(s),
                           arena + layer->normal + sample * out_size(s));
        activate(layer, arena + layer->normal, layer_output(index), n, measured);
    }
}

/* Global average pooling and logits of one sample. */
static void classify(int sample, float *pooled, float *logits)
{
    const float *x = arena + FEATURES_AT + (size_t)sample * FEATURE_PIXELS * FEATURES;
    memset(pooled, 0, FEATURES * sizeof(float));
    for (int pixel = 0; pixel < FEATURE_PIXELS; pixel++)
        for (int c = 0; c < FEATURES; c++)
            pooled[c] += x[pixel * FEATURES + c] / FEATURE_PIXELS;
    for (int k = 0; k < CLASSES; k++) {
        const float *row = params + HEAD_AT + (size_t)k * FEATURES;
        logits[k] = 0.0f;
        for (int c = 0; c < FEATURES; c++)
            logits[k] += row[c] * pooled[c];
    }
}

static int largest(const float *values, int count)
{
    int best = 0;
    for (int k = 1; k < count; k++)
        if (values[k] > values[best])
            best = k;
    return best;
}

/* Cross-entropy of one sample, the head's gradient, and g, the gradient of the features. */
static float head_backward(int sample, int label, int n, float *g)
{
    static float pooled[FEATURES], logits[CLASSES];
    classify(sample, pooled, logits);
    const float top = logits[largest(logits, CLASSES)];
    float total = 0.0f;
    for (int k = 0; k < CLASSES; k++)
        total += expf(logits[k] - top);
    memset(g, 0, FEATURE_PIXELS * FEATURES * sizeof(float));
    for (int k = 0; k < CLASSES; k++) {
        const float p = expf(logits[k] - top) / total;
        const float error = (p - (k == label ? 1.0f : 0.0f)) / (float)n;
        const size_t row = HEAD_AT + (size_t)k * FEATURES;
        for (int c = 0; c < FEATURES; c++) {
            gradients[row + c] += error * pooled[c];
            g[c] += error * params[row + c] / FEATURE_PIXELS;
        }
    }
    for (int pixel = 1; pixel < FEATURE_PIXELS; pixel++)
        memcpy(g + pixel * FEATURES, g, FEATURES * sizeof(float));
    return logf(total) - (logits[label] - top);
}

static void backward(int n)
{
    int side = 0;
    for (int index = ADAPTIVE_LAYERS - 1; index >= 0; index--, side = !side) {
        const adaptive_layer *layer = &adaptive_layers[index];
        const qlr_shape *s = &layer->shape;
        float *g = upstream[side], *dx = index ? upstream[!side] : NULL;
        activate_backward(layer, arena + layer->normal, layer_output(index), g, n);
        if (dx)
            memset(dx, 0, n * in_size(s) * sizeof(float));
        for (int sample = 0; sample < n; sample++)
            linear_backward(s, params + layer->weight, arena + layer->input + sample * in_size(s),
                            g + sample * out_size(s), gradients + layer->weight,
                            dx ? dx + sample * in_size(s) : NULL);
    }
}

/* torch.optim.SGD: the decay joins the gradient, and momentum is not damped. */
static void update(void)
{
    for (int i = TRAIN_LAYERS ? 0 : HEAD_AT; i < ADAPTIVE_PARAMS; i++) {
        const float gradient = gradients[i] + WEIGHT_DECAY * params[i];
        momenta[i] = MOMENTUM * momenta[i] + gradient;
        params[i] -= LEARNING_RATE * momenta[i];
    }
    for (int c = 0; BATCH_STATISTICS && c < ADAPTIVE_CHANNELS; c++) {
        means[c] += RENORM_MOMENTUM * (batch_mean[c] - means[c]);
        deviations[c] += RENORM_MOMENTUM * (batch_deviation[c] - deviations[c]);
    }
}

float qlr_train_step(const float *latents, const int32_t *labels, int n)
{
    float loss = 0.0f;
    memset(gradients, 0, sizeof gradients);
    forward(latents, n, BATCH_STATISTICS);
    for (int sample = 0; sample < n; sample++)
        loss += head_backward(sample, labels[sample], n,
                              upstream[0] + (size_t)sample * FEATURE_PIXELS * FEATURES);
    backward(n);
    update();
    return loss / (float)n;
}

int qlr_predict(const float *latent)
{
    static float pooled[FEATURES], logits[CLASSES];
    forward(latent, 1, 0);
    classify(0, pooled, logits);
    return largest(logits, CLASSES);
}

const float *qlr_params(void) { return params; }
const float *qlr_means(void) { return means; }
const float *qlr_deviations(void) { return deviations; }
