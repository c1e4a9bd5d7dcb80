#include "qlr_head.h"

#include <math.h>

#include "qlr_products.h"

static qlr_walk *const walk = &qlr_arena.learn.walk;

void qlr_classify(const qlr_slice *slice, const float *head)
{
    qlr_multiply(walk->features, head, walk->logits, slice->count, QLR_FEATURES, QLR_CLASSES);
}

uint32_t qlr_label(uint16_t row)
{
    const int16_t label =
        row < QLR_EVENT_MAX ? qlr_event.labels[row] : qlr_state.labels[row - QLR_EVENT_MAX];
    return (uint32_t)label;
}

float qlr_cross_entropy(const qlr_slice *slice, uint32_t all)
{
    float loss = 0.0f, *logits = walk->logits;
    for (uint32_t i = 0; i < slice->count; i++, logits += QLR_CLASSES) {
        const uint32_t label = qlr_label(slice->batch->rows[slice->first + i]);
        float top = logits[0], total = 0.0f;
        for (uint32_t k = 1; k < QLR_CLASSES; k++)
            top = logits[k] > top ? logits[k] : top;
        const float own = logits[label] - top;
        for (uint32_t k = 0; k < QLR_CLASSES; k++) {
            logits[k] = expf(logits[k] - top);
            total += logits[k];
        }
        for (uint32_t k = 0; k < QLR_CLASSES; k++)
            logits[k] = (logits[k] / total - (k == label ? 1.0f : 0.0f)) / (float)all;
        loss += logf(total) - own;
    }
    return loss;
}

void qlr_load_head(const int32_t *counts, float *head)
{
    for (uint32_t i = 0; i < QLR_HEAD; i++)
        head[i] = counts[i % QLR_CLASSES] > 0 ? qlr_state.head[i] : 0.0f;
}

void qlr_consolidate(const int32_t *counts, const float *trained)
{
    float total = 0.0f;
    uint32_t present = 0;
    for (uint32_t k = 0; k < QLR_CLASSES; k++) {
        float sum = 0.0f;
        if (counts[k] == 0)
            continue;
        present++;
        for (uint32_t i = k; i < QLR_HEAD; i += QLR_CLASSES)
            sum += trained[i];
        total += sum;
    }
    const float mean = total / (float)(present * QLR_FEATURES);
    for (uint32_t k = 0; k < QLR_CLASSES; k++) {
        if (counts[k] == 0)
            continue;
        const float p = sqrtf(qlr_state.past[k] / (float)counts[k]);
        for (uint32_t i = k; i < QLR_HEAD; i += QLR_CLASSES)
            qlr_state.head[i] = (qlr_state.head[i] * p + (trained[i] - mean)) / (p + 1.0f);
    }
}
