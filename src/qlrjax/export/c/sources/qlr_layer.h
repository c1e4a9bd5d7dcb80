/* What one layer looks like, shared by the integer and the FP32 stage.
 *
 * Activations are [height][width][channels]. Weights are [out_c][kernel_h][kernel_w][in_c], and
 * [channels][kernel_h][kernel_w] for depthwise layers: the order PULP-NN reads them in.
 */
#ifndef QLR_LAYER_H
#define QLR_LAYER_H

typedef enum { QLR_CONV, QLR_DEPTHWISE, QLR_POINTWISE, QLR_POOL } qlr_kind;

typedef struct {
    qlr_kind kind;
    int in_h, in_w, in_c;
    int out_h, out_w, out_c;
    int kernel_h, kernel_w, stride;
    int pad_top, pad_left; /* bottom and right follow from the sizes */
} qlr_shape;

#endif
