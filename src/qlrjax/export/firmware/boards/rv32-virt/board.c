/* QEMU's RISC-V "virt": a 16550 at 0x10000000. */
#include "board.h"

static volatile uint8_t *const uart = (volatile uint8_t *)0x10000000u;
enum { DATA = 0, STATE = 5 };
enum { RECEIVED = 1, SENT = 1 << 5 };

void board_open(void) {}

uint8_t board_get(void)
{
    while (!(uart[STATE] & RECEIVED)) {
    }
    return uart[DATA];
}

void board_put(uint8_t byte)
{
    while (!(uart[STATE] & SENT)) {
    }
    uart[DATA] = byte;
}
