/* A normalised layer and the depthwise layer that reads it, backward: the gradient of the raw output
 * below both, in two passes over it. Forward is the depthwise layer alone, see depthwise.h.
 */
#ifndef QLRJAX_CHAIN_H
#define QLRJAX_CHAIN_H

#include "depthwise.h"
#include "renorm.h"

typedef struct {
  depthwise layer;
  renorm below; /* of the layer's input; its gradient is what the layer leaves */
} chain;

INLINE void chain_backward(const void *work, int phase, int chunk) {
  const chain *c = work;
  if (phase < 2)
    depthwise_backward(&c->layer, phase, chunk);
  else
    gradient_of_map(&c->below, chunk);
}

#endif
