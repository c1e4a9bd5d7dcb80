/* The host's port: standard input and output, and states in the file state.bin. */
#include <stdio.h>

#include "port.h"

static FILE *states;

static int read_at(void *user, uint32_t at, void *to, uint32_t bytes)
{
    FILE *file = *(FILE **)user;
    unsigned char *byte = to;
    if (!file || fseek(file, (long)at, SEEK_SET) != 0)
        return -1;
    for (size_t done = fread(byte, 1, bytes, file); done < bytes; done++)
        byte[done] = 255; /* behind the file's end, as erased flash reads */
    return 0;
}

static int write_at(void *user, uint32_t at, const void *from, uint32_t bytes)
{
    FILE *file = *(FILE **)user;
    if (!file || fseek(file, (long)at, SEEK_SET) != 0)
        return -1;
    return fwrite(from, 1, bytes, file) == bytes && fflush(file) == 0 ? 0 : -1;
}

void port_open(void)
{
    states = fopen("state.bin", "r+b");
    if (!states)
        states = fopen("state.bin", "w+b");
}

void port_close(void)
{
    if (states)
        fclose(states);
}

int port_read(void *to, uint32_t bytes)
{
    fflush(stdout);
    return fread(to, 1, bytes, stdin) == bytes ? 0 : -1;
}

void port_write(const void *from, uint32_t bytes) { fwrite(from, 1, bytes, stdout); }

const qlr_storage *port_storage(void)
{
    static const qlr_storage storage = {read_at, write_at, &states};
    return &storage;
}
