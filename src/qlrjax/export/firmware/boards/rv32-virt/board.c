/* QEMU's RISC-V "virt": a 16550 at 0x10000000, whose interrupt goes through the PLIC. */
#include "board.h"

static volatile uint8_t *const uart = (volatile uint8_t *)0x10000000u;
enum { DATA = 0, INTERRUPTS = 1, QUEUE = 2, STATE = 5 };
enum { RECEIVED = 1, SENT = 1 << 5 };

/* Interrupt 10 only wakes the hart: none is taken. */
static volatile uint32_t *const priority = (volatile uint32_t *)0x0c000028u;
static volatile uint32_t *const enable = (volatile uint32_t *)0x0c002000u;
static volatile uint32_t *const claim = (volatile uint32_t *)0x0c200004u;
enum { WAKES = 1 << 10 };

void board_open(void)
{
    *priority = 1;
    *enable = WAKES;
    __asm__ volatile("csrs mie, %0" : : "r"(1 << 11));
    uart[QUEUE] = 0xc1; /* 16 bytes wait, the interrupt comes with the fourteenth or a pause */
    uart[INTERRUPTS] = RECEIVED;
}

uint8_t board_get(void)
{
    while (!(uart[STATE] & RECEIVED)) {
        __asm__ volatile("wfi");
        const uint32_t which = *claim;
        if (which)
            *claim = which;
    }
    return uart[DATA];
}

void board_put(uint8_t byte)
{
    while (!(uart[STATE] & SENT)) {
    }
    uart[DATA] = byte;
}
