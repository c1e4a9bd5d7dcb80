/* Files of the machine that emulates or debugs the board: Arm's semihosting (specification version
 * 2.0), which RISC-V has taken over. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

/* How much a write hands over at once. */
#ifndef QLR_WRITE_BYTES
#define QLR_WRITE_BYTES 4096u
#endif

enum { SEMIHOSTING_READ = 1, SEMIHOSTING_UPDATE = 3, SEMIHOSTING_CREATE = 7 };

int32_t semihosting_open(const char *name, uint32_t mode); /* below 0: it failed */
int semihosting_seek(int32_t file, uint32_t at);           /* 0: it worked; likewise below */
int semihosting_read(int32_t file, void *to, uint32_t bytes);
int semihosting_write(int32_t file, const void *from, uint32_t bytes);
void semihosting_exit(uint32_t code);

#endif
