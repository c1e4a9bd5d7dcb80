/* A learner on a microcontroller: it sees labelled images, learns them event by event beside packed
 * replays of what it saw before, and says what is on an image.
 *
 *     qlr_init();                                  or qlr_restore(&storage)
 *     for every image of an event:  qlr_observe(image, label);
 *     qlr_learn_event(&report);
 *     qlr_save(&storage);
 *     qlr_predict(image);
 *
 * Nothing allocates; every buffer is sized by qlr_config.h, which qlrjax generates beside the tables
 * of qlr_tables.c. There is one learner, it is not reentrant, and interrupts must not call it.
 */
#ifndef QLR_H
#define QLR_H

#include <stdint.h>

#include "qlr_config.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    QLR_OK = 0,
    QLR_FULL = -1,      /* QLR_EVENT_MAX images wait already: learn them first */
    QLR_LABEL = -2,     /* the label is no class: 0 to QLR_CLASSES - 1 */
    QLR_EMPTY = -3,     /* no image waits to be learned */
    QLR_DIVERGED = -4,  /* the loss is not finite: restore the last state */
    QLR_NOT_NEW = -5,   /* the images are of several classes, or of one that is known */
    QLR_STORAGE = -6,   /* a callback failed */
    QLR_NO_STATE = -7   /* the storage holds no whole state of this firmware */
};

/* What learning one event came to; losses are mean cross-entropies of a mini-batch. */
typedef struct {
    uint32_t steps;
    float first_loss, last_loss;
} qlr_report;

/* Where states are kept: 2 * QLR_SLOT_BYTES bytes of flash, FRAM, a file. Both callbacks return 0
 * when all `bytes` were moved. `write` may be torn anywhere by a power failure. */
typedef struct {
    int (*read)(void *user, uint32_t at, void *to, uint32_t bytes);
    int (*write)(void *user, uint32_t at, const void *from, uint32_t bytes);
    void *user;
} qlr_storage;

/* The state that was exported; images that wait are dropped. */
void qlr_init(void);

/* Room for one image, QLR_IMAGE_H x QLR_IMAGE_W x QLR_IMAGE_C codes, shared with the arena: fill it,
 * then pass it to qlr_observe or qlr_predict at once. Any other buffer does as well. */
uint8_t *qlr_image(void);

/* Runs the frozen stage; the latent waits in the event buffer. */
int qlr_observe(const uint8_t *image, uint32_t label);

/* How many images wait, and their 8-bit latents of QLR_LATENT_ELEMENTS codes each. */
uint32_t qlr_waiting(void);
const uint8_t *qlr_latents(void);

/* Learns the waiting images as one event and admits some of them to the replays. */
int qlr_learn_event(qlr_report *report);

/* Learns the waiting images, all of one class that was never seen, by its own column of the head. */
int qlr_learn_class(qlr_report *report);

/* QLR_CLASSES logits of an image; and the likeliest class among those that were learned, 0 before
 * the first event. */
void qlr_logits(const uint8_t *image, float *logits);
uint32_t qlr_likeliest(const float *logits);
uint32_t qlr_predict(const uint8_t *image);

/* Writes the state into the older of two slots; a failure at any time leaves the other one whole.
 * Images that wait are not part of it. */
int qlr_save(const qlr_storage *storage);

/* The newest whole state. If there is none, the learner is as after qlr_init. */
int qlr_restore(const qlr_storage *storage);

#ifdef __cplusplus
}
#endif

#endif
