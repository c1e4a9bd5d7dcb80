/* Gradients are added to the momenta directly: m = momentum * m + decay * w + gradient.
 *
 * With the mini-batch's own statistics, every layer needs the whole mini-batch twice: its mean and
 * deviation before the next layer can start, and the gradient's mean and slope before the layer
 * below can. So there is one pass over the slices per layer each way, and what a pass needs of the
 * layers below or above is kept where the planner found room, or computed again.
 */
#include "qlr_step.h"

#include <string.h>

#include "qlr_head.h"
#include "qlr_layers.h"
#include "qlr_products.h"

#define OWN_STATISTICS (QLR_NORMALIZATION != QLR_RUNNING && QLR_LAYERS > 0)

enum { NOTHING_BELOW = -1 };

static qlr_walk *const walk = &qlr_arena.learn.walk;
static qlr_norms *const norms = &qlr_arena.learn.norms;

/* The next few samples; 0 when there are none left. */
static int next_slice(qlr_slice *slice)
{
    slice->first += slice->count;
    if (slice->first >= slice->batch->count)
        return 0;
    const uint32_t left = slice->batch->count - slice->first;
    slice->count = left < QLR_SLICE ? left : QLR_SLICE;
    return 1;
}

/* Mean and deviation of every layer over the mini-batch, from the lowest up. */
static void measure_layers(const qlr_batch *batch, const qlr_limits *limits)
{
    for (uint32_t layer = 0; layer != QLR_LAYERS; layer++) {
        qlr_slice slice = {batch, 0, 0};
        while (next_slice(&slice)) {
            qlr_forward(&slice, qlr_restart(layer), layer);
            qlr_measure(layer, qlr_output(&slice, layer), slice.count, slice.first);
        }
        qlr_measured(layer, batch->count, limits);
    }
}

/* The head's part of a slice: the loss, the head's gradient if wanted, and the masked gradient of
 * the last layer in g[0]. */
static float head_back(const qlr_slice *slice, const float *head, int learn)
{
    qlr_pool(slice);
    qlr_classify(slice, head);
    const float loss = qlr_cross_entropy(slice, slice->batch->count);
    if (learn)
        qlr_multiply_outer(walk->features, walk->logits, qlr_state.head_momentum, slice->count,
                           QLR_FEATURES, QLR_CLASSES);
    if (QLR_LAYERS > 0 && QLR_TRAIN_LAYERS) {
        qlr_multiply_back(walk->logits, head, walk->features, slice->count, QLR_FEATURES,
                          QLR_CLASSES);
        qlr_unpool(slice, walk->features, walk->g[0]);
        qlr_mask(QLR_LAST_LAYER, qlr_output(slice, QLR_LAST_LAYER), walk->g[0], slice->count);
    }
    return loss;
}

/* From the masked gradient of layer `from` in g[0] down to that of layer `to`; returns where it is.
 * `all` as in qlr_norm_back. Weight gradients are added in layers up to `learn`. */
static float *layers_back(const qlr_slice *slice, int32_t from, int32_t to, int32_t learn,
                          uint32_t all)
{
    float *g = walk->g[0], *dx = walk->g[1];
    for (int32_t at = from; at > to; at--) {
        const uint32_t layer = (uint32_t)at;
        const float *y = qlr_output(slice, layer);
        if (!OWN_STATISTICS)
            qlr_sum_gradient(layer, y, g, slice->count);
        qlr_norm_back(layer, y, g, slice->count, all);
        if (at <= learn)
            qlr_layer_outer(layer, qlr_input(slice, layer), g,
                            qlr_state.momentum + qlr_layers[layer].weight, slice->count);
        if (at == 0)
            break;
        qlr_layer_back(layer, g, dx, slice->count);
        qlr_mask(layer - 1, qlr_output(slice, layer - 1), dx, slice->count);
        float *swap = g;
        g = dx;
        dx = swap;
    }
    return g;
}

/* Copies a slice's gradient of a layer to where it stays from one pass to the next, or back. */
static void keep_gradient(const qlr_slice *slice, uint32_t layer, float *g, int back)
{
    const qlr_shape *s = &qlr_layers[layer].shape;
    const uint32_t size = (uint32_t)s->out_h * s->out_w * s->out_c;
    for (uint32_t i = 0; i < slice->count; i++, g += size) {
        float *kept = walk->kept_g + (slice->first + i) * QLR_KEPT_STRIDE;
        memcpy(back ? g : kept, back ? kept : g, sizeof(float) * size);
    }
}

/* A pass over the mini-batch that ends at `target`, whose sums it takes: the head's gradient in the
 * first one, the weight gradient of the layer above in the others. */
static float pass_back(const qlr_batch *batch, const float *head, int32_t target)
{
    const int32_t last = QLR_LAYERS - 1;
    const int continues = QLR_KEEPS_GRADIENT && target < last;
    const uint32_t lowest = target > 0 ? (uint32_t)target : 0;
    qlr_slice slice = {batch, 0, 0};
    float loss = 0.0f;
    while (next_slice(&slice)) {
        /* Kept outputs are there already; the layers between them are computed again. */
        const uint32_t highest = continues ? (uint32_t)(target + 1) : (uint32_t)last;
        const uint32_t from = qlr_layers[lowest].kept ? lowest : qlr_restart(lowest);
        for (uint32_t layer = from; layer <= highest; layer++)
            if (!qlr_layers[layer].kept)
                qlr_forward(&slice, layer, layer);
        if (continues) {
            keep_gradient(&slice, (uint32_t)(target + 1), walk->g[0], 1);
        } else {
            loss += head_back(&slice, head, target == last);
        }
        float *g = layers_back(&slice, continues ? target + 1 : last, target, target + 1,
                               batch->count);
        if (target == NOTHING_BELOW)
            continue;
        qlr_sum_gradient((uint32_t)target, qlr_output(&slice, (uint32_t)target), g, slice.count);
        if (QLR_KEEPS_GRADIENT)
            keep_gradient(&slice, (uint32_t)target, g, 0);
    }
    return loss;
}

/* With running statistics, or none to train, samples do not meet: one pass does all. */
static float pass_once(const qlr_batch *batch, const float *head)
{
    qlr_slice slice = {batch, 0, 0};
    float loss = 0.0f;
    while (next_slice(&slice)) {
        if (QLR_LAYERS > 0)
            qlr_forward(&slice, 0, QLR_LAST_LAYER);
        loss += head_back(&slice, head, 1);
        if (QLR_TRAIN_LAYERS)
            layers_back(&slice, QLR_LAYERS - 1, NOTHING_BELOW, QLR_LAYERS, 0);
    }
    return loss;
}

/* gamma and beta take the sums; then torch.optim.SGD's decay is in the momenta already. */
static void update_layers(const qlr_rates *rates)
{
    for (uint32_t layer = 0; layer != QLR_LAYERS; layer++) {
        const qlr_layer *own = &qlr_layers[layer];
        for (uint32_t channel = 0; channel < own->shape.out_c; channel++) {
            const uint32_t c = own->channel + channel;
            qlr_state.momentum[own->beta + channel] += norms->sum_g[c];
            qlr_state.momentum[own->gamma + channel] +=
                norms->sum_gn[c] * norms->r[c] + norms->sum_g[c] * norms->d[c];
        }
    }
    for (uint32_t i = 0; i != QLR_PARAMS; i++)
        qlr_state.layers[i] -= rates->learning_rate * qlr_state.momentum[i];
    for (uint32_t c = 0; OWN_STATISTICS && c != QLR_CHANNELS; c++) {
        qlr_state.mean[c] += rates->renorm_momentum * (norms->mean[c] - qlr_state.mean[c]);
        qlr_state.deviation[c] +=
            rates->renorm_momentum * (norms->deviation[c] - qlr_state.deviation[c]);
    }
}

static void decay(float *momentum, const float *weight, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        momentum[i] = QLR_MOMENTUM * momentum[i] + QLR_WEIGHT_DECAY * weight[i];
}

static qlr_limits limits_at(const qlr_rates *rates, uint32_t samples, uint32_t index)
{
    const float grown = QLR_RENORM_STEP * (float)samples * (float)index;
    qlr_limits limits = {rates->r_start + grown, rates->d_start + grown};
    if (QLR_NORMALIZATION == QLR_BATCH)
        limits.r = 1.0f, limits.d = 0.0f;
    limits.r = limits.r < QLR_R_MAX ? limits.r : QLR_R_MAX;
    limits.d = limits.d < QLR_D_MAX ? limits.d : QLR_D_MAX;
    return limits;
}

float qlr_step(const qlr_rates *rates, uint32_t samples, uint32_t index)
{
    const qlr_batch batch = {qlr_arena.learn.batch, NULL, samples};
    float loss = 0.0f;
    decay(qlr_state.head_momentum, rates->head, QLR_HEAD);
    if (QLR_TRAIN_LAYERS)
        decay(qlr_state.momentum, qlr_state.layers, QLR_PARAMS);
    if (OWN_STATISTICS && QLR_TRAIN_LAYERS) {
        const qlr_limits limits = limits_at(rates, samples, index);
        measure_layers(&batch, &limits);
    } else {
        qlr_take_running();
    }
    memset(norms->sum_g, 0, sizeof norms->sum_g);
    memset(norms->sum_gn, 0, sizeof norms->sum_gn);
    if (OWN_STATISTICS && QLR_TRAIN_LAYERS)
        for (int32_t target = QLR_LAYERS - 1; target >= NOTHING_BELOW; target--) {
            const float sum = pass_back(&batch, rates->head, target);
            loss = target == QLR_LAYERS - 1 ? sum : loss;
        }
    else
        loss = pass_once(&batch, rates->head);
    if (QLR_TRAIN_LAYERS)
        update_layers(rates);
    for (uint32_t i = 0; i < QLR_HEAD; i++)
        rates->head[i] -= rates->learning_rate * qlr_state.head_momentum[i];
    return loss / (float)samples;
}
