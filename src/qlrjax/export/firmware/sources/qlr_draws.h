/* Random numbers as a function of where they are drawn, see qlrjax's training/draws.py:
 *
 *     mix(x):      x ^= x >> 16;  x *= 0x7feb352d;  x ^= x >> 15;  x *= 0x846ca68b;  x ^= x >> 16
 *     fold(k, w):  mix(k ^ mix(w + 0x9e3779b9))
 *
 * Item i has the ticket fold(key, i); no two items of a key share one.
 */
#ifndef QLR_DRAWS_H
#define QLR_DRAWS_H

#include <stdint.h>

uint32_t qlr_fold(uint32_t key, uint32_t word);

/* Keys of an event: the order of its latents in an epoch, which of them are admitted, and where. */
uint32_t qlr_order_key(uint32_t event, uint32_t epoch);
uint32_t qlr_admit_key(uint32_t event, int of_slots);

/* Likewise for a class that comes late, whose event has no order. */
uint32_t qlr_late_key(uint32_t event, int of_slots);

/* Sorts items by their tickets. */
void qlr_draw(uint32_t key, uint16_t *items, uint32_t count);

#endif
