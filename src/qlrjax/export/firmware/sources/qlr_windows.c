#include "qlr_windows.h"

/* The part of a window that lies inside the image. */
typedef struct {
    uint32_t top, bottom, left, right;
} window;

static uint32_t within(uint32_t at, uint32_t pad, uint32_t size)
{
    return at < pad ? 0 : at - pad < size ? at - pad : size;
}

static window window_at(const qlr_shape *s, uint32_t oy, uint32_t ox)
{
    const uint32_t y = oy * s->stride, x = ox * s->stride;
    const window found = {within(y, s->pad_top, s->in_h),
                          within(y + s->kernel_h, s->pad_top, s->in_h),
                          within(x, s->pad_left, s->in_w),
                          within(x + s->kernel_w, s->pad_left, s->in_w)};
    return found;
}

/* Place of the first maximum of a window in one channel. */
static uint32_t largest(const qlr_shape *s, const window *at, const float *x, uint32_t channel)
{
    uint32_t best = (at->top * s->in_w + at->left) * s->in_c + channel;
    for (uint32_t y = at->top; y < at->bottom; y++)
        for (uint32_t z = at->left; z < at->right; z++) {
            const uint32_t i = (y * s->in_w + z) * s->in_c + channel;
            best = x[i] > x[best] ? i : best;
        }
    return best;
}

static float mean(const qlr_shape *s, const window *at, const float *x, uint32_t channel)
{
    float sum = 0.0f;
    for (uint32_t y = at->top; y < at->bottom; y++)
        for (uint32_t z = at->left; z < at->right; z++)
            sum += x[(y * s->in_w + z) * s->in_c + channel];
    return sum / (float)(s->kernel_h * s->kernel_w);
}

void qlr_pool_windows(const qlr_shape *s, const float *x, float *y)
{
    for (uint32_t oy = 0; oy < s->out_h; oy++)
        for (uint32_t ox = 0; ox < s->out_w; ox++) {
            const window at = window_at(s, oy, ox);
            for (uint32_t c = 0; c < s->out_c; c++)
                *y++ = s->kind == QLR_MAX_POOL ? x[largest(s, &at, x, c)] : mean(s, &at, x, c);
        }
}

static void spread(const qlr_shape *s, const window *at, float g, float *dx, uint32_t channel)
{
    const float share = g / (float)(s->kernel_h * s->kernel_w);
    for (uint32_t y = at->top; y < at->bottom; y++)
        for (uint32_t z = at->left; z < at->right; z++)
            dx[(y * s->in_w + z) * s->in_c + channel] += share;
}

void qlr_pool_windows_back(const qlr_shape *s, const float *x, const float *g, float *dx)
{
    for (uint32_t oy = 0; oy < s->out_h; oy++)
        for (uint32_t ox = 0; ox < s->out_w; ox++) {
            const window at = window_at(s, oy, ox);
            for (uint32_t c = 0; c < s->out_c; c++, g++) {
                if (s->kind == QLR_MAX_POOL)
                    dx[largest(s, &at, x, c)] += *g;
                else
                    spread(s, &at, *g, dx, c);
            }
        }
}
