/* A class that comes late: only its own column of the head is fitted, see qlrjax's newclass.py.
 *
 * The column w minimises the cross-entropy of the waiting images and all replays, which is convex:
 *
 *     gradient = F^T (p_new - is_new) / n + decay * w,   p_new the softmax of the new class
 */
#include <math.h>
#include <string.h>

#include "qlr_admit.h"
#include "qlr_draws.h"
#include "qlr_head.h"
#include "qlr_norm.h"
#include "qlr_state.h"

enum { STEPS = 300 };
static const float RATE = 5e-3f, MOMENTUM = 0.9f;

/* Features of item i: the waiting images, then the replays. */
static const float *features_of(uint32_t item)
{
    const uint16_t row = (uint16_t)(item < qlr_event.count
                                        ? item
                                        : QLR_EVENT_MAX + (item - qlr_event.count));
    const qlr_batch batch = {&row, NULL, 1};
    const qlr_slice slice = {&batch, 0, 1};
    qlr_forward(&slice, NULL);
    qlr_pool(&slice);
    return qlr_arena.late.walk.features;
}

static const float *kept_features(uint32_t item)
{
    if (QLR_KEEPS_FEATURES)
        return qlr_arena.late.features + item * QLR_FEATURES;
    return features_of(item);
}

/* log(exp(a) + exp(b)) */
static float log_add(float a, float b)
{
    const float top = a > b ? a : b;
    return top + logf(1.0f + expf(-fabsf(a - b)));
}

/* The log-sum-exp of the known classes, with the head that predicts. */
static float rest_of(const float *features)
{
    float top = -INFINITY, total = 0.0f;
    float logits[QLR_CLASSES];
    for (uint32_t k = 0; k < QLR_CLASSES; k++) {
        logits[k] = 0.0f;
        for (uint32_t c = 0; c < QLR_FEATURES; c++)
            logits[k] += features[c] * qlr_state.head[c * QLR_CLASSES + k];
        if (qlr_state.past[k] > 0.0f && logits[k] > top)
            top = logits[k];
    }
    for (uint32_t k = 0; k < QLR_CLASSES; k++)
        if (qlr_state.past[k] > 0.0f)
            total += expf(logits[k] - top);
    return total > 0.0f ? top + logf(total) : -INFINITY;
}

/* One step of gradient descent on all items; returns the mean loss. */
static float fit(uint32_t items)
{
    float *column = qlr_arena.late.column, *gradient = qlr_arena.late.gradient;
    float *momentum = qlr_arena.late.momentum, loss = 0.0f;
    memset(gradient, 0, sizeof qlr_arena.late.gradient);
    for (uint32_t item = 0; item < items; item++) {
        const float *features = kept_features(item);
        const float rest = qlr_arena.late.rest[item];
        const float wanted = item < qlr_event.count ? 1.0f : 0.0f;
        float logit = 0.0f;
        for (uint32_t c = 0; c < QLR_FEATURES; c++)
            logit += features[c] * column[c];
        const float all = rest == -INFINITY ? logit : log_add(logit, rest);
        const float error = (expf(logit - all) - wanted) / (float)items;
        loss += all - (wanted > 0.0f ? logit : rest);
        for (uint32_t c = 0; c < QLR_FEATURES; c++)
            gradient[c] += features[c] * error;
    }
    for (uint32_t c = 0; c < QLR_FEATURES; c++) {
        momentum[c] = MOMENTUM * momentum[c] + gradient[c] + QLR_WEIGHT_DECAY * column[c];
        column[c] -= RATE * momentum[c];
    }
    return loss / (float)items;
}

static void finish(uint32_t label)
{
    for (uint32_t c = 0; c < QLR_FEATURES; c++)
        qlr_state.head[c * QLR_CLASSES + label] = qlr_arena.late.column[c];
    qlr_state.past[label] += (float)qlr_event.count;
    memset(qlr_arena.late.learned, 1, sizeof qlr_arena.late.learned);
    const qlr_lottery lottery = {qlr_late_key(qlr_state.event, 0),
                                 qlr_late_key(qlr_state.event, 1), qlr_arena.late.learned,
                                 qlr_arena.late.order, qlr_arena.late.slots};
    qlr_admit(&lottery);
    qlr_state.event++;
    qlr_event.count = 0;
}

int qlr_learn_class(qlr_report *report)
{
    const uint32_t fresh = qlr_event.count, items = fresh + qlr_state.filled;
    if (fresh == 0)
        return QLR_EMPTY;
    const uint32_t label = (uint32_t)qlr_event.labels[0];
    for (uint32_t i = 1; i < fresh; i++)
        if (qlr_event.labels[i] != qlr_event.labels[0])
            return QLR_NOT_NEW;
    if (qlr_state.past[label] > 0.0f)
        return QLR_NOT_NEW;
    qlr_take_running();
    for (uint32_t item = 0; item < items; item++) {
        const float *features = features_of(item);
        qlr_arena.late.rest[item] = rest_of(features);
        if (QLR_KEEPS_FEATURES)
            memcpy(qlr_arena.late.features + item * QLR_FEATURES, features,
                   sizeof(float) * QLR_FEATURES);
    }
    memset(qlr_arena.late.column, 0, sizeof qlr_arena.late.column);
    memset(qlr_arena.late.momentum, 0, sizeof qlr_arena.late.momentum);
    for (report->steps = 0; report->steps < STEPS; report->steps++) {
        report->last_loss = fit(items);
        if (report->steps == 0)
            report->first_loss = report->last_loss;
    }
    if (!isfinite(report->last_loss))
        return QLR_DIVERGED;
    finish(label);
    return QLR_OK;
}
