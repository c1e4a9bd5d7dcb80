/* FP32 products of rows: x[rows][inputs], y and g [rows][outputs], weight [inputs][outputs]. */
#ifndef QLR_PRODUCTS_H
#define QLR_PRODUCTS_H

#include <stdint.h>

#include "qlr_state.h"

/* y = x * weight */
void qlr_multiply(const float *x, const float *weight, float *y, uint32_t rows, uint32_t inputs,
                  uint32_t outputs);

/* dx = g * transposed(weight) */
void qlr_multiply_back(const float *g, const float *weight, float *dx, uint32_t rows,
                       uint32_t inputs, uint32_t outputs);

/* dweight += transposed(x) * g */
void qlr_multiply_outer(const float *x, const float *g, float *dweight, uint32_t rows,
                        uint32_t inputs, uint32_t outputs);

/* Depthwise layers, one sample; weight is [kernel position][channel]. `back` overwrites dx, `outer`
 * adds to dweight. */
void qlr_depthwise(const qlr_shape *s, const float *x, const float *weight, float *y);
void qlr_depthwise_back(const qlr_shape *s, const float *g, const float *weight, float *dx);
void qlr_depthwise_outer(const qlr_shape *s, const float *x, const float *g, float *dweight);

#endif
