/* Poolings of windows in FP32, one sample; a maximum ignores the padding, a mean counts its zeros.
 * `back` adds to dx. */
#ifndef QLR_WINDOWS_H
#define QLR_WINDOWS_H

#include "qlr_state.h"

void qlr_pool_windows(const qlr_shape *s, const float *x, float *y);

/* Where a window holds its maximum several times, the first one takes the gradient; x is not read
 * for means. */
void qlr_pool_windows_back(const qlr_shape *s, const float *x, const float *g, float *dx);

#endif
