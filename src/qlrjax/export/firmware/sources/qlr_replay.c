/* Code i takes bits i * QLR_REPLAY_BITS and up of the slot, least significant bit first. */
#include "qlr_replay.h"

#include "qlr_state.h"

enum { CODE_MAX = (1 << QLR_REPLAY_BITS) - 1 };

/* At layer 0 latents are pixels, which the network wants normalised. */
static inline float value_of(float code, uint32_t i)
{
#ifdef QLR_PIXEL_MEAN
    static const float mean[] = QLR_PIXEL_MEAN, deviation[] = QLR_PIXEL_STD;
    return (code - mean[i % QLR_LATENT_CHANNELS]) / deviation[i % QLR_LATENT_CHANNELS];
#else
    (void)i;
    return code;
#endif
}

void qlr_dequantize(const uint8_t *codes, float *values)
{
    for (uint32_t i = 0; i < QLR_LATENT_ELEMENTS; i++)
        values[i] = value_of((float)codes[i] * QLR_LATENT_STEP + QLR_LATENT_MIN, i);
}

void qlr_replay_read(uint32_t slot, float *values)
{
    const uint8_t *bytes = qlr_replays + (uint32_t)QLR_REPLAY_BYTES * slot;
    uint32_t window = 0, bits = 0;
    for (uint32_t i = 0; i < QLR_LATENT_ELEMENTS; i++) {
        if (bits < QLR_REPLAY_BITS) {
            window |= (uint32_t)*bytes++ << bits;
            bits += 8;
        }
        values[i] = value_of((float)(window & CODE_MAX) * QLR_REPLAY_STEP + QLR_LATENT_MIN, i);
        window >>= QLR_REPLAY_BITS;
        bits -= QLR_REPLAY_BITS;
    }
}

void qlr_replay_write(uint32_t slot, const uint8_t *codes)
{
    uint8_t *bytes = qlr_replays + (uint32_t)QLR_REPLAY_BYTES * slot;
    uint32_t window = 0, bits = 0;
    for (uint32_t i = 0; i < QLR_LATENT_ELEMENTS; i++) {
        /* round(code * CODE_MAX / 255); there are no ties because 255 is odd. */
        window |= (2u * CODE_MAX * codes[i] + 255u) / 510u << bits;
        for (bits += QLR_REPLAY_BITS; bits >= 8; bits -= 8, window >>= 8)
            *bytes++ = (uint8_t)(window & 255u);
    }
    if (bits)
        *bytes = (uint8_t)(window & 255u);
}
