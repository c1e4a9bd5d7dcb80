/* Start-up of a Cortex-M4F: vectors, the FPU, .data and .bss, main. */
#include <stdint.h>

int main(void);

/* From the linker script. */
extern uint32_t __stack, __data_load, __data_start, __data_end, __bss_start, __bss_end;

void reset(void);

static void hang(void)
{
    for (;;) {
    }
}

/* Where the stack begins, then the handlers of exceptions 1 to 15. */
typedef struct {
    const uint32_t *stack;
    void (*handlers[15])(void);
} vectors;

__attribute__((section(".vectors"), used)) static const vectors table = {
    &__stack,
    {reset, hang, hang, hang, hang, hang, 0, 0, 0, 0, hang, hang, 0, hang, hang}};

void reset(void)
{
    volatile uint32_t *const cpacr = (volatile uint32_t *)0xe000ed88u;
    const uint32_t *from = &__data_load;
    *cpacr |= 0xfu << 20; /* full access to the FPU */
    __asm__ volatile("dsb\nisb");
    for (uint32_t *to = &__data_start; to < &__data_end;)
        *to++ = *from++;
    for (uint32_t *to = &__bss_start; to < &__bss_end;)
        *to++ = 0;
    main();
    hang();
}
