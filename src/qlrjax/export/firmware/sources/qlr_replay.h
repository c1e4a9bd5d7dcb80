/* The replay memory: latents of QLR_REPLAY_BITS bits a code, packed without gaps. */
#ifndef QLR_REPLAY_H
#define QLR_REPLAY_H

#include <stdint.h>

/* The real values of a slot, as the FP32 layers take them. */
void qlr_replay_read(uint32_t slot, float *values);

/* Stores the 8-bit codes of a latent, narrowed and packed. */
void qlr_replay_write(uint32_t slot, const uint8_t *codes);

/* The real values of 8-bit codes. */
void qlr_dequantize(const uint8_t *codes, float *values);

#endif
