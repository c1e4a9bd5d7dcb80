/* What every kernel needs of XLA's foreign function interface: errors, threads, the handshake. */
#ifndef QLRJAX_FFI_H
#define QLRJAX_FFI_H

#include <stddef.h>

#include "team.h"
#include "xla/ffi/api/c_api.h"

#define EXPORT __attribute__((visibility("default")))

static XLA_FFI_Error *failure(const XLA_FFI_Api *api, const char *message) {
  XLA_FFI_Error_Create_Args args = {XLA_FFI_Error_Create_Args_STRUCT_SIZE, NULL, message,
                                    XLA_FFI_Error_Code_INVALID_ARGUMENT};
  return api->XLA_FFI_Error_Create(&args);
}

static int drop_error(const XLA_FFI_Api *api, XLA_FFI_Error *error) {
  if (!error) return 0;
  XLA_FFI_Error_Destroy_Args args = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, NULL, error};
  api->XLA_FFI_Error_Destroy(&args);
  return 1;
}

static int pool_threads(const XLA_FFI_CallFrame *frame) {
  int64_t threads = 1;
  XLA_FFI_ThreadPool_NumThreads_Args args = {XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, NULL,
                                             frame->ctx, &threads};
  if (drop_error(frame->api, frame->api->XLA_FFI_ThreadPool_NumThreads(&args)) || threads < 1)
    return 1;
  return threads > 64 ? 64 : (int)threads;
}

/* Does the work of a team with up to so many of the pool's threads, and ends it. */
static void team_call(team *t, const XLA_FFI_CallFrame *frame, int threads) {
  for (int i = 1; i < threads; i++) {
    XLA_FFI_ThreadPool_Schedule_Args args = {XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, NULL,
                                             frame->ctx, team_help, t};
    atomic_fetch_add(&t->references, 1);
    if (drop_error(frame->api, frame->api->XLA_FFI_ThreadPool_Schedule(&args))) {
      team_leave(t);
      break;
    }
  }
  team_work(t);
  team_close(t);
}

/* True where XLA asks for the version, or for another stage than the execution. */
static int is_handshake(XLA_FFI_CallFrame *frame) {
  XLA_FFI_Extension_Base *extension = frame->extension_start;
  if (extension && extension->type == XLA_FFI_Extension_Metadata) {
    XLA_FFI_Metadata *m = ((XLA_FFI_Metadata_Extension *)extension)->metadata;
    m->api_version.major_version = XLA_FFI_API_MAJOR;
    m->api_version.minor_version = XLA_FFI_API_MINOR;
    return 1;
  }
  return frame->stage != XLA_FFI_ExecutionStage_EXECUTE;
}

#endif
