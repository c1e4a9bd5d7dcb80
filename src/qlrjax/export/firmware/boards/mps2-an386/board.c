/* Arm MPS2, image AN386: CMSDK UART 0 (Arm DDI 0479). */
#include "board.h"

static volatile uint32_t *const uart = (volatile uint32_t *)0x40004000u;
enum { DATA = 0, STATE = 1, CONTROL = 2, DIVIDER = 4 };
enum { SEND_FULL = 1, RECEIVE_FULL = 2 };

void board_open(void)
{
    uart[DIVIDER] = 16;
    uart[CONTROL] = 3; /* send and receive */
}

uint8_t board_get(void)
{
    while (!(uart[STATE] & RECEIVE_FULL)) {
    }
    return (uint8_t)uart[DATA];
}

void board_put(uint8_t byte)
{
    while (uart[STATE] & SEND_FULL) {
    }
    uart[DATA] = byte;
}
