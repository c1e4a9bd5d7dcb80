/* Packing: code i takes bits i * LATENT_BITS and up of the slot, least significant bit first. */
#include "qlr_replay.h"

#include <stddef.h>
#include <string.h>

#include "net.h"
#include "replay_data.h"

enum { CODE_MAX = (1 << LATENT_BITS) - 1 };

static uint8_t *slot_at(int slot)
{
    return replay_memory + (size_t)slot * LATENT_BYTES;
}

/* round(code * CODE_MAX / 255); there are no ties because 255 is odd. */
static uint8_t narrowed(uint8_t code)
{
    return (uint8_t)((2u * CODE_MAX * code + 255u) / 510u);
}

void qlr_replay_codes(int slot, uint8_t *codes)
{
    const uint8_t *bytes = slot_at(slot);
    for (uint32_t i = 0; i < LATENT_ELEMENTS; i++) {
        const uint32_t bit = i * LATENT_BITS, byte = bit / 8, offset = bit % 8;
        uint32_t window = bytes[byte];
        if (offset + LATENT_BITS > 8)
            window |= (uint32_t)bytes[byte + 1] << 8;
        codes[i] = (uint8_t)((window >> offset) & CODE_MAX);
    }
}

int32_t qlr_replay_read(int slot, float *latent)
{
    static uint8_t codes[LATENT_ELEMENTS];
    qlr_replay_codes(slot, codes);
    for (int i = 0; i < LATENT_ELEMENTS; i++)
        latent[i] = (float)codes[i] * REPLAY_STEP;
    return replay_labels[slot];
}

void qlr_replay_write(int slot, const uint8_t *codes, int32_t label)
{
    uint8_t *bytes = slot_at(slot);
    memset(bytes, 0, LATENT_BYTES);
    for (uint32_t i = 0; i < LATENT_ELEMENTS; i++) {
        const uint32_t bit = i * LATENT_BITS, byte = bit / 8, offset = bit % 8;
        const uint32_t window = (uint32_t)narrowed(codes[i]) << offset;
        bytes[byte] |= (uint8_t)(window & 255u);
        if (offset + LATENT_BITS > 8)
            bytes[byte + 1] |= (uint8_t)(window >> 8);
    }
    replay_labels[slot] = label;
}

uint8_t *qlr_replay_bytes(void) { return replay_memory; }
