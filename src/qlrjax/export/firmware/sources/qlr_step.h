/* One mini-batch: forward, gradients, SGD. */
#ifndef QLR_STEP_H
#define QLR_STEP_H

#include <stdint.h>

#include "qlr_norm.h"

/* What an event's mini-batches share. */
typedef struct {
    float *head;                        /* the weights being trained */
    float learning_rate, renorm_momentum;
    float r_start, d_start;             /* batch renorm's limits at the first mini-batch */
} qlr_rates;

/* Learns the rows in qlr_shared.learn.batch; returns the mean cross-entropy before the update. */
float qlr_step(const qlr_rates *rates, uint32_t samples, uint32_t index);

#endif
