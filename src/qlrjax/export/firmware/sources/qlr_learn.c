/* One event, as vlomonaco/ar1-pytorch learns it: mini-batches of new and replayed latents. */
#include <math.h>
#include <string.h>

#include "qlr_admit.h"
#include "qlr_draws.h"
#include "qlr_head.h"
#include "qlr_state.h"
#include "qlr_step.h"

/* Sizes of an event's mini-batches. */
typedef struct {
    uint32_t size, fresh, count; /* latents, new ones among them, mini-batches an epoch */
} composition;

static composition compose(uint32_t fresh, uint32_t replays)
{
    const uint32_t size = QLR_MINIBATCH;
    composition c;
    if (replays == 0) {
        c.size = size < fresh ? size : fresh;
        c.fresh = c.size;
        c.count = (fresh + c.size - 1) / c.size;
        return c;
    }
    const uint32_t whole = (fresh + replays) / size;
    c.size = size;
    c.fresh = fresh / (whole ? whole : 1);
    c.fresh = c.fresh == 0 ? 1 : c.fresh < size ? c.fresh : size;
    c.count = QLR_DROP_REMAINDER ? fresh / c.fresh : (fresh + c.fresh - 1) / c.fresh;
    c.count = c.count ? c.count : 1;
    return c;
}

/* Fills qlr_shared.learn.batch: new latents in the drawn order, then replays as they are stored,
 * from `cursor` on; without replays the event's first latents again. */
static uint32_t fill(const composition *c, uint32_t index, uint32_t cursor)
{
    uint16_t *row = qlr_arena.learn.batch;
    const uint16_t *order = qlr_arena.learn.order;
    const uint32_t first = index * c->fresh, fresh = qlr_event.count;
    const uint32_t end = first + c->fresh < fresh ? first + c->fresh : fresh;
    const uint32_t others = c->size - (end - first);
    for (uint32_t i = first; i < end; i++)
        *row++ = order[i];
    for (uint32_t i = 0; i < others; i++) {
        if (qlr_state.filled)
            *row++ = (uint16_t)(QLR_EVENT_MAX + (cursor + i) % qlr_state.filled);
        else
            *row++ = order[i % fresh];
    }
    for (uint32_t i = 0; i < c->size; i++)
        if (qlr_arena.learn.batch[i] < QLR_EVENT_MAX)
            qlr_arena.learn.learned[qlr_arena.learn.batch[i]] = 1;
    return cursor + others;
}

/* An event starts from the consolidated head of the classes at hand, and ar1-pytorch makes a new
 * optimizer after the first one. */
static float *start(void)
{
    qlr_count_classes(qlr_arena.learn.counts);
    memset(qlr_arena.learn.learned, 0, sizeof qlr_arena.learn.learned);
    if (qlr_state.event == 1) {
        memset(qlr_state.momentum, 0, sizeof qlr_state.momentum);
        memset(qlr_state.head_momentum, 0, sizeof qlr_state.head_momentum);
    }
#if QLR_CONSOLIDATES
    qlr_load_head(qlr_arena.learn.counts, qlr_arena.learn.head);
    return qlr_arena.learn.head;
#else
    return qlr_state.head;
#endif
}

static void finish(const float *head)
{
    const int32_t *counts = qlr_arena.learn.counts;
    const uint32_t event = qlr_state.event;
    if (QLR_CONSOLIDATES)
        qlr_consolidate(counts, head);
    for (uint32_t k = 0; k < QLR_CLASSES; k++)
        qlr_state.past[k] += (float)counts[k];
    const qlr_lottery lottery = {qlr_admit_key(event, 0), qlr_admit_key(event, 1),
                                 qlr_arena.learn.learned, qlr_arena.learn.order,
                                 qlr_arena.learn.slots};
    qlr_admit(&lottery);
    qlr_state.event++;
    qlr_event.count = 0;
}

int qlr_learn_event(qlr_report *report)
{
    const uint32_t event = qlr_state.event, fresh = qlr_event.count;
    const uint32_t epochs = event ? QLR_EPOCHS : QLR_FIRST_EPOCHS;
    if (fresh == 0)
        return QLR_EMPTY;
    const composition c = compose(fresh, qlr_state.filled ? QLR_REPLAY_SLOTS : 0);
    const qlr_rates rates = {
        start(),
        event ? QLR_LEARNING_RATE : QLR_FIRST_LEARNING_RATE,
        event ? QLR_RENORM_MOMENTUM : QLR_FIRST_RENORM_MOMENTUM,
        event ? QLR_R_MAX : 1.0f,
        event ? QLR_D_MAX : 0.0f,
    };
    report->steps = 0;
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        uint32_t cursor = 0;
        for (uint32_t i = 0; i < fresh; i++)
            qlr_arena.learn.order[i] = (uint16_t)i;
        qlr_draw(qlr_order_key(event, epoch), qlr_arena.learn.order, fresh);
        for (uint32_t index = 0; index < c.count; index++) {
            cursor = fill(&c, index, cursor);
            report->last_loss = qlr_step(&rates, c.size, report->steps);
            if (report->steps++ == 0)
                report->first_loss = report->last_loss;
            if (!isfinite(report->last_loss))
                return QLR_DIVERGED;
        }
    }
    finish(rates.head);
    return QLR_OK;
}
