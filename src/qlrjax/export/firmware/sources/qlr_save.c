/* Two slots take turns. A slot is a header, the state, the replays, and a checksum (CRC-32, IEEE
 * 802.3) over all before it, written last: a slot whose writing was cut off does not match, and
 * every single flipped byte is found. The newest slot that matches is the state.
 */
#include <string.h>

#include "qlr_state.h"

typedef struct {
    uint32_t firmware; /* QLR_FIRMWARE: of these tables and settings */
    uint32_t bytes;    /* of state and replays */
    uint32_t number;   /* counts saved states, from 1 */
} header;

/* Both are plain arrays and words without gaps of undefined content between them. */
enum { REPLAY_BYTES_ALL = QLR_REPLAY_SLOTS * QLR_REPLAY_BYTES };
enum { BODY = sizeof(qlr_learner) + REPLAY_BYTES_ALL, CHUNK = 64 };

/* Four bits at a time: a table of 64 bytes. */
static uint32_t crc(uint32_t sum, const uint8_t *bytes, uint32_t count)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    sum = ~sum;
    while (count-- > 0) {
        sum ^= *bytes++;
        sum = (sum >> 4) ^ table[sum & 15u];
        sum = (sum >> 4) ^ table[sum & 15u];
    }
    return ~sum;
}

/* Reads the header and checks the slot; the number of its state, 0 without a whole one. */
static int check(const qlr_storage *storage, uint32_t slot, uint32_t *number)
{
    uint32_t at = slot * QLR_SLOT_BYTES, left = BODY, sum, stored;
    uint8_t chunk[CHUNK];
    header head;
    *number = 0;
    if (storage->read(storage->user, at, &head, sizeof head) != 0)
        return QLR_STORAGE;
    if (head.firmware != QLR_FIRMWARE || head.bytes != BODY)
        return QLR_OK;
    sum = crc(0, (const uint8_t *)&head, sizeof head);
    for (at += (uint32_t)sizeof head; left > 0;) {
        const uint32_t count = left < CHUNK ? left : CHUNK;
        if (storage->read(storage->user, at, chunk, count) != 0)
            return QLR_STORAGE;
        sum = crc(sum, chunk, count);
        at += count;
        left -= count;
    }
    if (storage->read(storage->user, at, &stored, sizeof stored) != 0)
        return QLR_STORAGE;
    *number = stored == sum ? head.number : 0;
    return QLR_OK;
}

/* Which slot holds the newer state, and its number; 0 if neither does. Numbers wrap. */
static int newest(const qlr_storage *storage, uint32_t *slot, uint32_t *number)
{
    uint32_t first, second;
    if (check(storage, 0, &first) != QLR_OK || check(storage, 1, &second) != QLR_OK)
        return QLR_STORAGE;
    *slot = first == 0 || (second != 0 && second - first < 0x80000000u) ? 1 : 0;
    *number = *slot ? second : first;
    return QLR_OK;
}

int qlr_save(const qlr_storage *storage)
{
    uint32_t slot, number, sum;
    if (newest(storage, &slot, &number) != QLR_OK)
        return QLR_STORAGE;
    header head;
    head.firmware = QLR_FIRMWARE;
    head.bytes = BODY;
    head.number = number + 1 ? number + 1 : 1;
    uint32_t at = (number ? 1 - slot : 0) * QLR_SLOT_BYTES;
    sum = crc(0, (const uint8_t *)&head, sizeof head);
    sum = crc(sum, (const uint8_t *)&qlr_state, sizeof qlr_state);
    sum = crc(sum, qlr_replays, REPLAY_BYTES_ALL);
    if (storage->write(storage->user, at, &head, sizeof head) != 0)
        return QLR_STORAGE;
    at += (uint32_t)sizeof head;
    if (storage->write(storage->user, at, &qlr_state, sizeof qlr_state) != 0)
        return QLR_STORAGE;
    at += (uint32_t)sizeof qlr_state;
    if (REPLAY_BYTES_ALL > 0 && storage->write(storage->user, at, qlr_replays, REPLAY_BYTES_ALL) != 0)
        return QLR_STORAGE;
    at += REPLAY_BYTES_ALL;
    return storage->write(storage->user, at, &sum, sizeof sum) != 0 ? QLR_STORAGE : QLR_OK;
}

int qlr_restore(const qlr_storage *storage)
{
    uint32_t slot, number, sum;
    header head;
    qlr_init();
    if (newest(storage, &slot, &number) != QLR_OK)
        return QLR_STORAGE;
    if (number == 0)
        return QLR_NO_STATE;
    uint32_t at = slot * QLR_SLOT_BYTES;
    int failed = storage->read(storage->user, at, &head, sizeof head);
    at += (uint32_t)sizeof head;
    failed |= storage->read(storage->user, at, &qlr_state, sizeof qlr_state);
    at += (uint32_t)sizeof qlr_state;
    if (REPLAY_BYTES_ALL > 0)
        failed |= storage->read(storage->user, at, qlr_replays, REPLAY_BYTES_ALL);
    at += REPLAY_BYTES_ALL;
    failed |= storage->read(storage->user, at, &sum, sizeof sum);
    uint32_t found = crc(0, (const uint8_t *)&head, sizeof head);
    found = crc(found, (const uint8_t *)&qlr_state, sizeof qlr_state);
    found = crc(found, qlr_replays, REPLAY_BYTES_ALL);
    if (failed || found != sum) { /* the medium changed between two readings */
        qlr_init();
        return QLR_STORAGE;
    }
    return QLR_OK;
}
