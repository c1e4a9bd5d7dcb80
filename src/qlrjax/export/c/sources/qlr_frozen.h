/* The frozen stage: integers only, uint8 in and uint8 out. */
#ifndef QLR_FROZEN_H
#define QLR_FROZEN_H

#include <stdint.h>

/* Runs one image of IMAGE_H x IMAGE_W x IMAGE_C codes; writes LATENT_ELEMENTS 8-bit codes. */
void qlr_frozen_run(const uint8_t *image, uint8_t *latent);

#endif
