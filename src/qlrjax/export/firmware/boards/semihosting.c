#include "semihosting.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_SEEK = 0x0a,
       SYS_EXIT_EXTENDED = 0x20 };
enum { STOPPED_APPLICATION_EXIT = 0x20026 };

/* The call: an operation and a block of words, an answer. */
static intptr_t call(intptr_t operation, const uintptr_t *block)
{
#if defined(__arm__)
    register intptr_t r0 __asm__("r0") = operation;
    register const uintptr_t *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#elif defined(__riscv)
    register intptr_t a0 __asm__("a0") = operation;
    register const uintptr_t *a1 __asm__("a1") = block;
    /* This sequence, uncompressed and within one page, is what marks the call. */
    __asm__ volatile(".balign 16\n"
                     ".option push\n"
                     ".option norvc\n"
                     "slli zero, zero, 0x1f\n"
                     "ebreak\n"
                     "srai zero, zero, 7\n"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
#endif
}

int32_t semihosting_open(const char *name, uint32_t mode)
{
    uintptr_t length = 0;
    while (name[length])
        length++;
    const uintptr_t block[] = {(uintptr_t)name, mode, length};
    return (int32_t)call(SYS_OPEN, block);
}

int semihosting_seek(int32_t file, uint32_t at)
{
    const uintptr_t block[] = {(uintptr_t)file, at};
    return (int)call(SYS_SEEK, block);
}

int semihosting_read(int32_t file, void *to, uint32_t bytes)
{
    const uintptr_t block[] = {(uintptr_t)file, (uintptr_t)to, bytes};
    return (int)call(SYS_READ, block);
}

int semihosting_write(int32_t file, const void *from, uint32_t bytes)
{
    const uintptr_t block[] = {(uintptr_t)file, (uintptr_t)from, bytes};
    return (int)call(SYS_WRITE, block);
}

void semihosting_exit(uint32_t code)
{
    const uintptr_t block[] = {STOPPED_APPLICATION_EXIT, code};
    for (;;)
        call(SYS_EXIT_EXTENDED, block);
}
