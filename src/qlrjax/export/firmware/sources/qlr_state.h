/* What the parts share: the layer tables, the state, and the arena that they use in turn. */
#ifndef QLR_STATE_H
#define QLR_STATE_H

#include "qlr.h"

enum {
    QLR_CONV,
    QLR_DEPTHWISE,
    QLR_POINTWISE,
    QLR_POOL, /* of the whole image */
    QLR_ADD,
    QLR_MAX_POOL,
    QLR_AVERAGE_POOL
};

typedef struct {
    uint8_t kind, kernel_h, kernel_w, stride, pad_top, pad_left;
    uint16_t in_h, in_w, in_c, out_h, out_w, out_c;
} qlr_shape;

#define QLR_THE_IMAGE 0xffffffffu /* an input that is what the stage was given */

/* An integer layer. Weights lie as the kernels read them, see qlr_dot.h and qlr_frozen.c. */
typedef struct {
    qlr_shape shape;
    uint8_t shift, code_max;
    uint8_t is_short;       /* 1: qlr_requantize_short will do */
    const int8_t *weight;
    const int32_t *scale;   /* kappa and lambda of every output channel, in turn */
    const int32_t *scale_b; /* kappa of an add's second input, likewise; NULL elsewhere */
    const uint8_t *padding; /* one code per input channel: what lies outside the image */
    uint32_t input, input_b, output; /* places in the arena's cells */
} qlr_frozen_layer;

#define QLR_THE_LATENT 0xffffffffu /* an input that is what the learner was given */

/* What a layer makes of its sums before the activation. */
enum { QLR_PLAIN, QLR_BIASED, QLR_NORMALISED };

/* A trained layer, or an add or a pooling above the cut. Offsets count floats. */
typedef struct {
    qlr_shape shape;
    uint8_t form;
    uint8_t kept;                 /* 1: its outputs of the whole mini-batch stay; 0: of a slice */
    uint8_t learns;               /* 1: it or a layer below has weights: its gradient is wanted */
    uint32_t input, input_b;      /* layers that it takes; the second is an add's */
    uint32_t until;               /* the last layer that takes its outputs; QLR_LAYERS: the head */
    uint32_t weight, gamma, beta; /* in qlr_state.layers; a bias is a beta */
    uint32_t channel;             /* of its first channel among all that are normalised */
    uint32_t output;              /* in qlr_walk.y */
    uint32_t gradient;            /* of its outputs, in qlr_walk.g */
    float low, high;              /* between which its activation lets values through */
} qlr_layer;

extern const qlr_frozen_layer qlr_frozen_layers[QLR_FROZEN_LAYERS + 1];
extern const qlr_layer qlr_layers[QLR_LAYERS + 1];

enum { QLR_HEAD = QLR_FEATURES * QLR_CLASSES };

/* All that the future depends on, besides the replays. [feature][class] is the head's order. */
typedef struct {
    uint32_t event;                          /* events learned */
    uint32_t filled;                         /* replay slots in use, the first ones */
    float layers[QLR_PARAMS + 1];            /* weight, gamma, beta, layer by layer */
    float mean[QLR_CHANNELS + 1];            /* running statistics */
    float deviation[QLR_CHANNELS + 1];
    float center[QLR_CENTERS + 1];           /* running mean, taken off the features */
    float momentum[QLR_PARAMS + 1];
    float head[QLR_HEAD];                    /* what predicts: consolidated under CWR* */
    float head_momentum[QLR_HEAD];
    float past[QLR_CLASSES];                 /* latents seen of each class, replays included */
    int16_t labels[QLR_REPLAY_SLOTS + 1];    /* -1: free */
} qlr_learner;

extern qlr_learner qlr_state;
extern uint8_t qlr_replays[QLR_REPLAY_SLOTS * QLR_REPLAY_BYTES + 1];

/* What qlr_init begins with: bits of floats, packed replays, labels. */
extern const uint32_t qlr_first_layers[QLR_PARAMS + 1], qlr_first_momentum[];
extern const uint32_t qlr_first_statistics[2 * QLR_CHANNELS + 1];
extern const uint32_t qlr_first_head[], qlr_first_head_momentum[], qlr_first_past[];
extern const uint32_t qlr_first_center[];
extern const uint8_t qlr_first_replays[];
extern const int16_t qlr_first_labels[];

/* Images that wait. */
typedef struct {
    uint32_t count;
    int16_t labels[QLR_EVENT_MAX];
    uint8_t latents[QLR_EVENT_MAX * QLR_LATENT_ELEMENTS];
} qlr_event_buffer;

extern qlr_event_buffer qlr_event;

/* FP32 values of one walk through the trained layers, QLR_SLICE samples at a time. */
typedef struct {
    float y[QLR_OUTPUT_FLOATS];         /* outputs before bias, normalisation and activation */
    float x[QLR_INPUT_FLOATS];          /* inputs of the layer at work */
    float g[QLR_GRADIENT_FLOATS];       /* gradients, where qlrjax has placed them */
    float kept_g[QLR_KEPT_GRADIENT_FLOATS]; /* of the whole mini-batch, if they are kept */
    float patches[QLR_PATCH_FLOATS];    /* rows of a convolution's inputs */
    float features[QLR_SLICE * QLR_FEATURES];
    float logits[QLR_SLICE * QLR_CLASSES];
} qlr_walk;

/* Per channel of the trained layers, while a mini-batch is learned. */
typedef struct {
    float mean[QLR_CHANNELS + 1], deviation[QLR_CHANNELS + 1]; /* that normalise */
    float r[QLR_CHANNELS + 1], d[QLR_CHANNELS + 1];            /* batch renorm's corrections */
    float sum_g[QLR_CHANNELS + 1], sum_gn[QLR_CHANNELS + 1];   /* gradient, gradient * normalised */
} qlr_norms;

typedef union {
    struct {
        uint8_t cells[QLR_FROZEN_BYTES];    /* what layers take and give, as qlrjax has placed it */
        uint8_t patch[2 * QLR_PATCH_BYTES + 1];
    } frozen;
    struct {
        qlr_walk walk;
        qlr_norms norms;
        float head[QLR_WORKING_HEAD];       /* CWR* trains a copy */
        float shift[QLR_CENTERS + 1];       /* sum of a mini-batch's features, centered */
        uint16_t order[QLR_EVENT_MAX];      /* of the new latents */
        uint16_t batch[QLR_MINIBATCH];      /* rows: new latents, then QLR_EVENT_MAX + slot */
        uint8_t learned[QLR_EVENT_MAX];
        uint16_t slots[QLR_REPLAY_SLOTS + 1];
        int32_t counts[QLR_CLASSES];
    } learn;
    struct {
        qlr_walk walk;
        qlr_norms norms;
        float column[QLR_FEATURES], momentum[QLR_FEATURES], gradient[QLR_FEATURES];
        float rest[QLR_EVENT_MAX + QLR_REPLAY_SLOTS]; /* log-sum-exp of the known classes */
        float features[QLR_LATE_FEATURES];
        uint16_t order[QLR_EVENT_MAX];
        uint8_t learned[QLR_EVENT_MAX];
        uint16_t slots[QLR_REPLAY_SLOTS + 1];
    } late;
} qlr_shared;

extern qlr_shared qlr_arena;

#endif
