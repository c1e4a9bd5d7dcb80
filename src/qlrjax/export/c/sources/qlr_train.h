/* The adaptive stage: one FP32 training step of the layers above the cut. */
#ifndef QLR_TRAIN_H
#define QLR_TRAIN_H

#include <stdint.h>

/* Forward, backward and SGD on n <= MINIBATCH latents of LATENT_ELEMENTS values each and their
 * classes. Returns the mean cross-entropy before the update. */
float qlr_train_step(const float *latents, const int32_t *labels, int n);

/* The class with the largest logit for one latent, by the running statistics. */
int qlr_predict(const float *latent);

/* ADAPTIVE_PARAMS values: weight, gamma and beta layer by layer, then the head [class][feature]. */
const float *qlr_params(void);

/* ADAPTIVE_CHANNELS running means, then as many standard deviations, layer by layer. */
const float *qlr_means(void);
const float *qlr_deviations(void);

#endif
