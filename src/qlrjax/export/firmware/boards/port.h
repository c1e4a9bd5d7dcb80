/* What main.c needs of a board: a serial line and a place for saved states. */
#ifndef PORT_H
#define PORT_H

#include "qlr.h"

void port_open(void);
void port_close(void);

/* 0 when all bytes were read; the line's end otherwise. */
int port_read(void *to, uint32_t bytes);
void port_write(const void *from, uint32_t bytes);

const qlr_storage *port_storage(void);

#endif
