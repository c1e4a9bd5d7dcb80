/* The linear classifier: logits, cross-entropy, and CWR*'s two sets of weights. */
#ifndef QLR_HEAD_H
#define QLR_HEAD_H

#include <stdint.h>

#include "qlr_layers.h"

/* Logits of the slice's pooled features, into qlr_walk.logits. */
void qlr_classify(const qlr_slice *slice, const float *head);

/* Turns logits into their error (softmax - one-hot) / all; returns the summed cross-entropy. */
float qlr_cross_entropy(const qlr_slice *slice, uint32_t all);

/* The label of a row of a mini-batch. */
uint32_t qlr_label(uint16_t row);

/* Weights to train from: the consolidated ones of classes with a count, 0 elsewhere (CWR*). */
void qlr_load_head(const int32_t *counts, float *head);

/* Averages the trained weights of classes with a count into the consolidated ones:
 *
 *     w'_j = w_j - mean(w of all of them),  saved_j = (saved_j * p + w'_j) / (p + 1),
 *     p = sqrt(past_j / count_j)
 */
void qlr_consolidate(const int32_t *counts, const float *trained);

#endif
