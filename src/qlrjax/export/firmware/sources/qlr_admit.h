/* Which new latents enter the replay memory, and where. */
#ifndef QLR_ADMIT_H
#define QLR_ADMIT_H

#include <stdint.h>

/* Keys and room for drawing; `learned` marks the latents that may enter. */
typedef struct {
    uint32_t latent_key, slot_key;
    const uint8_t *learned;
    uint16_t *order, *slots;
} qlr_lottery;

/* Admits min(slots / (event + 1), learned) random latents, into free slots first and then over
 * random used ones. No latent is taken twice and no slot is written twice. */
void qlr_admit(const qlr_lottery *lottery);

/* Latents of each class among those that wait and the whole replay memory. */
void qlr_count_classes(int32_t *counts);

#endif
