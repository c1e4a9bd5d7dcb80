/* The frozen stage as one call of XLA's foreign function interface.
 *
 * Operands: uint8 images [n, h, w, c] and the constants that `pack.py` has laid out. Result: uint8
 * latents. Small batches are cut within layers; larger ones between images, each of which goes
 * through all layers before the next one, so that its maps stay in the cache.
 */
#include <pthread.h>

#include "ffi.h"
#include "layers.h"

typedef struct {
  const uint8_t *constants, *images;
  uint8_t *latents;
  const header *head;
  const layer *layers;
  int count, h, w, channels, threads, by_image;
  size_t map, patches; /* bytes of the largest map of a chunk, and of a convolution's patches */
  ptrdiff_t image_bytes, latent_bytes;
  uint8_t *shared; /* two maps, when threads work on the same image */
  int images_count;
} job;

/* Memory of this thread, kept from call to call and given back when the thread ends. */
typedef struct {
  size_t size;
  uint8_t bytes[];
} scratch;

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static void scratch_make(void) { pthread_key_create(&scratch_key, free); }

static uint8_t *scratch_of(size_t size) {
  pthread_once(&scratch_once, scratch_make);
  scratch *s = pthread_getspecific(scratch_key);
  if (!s || s->size < size) {
    free(s);
    s = calloc(1, sizeof(scratch) + size);
    if (s) s->size = size;
    pthread_setspecific(scratch_key, s);
  }
  return s ? s->bytes : NULL;
}

static size_t scratch_size(const job *j) { return 2 * j->map + j->patches; }

static int chunks_of(const void *work, int phase) {
  const job *j = work;
  if (j->by_image) return j->images_count;
  const layer *l = j->layers + phase;
  if (l->kind == POOL) return 1;
  return j->threads > 1 ? 2 * j->threads : 1;
}

static void run_part(const void *work, int phase, int chunk) {
  const job *j = work;
  uint8_t *own = scratch_of(scratch_size(j)), *maps = j->by_image ? own : j->shared;
  int first = j->by_image ? 0 : phase, last = j->by_image ? j->count : phase + 1;
  int images = j->by_image ? 1 : j->images_count, h = j->h, w = j->w;
  for (int index = 0; index < last; index++) {
    const layer *l = j->layers + index;
    task t = {j->constants, l, j->head->instructions, extent_of(l, images, h, w)};
    h = t.size.out_h;
    w = t.size.out_w;
    if (index < first) continue;
    const uint8_t *x = index ? maps + (size_t)((index + 1) % 2) * j->map : j->images;
    uint8_t *y = index + 1 < j->count ? maps + (size_t)(index % 2) * j->map : j->latents;
    if (j->by_image) {
      if (!index) x += chunk * j->image_bytes;
      if (index + 1 == j->count) y += chunk * j->latent_bytes;
      run_chunk(&t, x, y, 0, 1, own + 2 * j->map);
    } else {
      run_chunk(&t, x, y, chunk, chunks_of(j, phase), own + 2 * j->map);
    }
  }
}

/* Fills in the sizes; a sentence says what does not fit. */
static const char *plan(job *j, size_t constants, const int64_t *in, const int64_t *out) {
  if (constants < sizeof(header) || j->head->magic != MAGIC ||
      (size_t)j->head->bytes != constants || j->head->layers < 1)
    return "the constants of the frozen stage are not those of this version";
  if (j->head->instructions > best_instructions())
    return "the constants of the frozen stage were packed for another processor";
  j->count = j->head->layers;
  j->layers = (const layer *)(j->constants + 64);
  int h = j->h = (int)in[1], w = j->w = (int)in[2];
  j->channels = (int)in[3];
  j->images_count = (int)in[0];
  j->by_image = j->images_count >= 2 * j->threads || j->threads == 1;
  size_t images = j->by_image ? 1 : (size_t)j->images_count;
  if (j->layers[0].in_channels != j->channels) return "the images have other channels";
  for (int i = 0; i < j->count; i++) {
    const layer *l = j->layers + i;
    extent e = extent_of(l, 1, h, w);
    if (e.out_h < 1 || e.out_w < 1) return "the images are smaller than a kernel";
    h = e.out_h;
    w = e.out_w;
    size_t map = images * (size_t)h * (size_t)w * (size_t)l->out_channels + SLACK;
    if (i + 1 < j->count && map > j->map) j->map = map;
    size_t patches = l->kind == CONV ? (size_t)l->quads * 4 * PATCHES + SLACK : 0;
    if (patches > j->patches) j->patches = patches;
  }
  j->map = (j->map + 63) / 64 * 64;
  const layer *last = j->layers + j->count - 1;
  if (out[0] != in[0] || out[1] != h || out[2] != w || out[3] != last->out_channels)
    return "the latents have another shape than the stage gives";
  j->image_bytes = (ptrdiff_t)j->h * j->w * j->channels;
  j->latent_bytes = (ptrdiff_t)h * w * last->out_channels;
  return NULL;
}

/* The first layer may read a few bytes past the images: then they are copied. */
static uint8_t *with_slack(job *j) {
  const layer *l = j->layers;
  if (l->kind == CONV || (l->kind == POINTWISE && l->in_channels % 4 == 0)) return NULL;
  size_t bytes = (size_t)j->images_count * (size_t)j->image_bytes;
  uint8_t *copy = calloc(1, bytes + SLACK);
  if (copy) {
    memcpy(copy, j->images, bytes);
    j->images = copy;
  }
  return copy;
}

static const char *run(job *j, const XLA_FFI_CallFrame *frame) {
  j->shared = scratch_of(scratch_size(j));
  team *t = team_new(j->by_image ? 1 : j->count);
  if (!j->shared || !t) {
    if (t) team_leave(t);
    return "no memory for the maps of the frozen stage";
  }
  t->chunks = chunks_of;
  t->run = run_part;
  t->work = j;
  int most = chunks_of(j, 0);
  team_call(t, frame, j->threads < most ? j->threads : most);
  return NULL;
}

EXPORT XLA_FFI_Error *qlrjax_frozen_stage(XLA_FFI_CallFrame *frame) {
  if (is_handshake(frame)) return NULL;
  if (frame->args.size != 2 || frame->rets.size != 1)
    return failure(frame->api, "the frozen stage takes images and constants and gives latents");
  const XLA_FFI_Buffer *images = frame->args.args[0], *constants = frame->args.args[1];
  const XLA_FFI_Buffer *latents = frame->rets.rets[0];
  if (images->dtype != XLA_FFI_DataType_U8 || images->rank != 4 || latents->rank != 4 ||
      constants->dtype != XLA_FFI_DataType_U8 || constants->rank != 1)
    return failure(frame->api, "images and latents are uint8 [n, h, w, c], constants uint8 [m]");
  job j = {.constants = constants->data, .images = images->data, .latents = latents->data,
           .head = constants->data, .threads = pool_threads(frame)};
  const char *wrong = plan(&j, (size_t)constants->dims[0], images->dims, latents->dims);
  if (wrong) return failure(frame->api, wrong);
  if (!j.images_count) return NULL;
  uint8_t *copy = with_slack(&j);
  wrong = run(&j, frame);
  free(copy);
  return wrong ? failure(frame->api, wrong) : NULL;
}

EXPORT int qlrjax_instructions(void) { return best_instructions(); }
