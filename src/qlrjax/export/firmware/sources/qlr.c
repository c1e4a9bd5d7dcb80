#include "qlr.h"

#include <string.h>

#include "qlr_frozen.h"
#include "qlr_head.h"
#include "qlr_norm.h"
#include "qlr_state.h"

QLR_IN_STATE qlr_learner qlr_state;
QLR_IN_REPLAYS uint8_t qlr_replays[QLR_REPLAY_SLOTS * QLR_REPLAY_BYTES + 1];
QLR_IN_EVENT qlr_event_buffer qlr_event;
QLR_IN_ARENA qlr_shared qlr_arena;

static QLR_IN_LATENT uint8_t qlr_latent[QLR_LATENT_ELEMENTS];

void qlr_init(void)
{
    memset(&qlr_state, 0, sizeof qlr_state);
    memset(qlr_state.labels, 255, sizeof qlr_state.labels);
    qlr_event.count = 0;
    qlr_state.event = QLR_FIRST_EVENT;
    qlr_state.filled = QLR_FIRST_FILLED;
    memcpy(qlr_state.layers, qlr_first_layers, sizeof(float) * QLR_PARAMS);
    memcpy(qlr_state.mean, qlr_first_statistics, sizeof(float) * QLR_CHANNELS);
    memcpy(qlr_state.deviation, qlr_first_statistics + QLR_CHANNELS, sizeof(float) * QLR_CHANNELS);
    memcpy(qlr_replays, qlr_first_replays, (uint32_t)QLR_FIRST_FILLED * QLR_REPLAY_BYTES);
    memcpy(qlr_state.labels, qlr_first_labels, sizeof(int16_t) * QLR_FIRST_FILLED);
#if QLR_FIRST_HEAD
    memcpy(qlr_state.head, qlr_first_head, sizeof qlr_state.head);
    memcpy(qlr_state.past, qlr_first_past, sizeof qlr_state.past);
    memcpy(qlr_state.center, qlr_first_center, sizeof(float) * QLR_CENTERS);
#endif
#if QLR_FIRST_MOMENTUM
    memcpy(qlr_state.momentum, qlr_first_momentum, sizeof(float) * QLR_PARAMS);
    memcpy(qlr_state.head_momentum, qlr_first_head_momentum, sizeof qlr_state.head_momentum);
#endif
}

uint8_t *qlr_image(void) { return qlr_arena.frozen.cells; }

int qlr_observe(const uint8_t *image, uint32_t label)
{
    if (qlr_event.count == QLR_EVENT_MAX)
        return QLR_FULL;
    if (label >= QLR_CLASSES)
        return QLR_LABEL;
    qlr_frozen_run(image, qlr_event.latents + qlr_event.count * QLR_LATENT_ELEMENTS);
    qlr_event.labels[qlr_event.count++] = (int16_t)label;
    return QLR_OK;
}

uint32_t qlr_waiting(void) { return qlr_event.count; }

const uint8_t *qlr_latents(void) { return qlr_event.latents; }

void qlr_logits(const uint8_t *image, float *logits)
{
    const qlr_batch batch = {NULL, qlr_latent, 1};
    const qlr_slice slice = {&batch, 0, 1};
    qlr_frozen_run(image, qlr_latent);
    qlr_take_running();
    qlr_forward(&slice, NULL);
    qlr_pool(&slice);
    qlr_classify(&slice, qlr_state.head);
    memcpy(logits, qlr_arena.learn.walk.logits, sizeof(float) * QLR_CLASSES);
}

uint32_t qlr_likeliest(const float *logits)
{
    uint32_t best = QLR_CLASSES;
    for (uint32_t k = 0; k < QLR_CLASSES; k++)
        if (qlr_state.past[k] > 0.0f && (best == QLR_CLASSES || logits[k] > logits[best]))
            best = k;
    return best == QLR_CLASSES ? 0 : best;
}

uint32_t qlr_predict(const uint8_t *image)
{
    float logits[QLR_CLASSES];
    qlr_logits(image, logits);
    return qlr_likeliest(logits);
}
