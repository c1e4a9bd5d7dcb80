/* The adaptive stage's layers that are bound by memory, as calls of XLA's foreign function
 * interface: depthwise layers and batch renorm, forward and backward. See `call.py`.
 */
#include <stdint.h>
#include <stdlib.h>

#include "ffi.h"
#include "vectors.h"
#include "depthwise.h"
#include "renorm.h"

VERSIONS(depthwise_forward)
VERSIONS(gradient_of_input)
VERSIONS(gradient_of_rows)
VERSIONS(moments)
VERSIONS(renorm_backward)

typedef const XLA_FFI_Buffer *operand;

static operand argument(const XLA_FFI_CallFrame *frame, int at) { return frame->args.args[at]; }
static void *result(const XLA_FFI_CallFrame *frame, int at) {
  return ((operand)frame->rets.rets[at])->data;
}

/* A chunk a sample in even phases, one in odd ones; the work begins with the number of samples. */
static int chunks_of(const void *work, int phase) { return phase % 2 ? 1 : *(const int *)work; }

static XLA_FFI_Error *share_out(XLA_FFI_CallFrame *frame, const void *work, int phases,
                                runner *run) {
  team *t = team_new(phases);
  if (!t) return failure(frame->api, "no memory to share out a training step");
  t->chunks = chunks_of;
  t->run = run;
  t->work = work;
  int samples = chunks_of(work, 0), threads = pool_threads(frame);
  team_call(t, frame, threads < samples ? threads : samples);
  return NULL;
}

static XLA_FFI_Error *no_room(XLA_FFI_CallFrame *frame) {
  return failure(frame->api, "no memory for the sums of a training step");
}

static window window_of(const int32_t *words, const int64_t *in, const int64_t *out) {
  return (window){.samples = (int)in[0], .h = (int)in[1], .w = (int)in[2], .channels = (int)in[3],
                  .out_h = (int)out[1], .out_w = (int)out[2], .kernel_h = words[0],
                  .kernel_w = words[1], .stride = words[2], .top = words[3], .left = words[4]};
}

EXPORT int qlrjax_instructions(void) { return best_instructions(); }

/* x, rows, words -> y */
EXPORT XLA_FFI_Error *qlrjax_depthwise_forward(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  operand y = frame->rets.rets[0];
  depthwise d = {.at = window_of(argument(frame, 2)->data, argument(frame, 0)->dims, y->dims),
                 .x = argument(frame, 0)->data, .rows = argument(frame, 1)->data, .y = y->data};
  return share_out(frame, &d, 1, depthwise_forward_best());
}

/* rows, gradient, words -> gradient of x */
EXPORT XLA_FFI_Error *qlrjax_depthwise_of_input(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  operand of_x = frame->rets.rets[0], gradient = argument(frame, 1);
  depthwise d = {.at = window_of(argument(frame, 2)->data, of_x->dims, gradient->dims),
                 .rows = argument(frame, 0)->data, .gradient = gradient->data,
                 .of_x = of_x->data};
  return share_out(frame, &d, 1, gradient_of_input_best());
}

/* x, gradient, words -> gradient of rows */
EXPORT XLA_FFI_Error *qlrjax_depthwise_of_rows(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  operand x = argument(frame, 0), gradient = argument(frame, 1);
  depthwise d = {.at = window_of(argument(frame, 2)->data, x->dims, gradient->dims),
                 .x = x->data, .gradient = gradient->data, .of_rows = result(frame, 0)};
  size_t part = (size_t)d.at.kernel_h * (size_t)d.at.kernel_w * (size_t)d.at.channels;
  d.parts = malloc((size_t)d.at.samples * part * sizeof(float));
  if (!d.parts) return no_room(frame);
  XLA_FFI_Error *error = share_out(frame, &d, 2, gradient_of_rows_best());
  free(d.parts);
  return error;
}

static int sized(renorm *r, operand y, operand there) {
  r->samples = (int)y->dims[0];
  r->pixels = (int)(y->dims[1] * y->dims[2]);
  r->channels = (int)y->dims[3];
  r->y = y->data;
  r->there = there->data;
  r->parts = malloc((size_t)r->samples * 2 * (size_t)r->channels * sizeof(float));
  return r->parts != NULL;
}

/* y, there -> mean and variance */
EXPORT XLA_FFI_Error *qlrjax_moments(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  renorm r = {.first = result(frame, 0), .second = result(frame, 1)};
  if (!sized(&r, argument(frame, 0), argument(frame, 1))) return no_room(frame);
  XLA_FFI_Error *error = share_out(frame, &r, 2, moments_best());
  free(r.parts);
  return error;
}

/* y, there, gradient, mean, gain, offset, steepness, top -> gradient of y and two sums */
EXPORT XLA_FFI_Error *qlrjax_renorm_backward(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  renorm r = {.gradient = argument(frame, 2)->data, .mean = argument(frame, 3)->data,
              .gain = argument(frame, 4)->data, .offset = argument(frame, 5)->data,
              .steepness = argument(frame, 6)->data, .top = *(const int32_t *)argument(frame, 7)->data,
              .of_y = result(frame, 0), .first = result(frame, 1), .second = result(frame, 2)};
  if (!sized(&r, argument(frame, 0), argument(frame, 1))) return no_room(frame);
  XLA_FFI_Error *error = share_out(frame, &r, 3, renorm_backward_best());
  free(r.parts);
  return error;
}
