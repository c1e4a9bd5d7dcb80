/* What every bare board has: a serial line, a way to stop, and a place for saved states. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

void board_open(void);
uint8_t board_get(void);       /* waits for a byte */
void board_put(uint8_t byte);

#endif
