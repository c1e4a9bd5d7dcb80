#include "qlr_admit.h"

#include <string.h>

#include "qlr_draws.h"
#include "qlr_replay.h"
#include "qlr_state.h"

void qlr_admit(const qlr_lottery *lottery)
{
    const uint32_t slots = QLR_REPLAY_SLOTS, used = qlr_state.filled;
    uint32_t candidates = 0, quota = slots / (qlr_state.event + 1);
    for (uint32_t i = 0; i < qlr_event.count; i++)
        if (lottery->learned[i])
            lottery->order[candidates++] = (uint16_t)i;
    for (uint32_t slot = 0; slot < used; slot++)
        lottery->slots[slot] = (uint16_t)slot;
    qlr_draw(lottery->latent_key, lottery->order, candidates);
    qlr_draw(lottery->slot_key, lottery->slots, used);
    quota = quota < candidates ? quota : candidates;
    for (uint32_t i = 0; i < quota; i++) {
        const uint32_t item = lottery->order[i];
        const uint32_t slot = used + i < slots ? used + i : lottery->slots[used + i - slots];
        qlr_replay_write(slot, qlr_event.latents + item * QLR_LATENT_ELEMENTS);
        qlr_state.labels[slot] = qlr_event.labels[item];
    }
    qlr_state.filled = used + quota < slots ? used + quota : slots;
}

void qlr_count_classes(int32_t *counts)
{
    memset(counts, 0, sizeof(int32_t) * QLR_CLASSES);
    for (uint32_t i = 0; i < qlr_event.count; i++)
        counts[qlr_event.labels[i]]++;
    for (uint32_t slot = 0; slot < qlr_state.filled; slot++)
        counts[qlr_state.labels[slot]]++;
}
