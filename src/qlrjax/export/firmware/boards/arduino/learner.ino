/* The learner at the end of an Arduino's serial line; learner.py --port is the other end. Saved
 * states are not kept here: give qlr_save a storage of your board to keep them. */
#include <qlr.h>

static void take(void *to, uint32_t bytes)
{
  uint8_t *byte = (uint8_t *)to;
  while (bytes > 0)
    if (Serial.available()) {
      *byte++ = (uint8_t)Serial.read();
      bytes--;
    }
}

static void give(const void *from, uint32_t bytes) { Serial.write((const uint8_t *)from, bytes); }

static const uint32_t imageBytes = (uint32_t)QLR_IMAGE_H * QLR_IMAGE_W * QLR_IMAGE_C;

void setup()
{
  Serial.begin(115200);
  qlr_init();
  Serial.print("qlr\n");
}

void loop()
{
  uint8_t command;
  take(&command, 1);
  if (command == 'I') {
    const uint32_t words[12] = {QLR_FIRMWARE, QLR_IMAGE_H, QLR_IMAGE_W, QLR_IMAGE_C, QLR_CLASSES,
                                QLR_LATENT_ELEMENTS, QLR_REPLAY_SLOTS, QLR_REPLAY_BYTES,
                                QLR_EVENT_MAX, 0, 0, 0};
    Serial.print("qlr\n");
    give(words, sizeof words);
  } else if (command == 'O') {
    uint16_t label;
    take(&label, sizeof label);
    take(qlr_image(), imageBytes);
    const int8_t status = (int8_t)qlr_observe(qlr_image(), label);
    give(&status, 1);
  } else if (command == 'L' || command == 'C') {
    qlr_report report = {0, 0.0f, 0.0f};
    const int8_t status =
        (int8_t)(command == 'L' ? qlr_learn_event(&report) : qlr_learn_class(&report));
    give(&status, 1);
    give(&report.steps, 4);
    give(&report.first_loss, 4);
    give(&report.last_loss, 4);
  } else if (command == 'P') {
    static float logits[QLR_CLASSES];
    take(qlr_image(), imageBytes);
    qlr_logits(qlr_image(), logits);
    const uint16_t best = (uint16_t)qlr_likeliest(logits);
    give(&best, sizeof best);
    give(logits, sizeof logits);
  }
}
