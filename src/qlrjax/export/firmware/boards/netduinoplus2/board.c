/* Netduino Plus 2, STM32F405: USART 1 (ST RM0090). */
#include "board.h"

static volatile uint32_t *const usart = (volatile uint32_t *)0x40011000u;
static volatile uint32_t *const rcc_apb2 = (volatile uint32_t *)0x40023844u;
enum { STATE = 0, DATA = 1, RATE = 2, CONTROL = 3 };
enum { RECEIVED = 1u << 5, SENT = 1u << 7 };

/* Interrupt 37 only wakes the processor: none is taken. */
static volatile uint32_t *const enable = (volatile uint32_t *)0xe000e104u;
static volatile uint32_t *const settle = (volatile uint32_t *)0xe000e284u;
enum { WAKES = 1u << (37 - 32) };

void board_open(void)
{
    __asm__ volatile("cpsid i");
    *enable = WAKES;
    *rcc_apb2 |= 1u << 4; /* clock of USART 1 */
    usart[RATE] = 139;    /* 16 MHz / 115,200 */
    usart[CONTROL] = 1u << 13 | RECEIVED | 1u << 3 | 1u << 2; /* on, interrupt, send, receive */
}

uint8_t board_get(void)
{
    while (!(usart[STATE] & RECEIVED)) {
        __asm__ volatile("wfi");
        *settle = WAKES;
    }
    return (uint8_t)usart[DATA];
}

void board_put(uint8_t byte)
{
    while (!(usart[STATE] & SENT)) {
    }
    usart[DATA] = byte;
}
