/* Gradients are added to the momenta directly: m = momentum * m + decay * w + gradient.
 *
 * With the mini-batch's own statistics, every normalised layer needs the whole mini-batch twice: its
 * mean and deviation before the next layer can start, and the gradient's mean and slope before the
 * layer below can. So there is one pass over the slices per such layer each way, and what a pass
 * needs of the layers below or above is kept where the planner found room, or computed again.
 */
#include "qlr_step.h"

#include <string.h>

#include "qlr_head.h"
#include "qlr_layers.h"
#include "qlr_products.h"

#define OWN_STATISTICS                                                                            \
    ((QLR_NORMALIZATION == QLR_BATCH || QLR_NORMALIZATION == QLR_RENORM) && QLR_CHANNELS > 0)

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

/* Mean and deviation of every normalised layer over the mini-batch, from the lowest up; what else
 * is kept comes to its place. */
static void measure_layers(const qlr_batch *batch, const qlr_limits *limits)
{
    for (uint32_t layer = 0; layer != QLR_LAYERS; layer++) {
        const int normalised = qlr_layers[layer].form == QLR_NORMALISED;
        qlr_slice slice = {batch, 0, 0};
        qlr_todo todo = {{0}};
        if (!normalised && !qlr_layers[layer].kept)
            continue;
        todo.layer[layer] = 1;
        qlr_add_missing(&todo);
        while (next_slice(&slice)) {
            qlr_forward(&slice, &todo);
            if (normalised)
                qlr_measure(layer, qlr_output(&slice, layer), slice.count, slice.first);
        }
        if (normalised)
            qlr_measured(layer, batch->count, limits);
    }
}

/* What a slice's features, centered, add to where the center goes. */
static void sum_shift(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t c = 0; c != QLR_CENTERS; c++)
            qlr_arena.learn.shift[c] += walk->features[i * QLR_FEATURES + c];
}

static void move_center(float share, uint32_t samples)
{
    for (uint32_t c = 0; c != QLR_CENTERS; c++)
        qlr_state.center[c] += share * (qlr_arena.learn.shift[c] / (float)samples);
}

/* The head's part of a slice: the loss, what the head learns from if wanted, and the last layer's
 * gradient. */
static float head_back(const qlr_slice *slice, const float *head, int learn)
{
    qlr_pool(slice);
    qlr_classify(slice, head);
    const float loss = qlr_cross_entropy(slice, slice->batch->count);
    if (learn) {
        sum_shift(slice->count);
        qlr_multiply_outer(walk->features, walk->logits, qlr_state.head_momentum, slice->count,
                           QLR_FEATURES, QLR_CLASSES);
    }
    if (QLR_LAYERS > 0 && QLR_TRAIN_LAYERS) {
        qlr_multiply_back(walk->logits, head, walk->features, slice->count, QLR_FEATURES,
                          QLR_CLASSES);
        qlr_unpool(slice, walk->features, qlr_gradient(QLR_LAST_LAYER));
    }
    return loss;
}

/* A pass back over the slices. It ends at the normalised layer `target`, whose sums it takes; the
 * one before it ended at `above`, QLR_LAYERS where there is none. Layers between the two learn. */
typedef struct {
    int32_t target, above;
    int32_t from; /* the first layer at work: `above` if its gradient was kept, else the last one */
} reach;

/* The gradient of a layer's outputs y, from that behind its activation. */
static void through_activation(const qlr_slice *slice, uint32_t layer)
{
    qlr_mask(layer, qlr_output(slice, layer), qlr_gradient(layer), slice->count);
}

/* From the gradients that layers above `from` or the head have left down to that of `target`. `all`
 * as in qlr_norm_back. */
static void layers_back(const qlr_slice *slice, const reach *pass, uint32_t all)
{
    for (int32_t at = pass->from; at > pass->target; at--) {
        const uint32_t layer = (uint32_t)at;
        const qlr_layer *own = &qlr_layers[layer];
        const float *y = qlr_output(slice, layer);
        float *g = qlr_gradient(layer);
        if (!own->learns)
            continue;
        through_activation(slice, layer);
        if (own->form == QLR_NORMALISED) {
            if (!OWN_STATISTICS)
                qlr_sum_gradient(layer, y, g, slice->count);
            qlr_norm_back(layer, y, g, slice->count, all);
        }
        if (own->form == QLR_BIASED && at <= pass->above)
            qlr_sum_bias(layer, g, slice->count);
        if (own->form != QLR_PLAIN && at <= pass->above)
            qlr_layer_outer(slice, layer);
        qlr_layer_back(slice, layer);
    }
}

/* Copies a slice's gradients of layers up to `above` that those behind it have left, to where they
 * stay from one pass to the next, or back. */
static void keep_gradients(const qlr_slice *slice, int32_t above, int back)
{
    for (uint32_t i = 0; i < slice->count; i++) {
        float *kept = walk->kept_g + (slice->first + i) * QLR_KEPT_STRIDE;
        for (int32_t at = 0; at <= above; at++) {
            const qlr_layer *own = &qlr_layers[at];
            const uint32_t size = (uint32_t)own->shape.out_h * own->shape.out_w * own->shape.out_c;
            float *g = qlr_gradient((uint32_t)at) + i * size;
            if ((int32_t)own->until <= above || !own->learns)
                continue;
            memcpy(back ? g : kept, back ? kept : g, sizeof(float) * size);
            kept += size;
        }
    }
}

/* Kept outputs are there already; others that a pass reads are computed again. */
static qlr_todo outputs_for(const reach *pass)
{
    qlr_todo todo = {{0}};
    for (int32_t at = pass->target > 0 ? pass->target : 0; at <= pass->from; at++) {
        const qlr_layer *own = &qlr_layers[at];
        const int learns = own->form != QLR_PLAIN && at <= pass->above;
        todo.layer[at] = !own->kept;
        if (at > pass->target && (learns || own->shape.kind == QLR_MAX_POOL))
            qlr_add_inputs(&todo, (uint32_t)at);
    }
    qlr_add_missing(&todo);
    return todo;
}

static float pass_back(const qlr_batch *batch, const float *head, const reach *pass)
{
    const int is_first = pass->above == QLR_LAYERS, continues = QLR_KEEPS_GRADIENT && !is_first;
    const qlr_todo todo = outputs_for(pass);
    qlr_slice slice = {batch, 0, 0};
    float loss = 0.0f;
    while (next_slice(&slice)) {
        qlr_forward(&slice, &todo);
        if (continues)
            keep_gradients(&slice, pass->above, 1);
        else
            loss += head_back(&slice, head, is_first);
        layers_back(&slice, pass, batch->count);
        if (pass->target == NOTHING_BELOW)
            continue;
        const uint32_t target = (uint32_t)pass->target;
        through_activation(&slice, target);
        qlr_sum_gradient(target, qlr_output(&slice, target), qlr_gradient(target), slice.count);
        if (QLR_KEEPS_GRADIENT)
            keep_gradients(&slice, pass->target, 0);
    }
    return loss;
}

/* One pass a normalised layer, from the last one down, and one for what is below. */
static float passes_back(const qlr_batch *batch, const float *head)
{
    reach pass = {QLR_LAYERS - 1, QLR_LAYERS, QLR_LAYERS - 1};
    float loss = 0.0f;
    for (; pass.target >= NOTHING_BELOW; pass.target--) {
        if (pass.target >= 0 && qlr_layers[pass.target].form != QLR_NORMALISED)
            continue;
        const float sum = pass_back(batch, head, &pass);
        loss = pass.above == QLR_LAYERS ? sum : loss;
        pass.above = pass.target;
        pass.from = QLR_KEEPS_GRADIENT ? pass.above : QLR_LAYERS - 1;
    }
    return loss;
}

/* With running statistics, or none to train, samples do not meet: one pass does all. */
static float pass_once(const qlr_batch *batch, const float *head)
{
    const reach all = {NOTHING_BELOW, QLR_LAYERS, QLR_LAYERS - 1};
    qlr_slice slice = {batch, 0, 0};
    float loss = 0.0f;
    while (next_slice(&slice)) {
        qlr_forward(&slice, NULL);
        loss += head_back(&slice, head, 1);
        if (QLR_TRAIN_LAYERS)
            layers_back(&slice, &all, 0);
    }
    return loss;
}

/* gamma and beta take the sums; then torch.optim.SGD's decay is in the momenta already. */
static void update_layers(const qlr_rates *rates)
{
    for (uint32_t layer = 0; layer != QLR_LAYERS; layer++) {
        const qlr_layer *own = &qlr_layers[layer];
        if (own->form != QLR_NORMALISED)
            continue;
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
    memset(qlr_arena.learn.shift, 0, sizeof qlr_arena.learn.shift);
    if (OWN_STATISTICS && QLR_TRAIN_LAYERS)
        loss = passes_back(&batch, rates->head);
    else
        loss = pass_once(&batch, rates->head);
    if (QLR_TRAIN_LAYERS)
        update_layers(rates);
    /* All the way to the first mini-batch's mean. */
    move_center(qlr_state.event == 0 && index == 0 ? 1.0f : QLR_CENTER_MOMENTUM, samples);
    for (uint32_t i = 0; i < QLR_HEAD; i++)
        rates->head[i] -= rates->learning_rate * qlr_state.head_momentum[i];
    return loss / (float)samples;
}
