/* Arm MPS2, image AN386: CMSDK UART 0 (Arm DDI 0479). */
#include "board.h"

static volatile uint32_t *const uart = (volatile uint32_t *)0x40004000u;
enum { DATA = 0, STATE = 1, CONTROL = 2, INTERRUPTS = 3, DIVIDER = 4 };
enum { SEND_FULL = 1, RECEIVE_FULL = 2, RECEIVED = 2 };

/* Interrupt 0 only wakes the processor: none is taken. */
static volatile uint32_t *const enable = (volatile uint32_t *)0xe000e100u;
static volatile uint32_t *const settle = (volatile uint32_t *)0xe000e280u;
enum { WAKES = 1 };

void board_open(void)
{
    __asm__ volatile("cpsid i");
    *enable = WAKES;
    uart[DIVIDER] = 16;
    uart[CONTROL] = 1 << 3 | 3; /* interrupt when received, send, receive */
}

uint8_t board_get(void)
{
    while (!(uart[STATE] & RECEIVE_FULL)) {
        __asm__ volatile("wfi");
        uart[INTERRUPTS] = RECEIVED;
        *settle = WAKES;
    }
    return (uint8_t)uart[DATA];
}

void board_put(uint8_t byte)
{
    while (uart[STATE] & SEND_FULL) {
    }
    uart[DATA] = byte;
}
