/* A host program around the stages, to check them and to start from:
 *
 *     qlr frozen IMAGES CODES             uint8 images in, uint8 8-bit latent codes out
 *     qlr replays CODES                   the codes of all replay slots in use, a byte each
 *     qlr step LATENTS LABELS RESULT      float32 latents and int32 labels of one mini-batch in;
 *                                         loss, parameters, means and deviations out, float32
 *     qlr demo IMAGES                     learns from one image and the replays, prints the loss
 *
 * Files hold plain arrays in the machine's byte order. Only this file does input and output.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "net.h"
#include "qlr_frozen.h"
#include "qlr_replay.h"
#include "qlr_train.h"

static uint8_t image[IMAGE_H * IMAGE_W * IMAGE_C];
static uint8_t codes[LATENT_ELEMENTS];
static float latents[(size_t)MINIBATCH * LATENT_ELEMENTS];
static int32_t labels[MINIBATCH];

static int run_frozen(const char *images, const char *out)
{
    FILE *from = fopen(images, "rb"), *to = fopen(out, "wb");
    if (!from || !to)
        return 1;
    while (fread(image, sizeof image, 1, from) == 1) {
        qlr_frozen_run(image, codes);
        fwrite(codes, sizeof codes, 1, to);
    }
    return fclose(from) | fclose(to);
}

static int run_replays(const char *out)
{
    FILE *to = fopen(out, "wb");
    if (!to)
        return 1;
    for (int slot = 0; slot < REPLAYS; slot++) {
        qlr_replay_codes(slot, codes);
        fwrite(codes, sizeof codes, 1, to);
    }
    return fclose(to);
}

static int run_step(const char *latent_file, const char *label_file, const char *out)
{
    FILE *from = fopen(latent_file, "rb"), *classes = fopen(label_file, "rb");
    FILE *to = fopen(out, "wb");
    if (!from || !classes || !to)
        return 1;
    const size_t n = fread(latents, sizeof(float) * LATENT_ELEMENTS, MINIBATCH, from);
    if (n == 0 || fread(labels, sizeof(int32_t), n, classes) != n)
        return 1;
    const float loss = qlr_train_step(latents, labels, (int)n);
    fwrite(&loss, sizeof loss, 1, to);
    fwrite(qlr_params(), sizeof(float), ADAPTIVE_PARAMS, to);
    fwrite(qlr_means(), sizeof(float), ADAPTIVE_CHANNELS, to);
    fwrite(qlr_deviations(), sizeof(float), ADAPTIVE_CHANNELS, to);
    return fclose(from) | fclose(classes) | fclose(to);
}

static int run_demo(const char *images)
{
    FILE *from = fopen(images, "rb");
    if (!from || fread(image, sizeof image, 1, from) != 1)
        return 1;
    qlr_frozen_run(image, codes);
    for (int i = 0; i < LATENT_ELEMENTS; i++)
        latents[i] = (float)codes[i] * LATENT_STEP;
    printf("class %d before learning\n", qlr_predict(latents));
    labels[0] = 0;
    int n = 1;
    for (int slot = 0; slot < REPLAYS && n < MINIBATCH; slot++, n++)
        labels[n] = qlr_replay_read(slot, latents + (size_t)n * LATENT_ELEMENTS);
    for (int step = 0; step < 4; step++)
        printf("step %d: loss %.6f\n", step, (double)qlr_train_step(latents, labels, n));
    printf("class %d after learning class 0\n", qlr_predict(latents));
    return fclose(from);
}

/* A memory too large for a header comes in a file; a device would copy it to its HyperRAM. */
static int load_replays(void)
{
#ifdef REPLAY_FILE
    FILE *from = fopen(REPLAY_FILE, "rb");
    if (!from || fread(qlr_replay_bytes(), LATENT_BYTES, REPLAY_SLOTS, from) != REPLAY_SLOTS) {
        fprintf(stderr, "%s is missing or too short; run this in its folder\n", REPLAY_FILE);
        return 1;
    }
    return fclose(from);
#else
    return 0;
#endif
}

int main(int argc, char **argv)
{
    if (load_replays())
        return 1;
    if (argc == 4 && !strcmp(argv[1], "frozen"))
        return run_frozen(argv[2], argv[3]);
    if (argc == 3 && !strcmp(argv[1], "replays"))
        return run_replays(argv[2]);
    if (argc == 5 && !strcmp(argv[1], "step"))
        return run_step(argv[2], argv[3], argv[4]);
    if (argc == 3 && !strcmp(argv[1], "demo"))
        return run_demo(argv[2]);
    fprintf(stderr, "usage: qlr frozen|replays|step|demo FILES, see main.c\n");
    return 2;
}
