/* The port of a bare board: its serial line, and states in a file of the machine that emulates it
 * or debugs it (semihosting). On your own board, replace read_at and write_at by the flash, FRAM or
 * SD card that it has; main.c stays.
 */
#include "board.h"
#include "port.h"
#include "semihosting.h"

static int32_t file;

static int read_at(void *user, uint32_t at, void *to, uint32_t bytes)
{
    uint8_t *byte = to;
    (void)user;
    for (uint32_t i = 0; i < bytes; i++)
        byte[i] = 255; /* behind the file's end, as erased flash reads */
    if (file < 0 || semihosting_seek(file, at) != 0)
        return -1;
    semihosting_read(file, to, bytes);
    return 0;
}

/* In small pieces, so that a stop tears a state as a power failure would. */
static int write_at(void *user, uint32_t at, const void *from, uint32_t bytes)
{
    const uint8_t *byte = from;
    (void)user;
    if (file < 0)
        return -1;
    while (bytes > 0) {
        const uint32_t count = bytes < QLR_WRITE_BYTES ? bytes : QLR_WRITE_BYTES;
        if (semihosting_seek(file, at) != 0 || semihosting_write(file, byte, count) != 0)
            return -1;
        at += count;
        byte += count;
        bytes -= count;
    }
    return 0;
}

void port_open(void)
{
    board_open();
    file = semihosting_open("state.bin", SEMIHOSTING_UPDATE);
    if (file < 0)
        file = semihosting_open("state.bin", SEMIHOSTING_CREATE);
}

void port_close(void)
{
    semihosting_exit(0);
}

int port_read(void *to, uint32_t bytes)
{
    uint8_t *byte = to;
    while (bytes-- > 0)
        *byte++ = board_get();
    return 0;
}

void port_write(const void *from, uint32_t bytes)
{
    const uint8_t *byte = from;
    while (bytes-- > 0)
        board_put(*byte++);
}

const qlr_storage *port_storage(void)
{
    static const qlr_storage storage = {read_at, write_at, 0};
    return &storage;
}
