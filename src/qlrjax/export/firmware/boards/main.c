/* The example program: a learner at the end of a serial line. The other end is learner.py.
 *
 * The program begins with "qlr\n"; what was sent before that may be lost. A command is one letter and its
 * data, numbers little-endian; every command is answered.
 *
 *     I                  answers "qlr\n" and 12 words, see `info`
 *     O label16 image    observe; answers a status byte
 *     L, C               learn the waiting images as an event, or as a late class;
 *                        answers status, steps32, first and last loss (float)
 *     P image            predict; answers class16 and QLR_CLASSES logits (float)
 *     S, R               save, restore; answers a status byte
 *     E, D               the waiting latents; the state and the replays, as they lie in memory
 *     Q                  quit
 */
#include <string.h>

#include "port.h"
#include "qlr_state.h"

static const char greeting[4] = {'q', 'l', 'r', '\n'};

static void answer(int status)
{
    const int8_t byte = (int8_t)status;
    port_write(&byte, 1);
}

static void info(void)
{
    const uint32_t words[12] = {
        QLR_FIRMWARE,   QLR_IMAGE_H,      QLR_IMAGE_W,      QLR_IMAGE_C,
        QLR_CLASSES,    QLR_LATENT_ELEMENTS, QLR_REPLAY_SLOTS, QLR_REPLAY_BYTES,
        QLR_EVENT_MAX,  qlr_state.event,  qlr_state.filled, (uint32_t)sizeof qlr_state};
    port_write(greeting, sizeof greeting);
    port_write(words, sizeof words);
}

static void learn(int (*how)(qlr_report *))
{
    qlr_report report = {0, 0.0f, 0.0f};
    const int status = how(&report);
    answer(status);
    port_write(&report.steps, sizeof report.steps);
    port_write(&report.first_loss, sizeof report.first_loss);
    port_write(&report.last_loss, sizeof report.last_loss);
}

static void observe(void)
{
    uint16_t label;
    uint8_t *image = qlr_image();
    port_read(&label, sizeof label);
    port_read(image, QLR_IMAGE_H * QLR_IMAGE_W * QLR_IMAGE_C);
    answer(qlr_observe(image, label));
}

static void predict(void)
{
    static float logits[QLR_CLASSES];
    uint8_t *image = qlr_image();
    port_read(image, QLR_IMAGE_H * QLR_IMAGE_W * QLR_IMAGE_C);
    qlr_logits(image, logits);
    const uint16_t best = (uint16_t)qlr_likeliest(logits);
    port_write(&best, sizeof best);
    port_write(logits, sizeof logits);
}

int main(void)
{
    port_open();
    qlr_init();
    port_write(greeting, sizeof greeting);
    for (;;) {
        uint8_t command = 0;
        if (port_read(&command, 1) != 0 || command == 'Q')
            break;
        switch (command) {
        case 'I':
            info();
            break;
        case 'O':
            observe();
            break;
        case 'L':
            learn(qlr_learn_event);
            break;
        case 'C':
            learn(qlr_learn_class);
            break;
        case 'P':
            predict();
            break;
        case 'S':
            answer(qlr_save(port_storage()));
            break;
        case 'R':
            answer(qlr_restore(port_storage()));
            break;
        case 'E':
            port_write(qlr_event.latents, qlr_event.count * QLR_LATENT_ELEMENTS);
            break;
        case 'D':
            port_write(&qlr_state, sizeof qlr_state);
            port_write(qlr_replays, QLR_REPLAY_SLOTS * QLR_REPLAY_BYTES);
            break;
        default:
            break;
        }
    }
    port_close();
    return 0;
}
