/* The adaptive stage's layers that are bound by memory, as calls of XLA's foreign function
 * interface: depthwise layers and batch renorm, forward and backward. See `call.py`.
 */
#include <stdint.h>
#include <stdlib.h>

#include "ffi.h"
#include "vectors.h"
#include "chain.h"

VERSIONS(depthwise_forward)
VERSIONS(depthwise_backward)
VERSIONS(chain_backward)
VERSIONS(moments)
VERSIONS(renorm_backward)

typedef const XLA_FFI_Buffer *operand;

static operand argument(const XLA_FFI_CallFrame *frame, int at) { return frame->args.args[at]; }
static operand result(const XLA_FFI_CallFrame *frame, int at) { return frame->rets.rets[at]; }

static int threads_of(const XLA_FFI_CallFrame *frame, int samples) {
  int threads = pool_threads(frame);
  return threads < samples ? threads : samples;
}

/* The work begins with its shares. */
static XLA_FFI_Error *share_out(XLA_FFI_CallFrame *frame, const void *work, int phases,
                                runner *run) {
  if (chunks_of(work, 0) < 1) return failure(frame->api, "a training step without latents");
  team *t = team_new(phases);
  if (!t) return failure(frame->api, "no memory to share out a training step");
  t->chunks = chunks_of;
  t->run = run;
  t->work = work;
  team_call(t, frame, threads_of(frame, chunks_of(work, 0)));
  return NULL;
}

static XLA_FFI_Error *no_room(XLA_FFI_CallFrame *frame) {
  return failure(frame->api, "no memory for the maps and sums of a training step");
}

static window window_of(operand words, operand x, operand y) {
  const int32_t *w = words->data;
  return (window){.samples = (int)x->dims[0], .h = (int)x->dims[1], .w = (int)x->dims[2],
                  .channels = (int)x->dims[3], .out_h = (int)y->dims[1], .out_w = (int)y->dims[2],
                  .kernel_h = w[0], .kernel_w = w[1], .stride = w[2], .top = w[3], .left = w[4]};
}

/* Operands from the first on: mean, gain, offset and top. */
static affine affine_of(const XLA_FFI_CallFrame *frame, int first) {
  return (affine){argument(frame, first)->data, argument(frame, first + 1)->data,
                  argument(frame, first + 2)->data, *(const int32_t *)argument(frame, first + 3)->data};
}

/* Shares a depthwise layer's work out, in memory of its own. */
static XLA_FFI_Error *share_out_layer(XLA_FFI_CallFrame *frame, depthwise *d, const void *work,
                                      int phases, runner *run) {
  int samples = d->at.samples;
  size_t rows = (size_t)taps_of(&d->at) + (d->before.gain ? 2 : 0);
  d->shares = (shares){samples, d->of_rows ? rows * (size_t)d->at.channels : 0};
  desks desks = {.floats = desk_floats(&d->at)};
  size_t threads = (size_t)threads_of(frame, samples);
  d->desks = &desks;
  desks.memory = calloc(threads * desks.floats + 1, sizeof(float));
  d->parts = malloc(((size_t)samples * d->shares.floats + 1) * sizeof(float));
  int ready = desks.memory && d->parts;
  XLA_FFI_Error *error = ready ? share_out(frame, work, phases, run) : no_room(frame);
  free(desks.memory);
  free(d->parts);
  return error;
}

EXPORT int qlrjax_instructions(void) { return best_instructions(); }

/* x, rows, words -> y; or x, rows, words, mean, gain, offset, top -> y, where x is a raw output */
EXPORT XLA_FFI_Error *qlrjax_depthwise_forward(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  operand x = argument(frame, 0), y = result(frame, 0);
  depthwise d = {.at = window_of(argument(frame, 2), x, y), .x = x->data,
                 .rows = argument(frame, 1)->data, .y = y->data};
  if (frame->args.size > 3) d.before = affine_of(frame, 3);
  return share_out_layer(frame, &d, &d, 1, depthwise_forward_best());
}

/* rows, gradient, words -> gradient of x */
EXPORT XLA_FFI_Error *qlrjax_depthwise_of_input(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  operand of_x = result(frame, 0), gradient = argument(frame, 1);
  depthwise d = {.at = window_of(argument(frame, 2), of_x, gradient),
                 .rows = argument(frame, 0)->data, .gradient = gradient->data,
                 .of_x = of_x->data};
  return share_out_layer(frame, &d, &d, 1, depthwise_backward_best());
}

/* x, gradient, words -> gradient of rows */
EXPORT XLA_FFI_Error *qlrjax_depthwise_of_rows(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  operand x = argument(frame, 0), gradient = argument(frame, 1);
  depthwise d = {.at = window_of(argument(frame, 2), x, gradient), .x = x->data,
                 .gradient = gradient->data, .of_rows = result(frame, 0)->data};
  return share_out_layer(frame, &d, &d, 2, depthwise_backward_best());
}

static renorm renorm_of(operand y, operand there) {
  return (renorm){.shares = {(int)y->dims[0], 2 * (size_t)y->dims[3]},
                  .pixels = (int)(y->dims[1] * y->dims[2]), .channels = (int)y->dims[3],
                  .y = y->data, .there = there->data};
}

/* x, rows, words, mean, gain, offset, top, there, gradient, steepness
 * -> gradient of x; gradient of rows, and two rows of sums */
EXPORT XLA_FFI_Error *qlrjax_chain_backward(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  operand x = argument(frame, 0), gradient = argument(frame, 8), of_x = result(frame, 0);
  chain c = {.layer = {.at = window_of(argument(frame, 2), x, gradient), .x = x->data,
                       .rows = argument(frame, 1)->data, .before = affine_of(frame, 3),
                       .gradient = gradient->data, .of_x = of_x->data,
                       .of_rows = result(frame, 1)->data},
             .below = renorm_of(x, argument(frame, 7))};
  c.below.after = c.layer.before;
  c.below.after.top = -1; /* the layer leaves what the activation lets through */
  c.below.gradient = c.below.of_y = of_x->data;
  c.below.steepness = argument(frame, 9)->data;
  c.below.joined = c.layer.of_rows + (size_t)taps_of(&c.layer.at) * (size_t)c.layer.at.channels;
  return share_out_layer(frame, &c.layer, &c, 3, chain_backward_best());
}

static XLA_FFI_Error *share_out_sums(XLA_FFI_CallFrame *frame, renorm *r, int phases, runner *run) {
  r->parts = malloc((size_t)r->shares.samples * 2 * (size_t)r->channels * sizeof(float));
  if (!r->parts) return no_room(frame);
  XLA_FFI_Error *error = share_out(frame, r, phases, run);
  free(r->parts);
  return error;
}

/* y, there -> mean and variance [2, c] */
EXPORT XLA_FFI_Error *qlrjax_moments(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  renorm r = renorm_of(argument(frame, 0), argument(frame, 1));
  r.shares.floats = (size_t)r.channels; /* a chunk makes both of its channels */
  r.joined = result(frame, 0)->data;
  return share_out_sums(frame, &r, 2, moments_best());
}

/* y, there, gradient, mean, gain, offset, top, steepness -> gradient of y; two rows of sums */
EXPORT XLA_FFI_Error *qlrjax_renorm_backward(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  renorm r = renorm_of(argument(frame, 0), argument(frame, 1));
  r.gradient = argument(frame, 2)->data;
  r.after = affine_of(frame, 3);
  r.steepness = argument(frame, 7)->data;
  r.of_y = result(frame, 0)->data;
  r.joined = result(frame, 1)->data;
  return share_out_sums(frame, &r, 3, renorm_backward_best());
}
