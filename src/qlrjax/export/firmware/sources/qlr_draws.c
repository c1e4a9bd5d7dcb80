#include "qlr_draws.h"

#include "qlr_config.h"

static uint32_t mix(uint32_t x)
{
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

uint32_t qlr_fold(uint32_t key, uint32_t word)
{
    return mix(key ^ mix(word + 0x9e3779b9u));
}

static uint32_t event_key(uint32_t event)
{
    return qlr_fold(qlr_fold(0, QLR_SEED), event);
}

uint32_t qlr_order_key(uint32_t event, uint32_t epoch)
{
    return qlr_fold(qlr_fold(event_key(event), 0), QLR_RESHUFFLE ? epoch : 0);
}

uint32_t qlr_admit_key(uint32_t event, int of_slots)
{
    return qlr_fold(qlr_fold(event_key(event), 1), of_slots ? 1 : 0);
}

uint32_t qlr_late_key(uint32_t event, int of_slots)
{
    return qlr_fold(event_key(event), of_slots ? 1 : 0);
}

/* Sinks the item at `root` into a heap with the largest ticket on top. */
static void sink(uint32_t key, uint16_t *items, uint32_t root, uint32_t count)
{
    const uint16_t item = items[root];
    const uint32_t ticket = qlr_fold(key, item);
    for (uint32_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        uint32_t larger = qlr_fold(key, items[child]);
        if (child + 1 < count) {
            const uint32_t right = qlr_fold(key, items[child + 1]);
            if (right > larger) {
                larger = right;
                child++;
            }
        }
        if (larger <= ticket)
            break;
        items[root] = items[child];
        root = child;
    }
    items[root] = item;
}

void qlr_draw(uint32_t key, uint16_t *items, uint32_t count)
{
    for (uint32_t root = count / 2; root-- > 0;)
        sink(key, items, root, count);
    for (uint32_t last = count; last-- > 1;) {
        const uint16_t top = items[0];
        items[0] = items[last];
        items[last] = top;
        sink(key, items, 0, last);
    }
}
