/* The replay memory: latents of LATENT_BITS bits a code, packed without gaps. */
#ifndef QLR_REPLAY_H
#define QLR_REPLAY_H

#include <stdint.h>

/* The LATENT_ELEMENTS codes of a slot, each below 2**LATENT_BITS. */
void qlr_replay_codes(int slot, uint8_t *codes);

/* The real values of a slot, as the FP32 stage takes them; returns the label. */
int32_t qlr_replay_read(int slot, float *latent);

/* Stores the 8-bit codes of a latent, narrowed and packed, with its label. */
void qlr_replay_write(int slot, const uint8_t *codes, int32_t label);

/* Where the packed slots begin: REPLAY_SLOTS * LATENT_BYTES bytes. */
uint8_t *qlr_replay_bytes(void);

#endif
