/* Blocks of 4 x 4 sums: sixteen of them, eight operands and a product fill the 32 FP registers of
 * a Cortex-M4F. Products are VMUL and VADD, a cycle each; VFMA takes three (Arm's Cortex-M4 TRM), so
 * nothing here may be contracted: build with -std=c99 or -ffp-contract=off. */
#include "qlr_products.h"

#include <string.h>

#define STEP(sum, a, b) sum += (a) * (b)

/* a, b, c, d = p[0], p[1], p[2], p[3]: one VLDM, which compilers do not find. */
#if defined(__arm__) && defined(__ARM_FP)
#define LOAD(r0, r1, r2, r3, a, b, c, d, p)                                                       \
    register float a __asm__(r0), b __asm__(r1), c __asm__(r2), d __asm__(r3);                    \
    __asm__("vldm %4, {" r0 "-" r3 "}"                                                            \
            : "=t"(a), "=t"(b), "=t"(c), "=t"(d)                                                  \
            : "r"(p), "m"((p)[0]), "m"((p)[1]), "m"((p)[2]), "m"((p)[3]))
#define FOUR(a, b, c, d, p) LOAD("s0", "s1", "s2", "s3", a, b, c, d, p)
#define FOUR_MORE(a, b, c, d, p) LOAD("s4", "s5", "s6", "s7", a, b, c, d, p)
#else
#define FOUR(a, b, c, d, p) const float a = (p)[0], b = (p)[1], c = (p)[2], d = (p)[3]
#define FOUR_MORE FOUR
#endif

/* What is left over at the edges: up to 4 x 4 sums, one by one. a and b step by their strides. */
static void edge(const float *a, const float *b, uint32_t count, uint32_t a_step, uint32_t b_step,
                 float *to)
{
    float sum = 0.0f;
    for (uint32_t i = 0; i < count; i++)
        sum += a[i * a_step] * b[i * b_step];
    *to += sum;
}

/* y[4][4] of four rows of x and four columns of the weight, `next` floats to a row of it. */
static void forward_block(const float *x, const float *w, float *y, uint32_t inputs, uint32_t next)
{
    const float *x0 = x, *x1 = x + inputs, *x2 = x1 + inputs, *x3 = x2 + inputs;
    float s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
    float s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
    for (const float *end = x1; x0 != end; w += next) {
        FOUR(w0, w1, w2, w3, w);
        float v = *x0++;
        STEP(s00, v, w0), STEP(s01, v, w1), STEP(s02, v, w2), STEP(s03, v, w3);
        v = *x1++;
        STEP(s10, v, w0), STEP(s11, v, w1), STEP(s12, v, w2), STEP(s13, v, w3);
        v = *x2++;
        STEP(s20, v, w0), STEP(s21, v, w1), STEP(s22, v, w2), STEP(s23, v, w3);
        v = *x3++;
        STEP(s30, v, w0), STEP(s31, v, w1), STEP(s32, v, w2), STEP(s33, v, w3);
    }
    y[0] = s00, y[1] = s01, y[2] = s02, y[3] = s03, y += next;
    y[0] = s10, y[1] = s11, y[2] = s12, y[3] = s13, y += next;
    y[0] = s20, y[1] = s21, y[2] = s22, y[3] = s23, y += next;
    y[0] = s30, y[1] = s31, y[2] = s32, y[3] = s33;
}

void qlr_multiply(const float *x, const float *weight, float *y, uint32_t rows, uint32_t inputs,
                  uint32_t outputs)
{
    const uint32_t whole_rows = rows & ~3u, whole = outputs & ~3u;
    for (uint32_t r = 0; r < whole_rows; r += 4)
        for (uint32_t o = 0; o < whole; o += 4)
            forward_block(x + r * inputs, weight + o, y + r * outputs + o, inputs, outputs);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t o = r < whole_rows ? whole : 0; o < outputs; o++) {
            y[r * outputs + o] = 0.0f;
            edge(x + r * inputs, weight + o, inputs, 1, outputs, y + r * outputs + o);
        }
}

/* dx[4][4] of four rows of g and four rows of the weight. */
static void back_block(const float *g, const float *w, float *dx, uint32_t outputs, uint32_t next)
{
    const float *g0 = g, *g1 = g + outputs, *g2 = g1 + outputs, *g3 = g2 + outputs;
    const float *w0 = w, *w1 = w + outputs, *w2 = w1 + outputs, *w3 = w2 + outputs;
    float s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
    float s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
    for (const float *end = g1; g0 != end;) {
        const float a = *w0++, b = *w1++, c = *w2++, d = *w3++;
        float v = *g0++;
        STEP(s00, v, a), STEP(s01, v, b), STEP(s02, v, c), STEP(s03, v, d);
        v = *g1++;
        STEP(s10, v, a), STEP(s11, v, b), STEP(s12, v, c), STEP(s13, v, d);
        v = *g2++;
        STEP(s20, v, a), STEP(s21, v, b), STEP(s22, v, c), STEP(s23, v, d);
        v = *g3++;
        STEP(s30, v, a), STEP(s31, v, b), STEP(s32, v, c), STEP(s33, v, d);
    }
    dx[0] = s00, dx[1] = s01, dx[2] = s02, dx[3] = s03, dx += next;
    dx[0] = s10, dx[1] = s11, dx[2] = s12, dx[3] = s13, dx += next;
    dx[0] = s20, dx[1] = s21, dx[2] = s22, dx[3] = s23, dx += next;
    dx[0] = s30, dx[1] = s31, dx[2] = s32, dx[3] = s33;
}

void qlr_multiply_back(const float *g, const float *weight, float *dx, uint32_t rows,
                       uint32_t inputs, uint32_t outputs)
{
    const uint32_t whole_rows = rows & ~3u, whole = inputs & ~3u;
    for (uint32_t r = 0; r < whole_rows; r += 4)
        for (uint32_t i = 0; i < whole; i += 4)
            back_block(g + r * outputs, weight + i * outputs, dx + r * inputs + i, outputs, inputs);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = r < whole_rows ? whole : 0; i < inputs; i++) {
            dx[r * inputs + i] = 0.0f;
            edge(g + r * outputs, weight + i * outputs, outputs, 1, 1, dx + r * inputs + i);
        }
}

/* dweight[4][4] += of four columns of x and four of g, over all rows. */
static void outer_block(const float *x, const float *g, float *to, uint32_t rows, uint32_t inputs,
                        uint32_t outputs)
{
    float *t0 = to, *t1 = t0 + outputs, *t2 = t1 + outputs, *t3 = t2 + outputs;
    float s00 = t0[0], s01 = t0[1], s02 = t0[2], s03 = t0[3];
    float s10 = t1[0], s11 = t1[1], s12 = t1[2], s13 = t1[3];
    float s20 = t2[0], s21 = t2[1], s22 = t2[2], s23 = t2[3];
    float s30 = t3[0], s31 = t3[1], s32 = t3[2], s33 = t3[3];
    for (uint32_t r = rows; r > 0; r--, x += inputs, g += outputs) {
        FOUR(a, b, c, d, g);
        float v = x[0];
        STEP(s00, v, a), STEP(s01, v, b), STEP(s02, v, c), STEP(s03, v, d);
        v = x[1];
        STEP(s10, v, a), STEP(s11, v, b), STEP(s12, v, c), STEP(s13, v, d);
        v = x[2];
        STEP(s20, v, a), STEP(s21, v, b), STEP(s22, v, c), STEP(s23, v, d);
        v = x[3];
        STEP(s30, v, a), STEP(s31, v, b), STEP(s32, v, c), STEP(s33, v, d);
    }
    t0[0] = s00, t0[1] = s01, t0[2] = s02, t0[3] = s03;
    t1[0] = s10, t1[1] = s11, t1[2] = s12, t1[3] = s13;
    t2[0] = s20, t2[1] = s21, t2[2] = s22, t2[3] = s23;
    t3[0] = s30, t3[1] = s31, t3[2] = s32, t3[3] = s33;
}

void qlr_multiply_outer(const float *x, const float *g, float *dweight, uint32_t rows,
                        uint32_t inputs, uint32_t outputs)
{
    const uint32_t whole_inputs = inputs & ~3u, whole = outputs & ~3u;
    for (uint32_t i = 0; i < whole_inputs; i += 4)
        for (uint32_t o = 0; o < whole; o += 4)
            outer_block(x + i, g + o, dweight + i * outputs + o, rows, inputs, outputs);
    for (uint32_t i = 0; i < inputs; i++)
        for (uint32_t o = i < whole_inputs ? whole : 0; o < outputs; o++)
            edge(x + i, g + o, rows, inputs, outputs, dweight + i * outputs + o);
}

/* ---- depthwise ----------------------------------------------------------------------------- */

enum { PAIRS = 64 };

/* Vectors of all channels that meet each other: to[c] += sum(a[i][c] * b[i][c]). */
typedef struct {
    const float *a[PAIRS], *b[PAIRS];
    uint32_t count;
} pairs;

static void add_pairs(pairs *p, float *to, uint32_t channels)
{
    uint32_t c = 0;
    for (; c + 3 < channels; c += 4) {
        float s0 = to[c], s1 = to[c + 1], s2 = to[c + 2], s3 = to[c + 3];
        for (uint32_t i = 0; i < p->count; i++) {
            const float *a = p->a[i] + c, *b = p->b[i] + c;
            FOUR(a0, a1, a2, a3, a);
            FOUR_MORE(b0, b1, b2, b3, b);
            STEP(s0, a0, b0), STEP(s1, a1, b1), STEP(s2, a2, b2), STEP(s3, a3, b3);
        }
        to[c] = s0, to[c + 1] = s1, to[c + 2] = s2, to[c + 3] = s3;
    }
    for (; c < channels; c++)
        for (uint32_t i = 0; i < p->count; i++)
            to[c] += p->a[i][c] * p->b[i][c];
    p->count = 0;
}

static void pair(pairs *p, const float *a, const float *b, float *to, uint32_t channels)
{
    p->a[p->count] = a;
    p->b[p->count++] = b;
    if (p->count == PAIRS)
        add_pairs(p, to, channels);
}

/* Whether output (oy, ox) takes an input through kernel position (ky, kx), and which one. */
static int find_tap(const qlr_shape *s, uint32_t oy, uint32_t ox, uint32_t ky, uint32_t kx,
                    uint32_t *at)
{
    const int32_t y = (int32_t)(oy * s->stride + ky) - s->pad_top;
    const int32_t x = (int32_t)(ox * s->stride + kx) - s->pad_left;
    *at = (uint32_t)(y * s->in_w + x) * s->in_c;
    return y >= 0 && y < s->in_h && x >= 0 && x < s->in_w;
}

void qlr_depthwise(const qlr_shape *s, const float *x, const float *weight, float *y)
{
    const uint32_t channels = s->out_c;
    pairs found;
    uint32_t at;
    found.count = 0;
    memset(y, 0, sizeof(float) * s->out_h * s->out_w * channels);
    for (uint32_t oy = 0; oy < s->out_h; oy++)
        for (uint32_t ox = 0; ox < s->out_w; ox++, y += channels) {
            const float *w = weight;
            for (uint32_t ky = 0; ky < s->kernel_h; ky++)
                for (uint32_t kx = 0; kx < s->kernel_w; kx++, w += channels)
                    if (find_tap(s, oy, ox, ky, kx, &at))
                        pair(&found, x + at, w, y, channels);
            add_pairs(&found, y, channels);
        }
}

/* Which output takes input `at` (a row or a column) through kernel position k; none: below 0. */
static int32_t output_of(uint32_t at, uint32_t k, uint32_t pad, uint32_t stride, uint32_t outputs)
{
    const uint32_t moved = at + pad - k; /* below 0 it is very large */
    return moved % stride == 0 && moved / stride < outputs ? (int32_t)(moved / stride) : -1;
}

void qlr_depthwise_back(const qlr_shape *s, const float *g, const float *weight, float *dx)
{
    const uint32_t channels = s->out_c;
    pairs found;
    found.count = 0;
    memset(dx, 0, sizeof(float) * s->in_h * s->in_w * channels);
    for (uint32_t iy = 0; iy < s->in_h; iy++)
        for (uint32_t ix = 0; ix < s->in_w; ix++, dx += channels) {
            const float *w = weight;
            for (uint32_t ky = 0; ky < s->kernel_h; ky++) {
                const int32_t oy = output_of(iy, ky, s->pad_top, s->stride, s->out_h);
                for (uint32_t kx = 0; kx < s->kernel_w; kx++, w += channels) {
                    const int32_t ox = output_of(ix, kx, s->pad_left, s->stride, s->out_w);
                    if (oy >= 0 && ox >= 0)
                        pair(&found, g + (uint32_t)(oy * s->out_w + ox) * channels, w, dx, channels);
                }
            }
            add_pairs(&found, dx, channels);
        }
}

void qlr_depthwise_outer(const qlr_shape *s, const float *x, const float *g, float *dweight)
{
    const uint32_t channels = s->out_c;
    pairs found;
    uint32_t at;
    found.count = 0;
    for (uint32_t ky = 0; ky < s->kernel_h; ky++)
        for (uint32_t kx = 0; kx < s->kernel_w; kx++, dweight += channels) {
            for (uint32_t oy = 0; oy < s->out_h; oy++)
                for (uint32_t ox = 0; ox < s->out_w; ox++)
                    if (find_tap(s, oy, ox, ky, kx, &at))
                        pair(&found, x + at, g + (oy * s->out_w + ox) * channels, dweight,
                             channels);
            add_pairs(&found, dweight, channels);
        }
}
