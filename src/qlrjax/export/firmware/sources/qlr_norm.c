#include "qlr_norm.h"

#include <math.h>
#include <string.h>

#include "qlr_state.h"

static qlr_norms *const norms = &qlr_arena.learn.norms;

static float clamp(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

static uint32_t pixels_of(const qlr_layer *own)
{
    return (uint32_t)own->shape.out_h * own->shape.out_w;
}

void qlr_take_running(void)
{
    for (uint32_t c = 0; c != QLR_CHANNELS; c++) {
        norms->mean[c] = qlr_state.mean[c];
        norms->deviation[c] = qlr_state.deviation[c];
        norms->r[c] = 1.0f;
        norms->d[c] = 0.0f;
    }
}

/* Two passes over a slice, then its mean and squares join those so far (Chan et al. 1979); until
 * qlr_measured the deviation holds the sum of squares, and sum_g and sum_gn the slice's. */
void qlr_measure(uint32_t layer, const float *y, uint32_t samples, uint32_t before)
{
    const qlr_layer *own = &qlr_layers[layer];
    const uint32_t channels = own->shape.out_c, rows = samples * pixels_of(own);
    float *mean = norms->mean + own->channel, *squares = norms->deviation + own->channel;
    float *slice_mean = norms->sum_g + own->channel, *slice_squares = norms->sum_gn + own->channel;
    const float n = (float)rows, earlier = (float)(before * pixels_of(own));
    memset(slice_mean, 0, sizeof(float) * channels);
    memset(slice_squares, 0, sizeof(float) * channels);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < channels; c++)
            slice_mean[c] += y[r * channels + c];
    for (uint32_t c = 0; c < channels; c++)
        slice_mean[c] /= n;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < channels; c++) {
            const float off = y[r * channels + c] - slice_mean[c];
            slice_squares[c] += off * off;
        }
    for (uint32_t c = 0; c < channels; c++) {
        const float off = before ? slice_mean[c] - mean[c] : slice_mean[c];
        const float share = n / (n + earlier);
        mean[c] = before ? mean[c] + off * share : off;
        squares[c] = slice_squares[c] + (before ? squares[c] + off * off * earlier * share : 0.0f);
    }
}

void qlr_measured(uint32_t layer, uint32_t samples, const qlr_limits *limits)
{
    const qlr_layer *own = &qlr_layers[layer];
    const float rows = (float)(samples * pixels_of(own));
    for (uint32_t c = own->channel; c < own->channel + own->shape.out_c; c++) {
        norms->deviation[c] = sqrtf(norms->deviation[c] / rows + QLR_BN_EPSILON);
        const float r = norms->deviation[c] / qlr_state.deviation[c];
        const float d = (norms->mean[c] - qlr_state.mean[c]) / qlr_state.deviation[c];
        norms->r[c] = clamp(r, 1.0f / limits->r, limits->r);
        norms->d[c] = clamp(d, -limits->d, limits->d);
    }
}

/* z = (y - mean) * gain + offset of one channel. */
typedef struct {
    float mean, gain, offset;
} line;

static line line_of(const qlr_layer *own, uint32_t channel)
{
    line found = {0.0f, 1.0f, 0.0f};
    if (own->form == QLR_NORMALISED) {
        const uint32_t c = own->channel + channel;
        const float gamma = qlr_state.layers[own->gamma + channel];
        found.mean = norms->mean[c];
        found.gain = gamma * (norms->r[c] / norms->deviation[c]);
        found.offset = gamma * norms->d[c] + qlr_state.layers[own->beta + channel];
    } else if (own->form == QLR_BIASED) {
        found.offset = qlr_state.layers[own->beta + channel];
    }
    return found;
}

void qlr_activate(uint32_t layer, const float *y, float *x, uint32_t samples)
{
    const qlr_layer *own = &qlr_layers[layer];
    const uint32_t channels = own->shape.out_c, end = samples * pixels_of(own) * channels;
    for (uint32_t c = 0; c < channels; c++) {
        const line z = line_of(own, c);
        for (uint32_t i = c; i < end; i += channels)
            x[i] = clamp((y[i] - z.mean) * z.gain + z.offset, own->low, own->high);
    }
}

void qlr_mask(uint32_t layer, const float *y, float *g, uint32_t samples)
{
    const qlr_layer *own = &qlr_layers[layer];
    const uint32_t channels = own->shape.out_c, end = samples * pixels_of(own) * channels;
    for (uint32_t c = 0; c < channels; c++) {
        const line z = line_of(own, c);
        for (uint32_t i = c; i < end; i += channels) {
            const float value = (y[i] - z.mean) * z.gain + z.offset;
            if (!(value > own->low && value < own->high))
                g[i] = 0.0f;
        }
    }
}

void qlr_sum_gradient(uint32_t layer, const float *y, const float *g, uint32_t samples)
{
    const qlr_layer *own = &qlr_layers[layer];
    const uint32_t channels = own->shape.out_c, end = samples * pixels_of(own) * channels;
    for (uint32_t channel = 0; channel < channels; channel++) {
        const uint32_t c = own->channel + channel;
        const float mean = norms->mean[c];
        float sum = 0.0f, product = 0.0f;
        for (uint32_t i = channel; i < end; i += channels) {
            sum += g[i];
            product += g[i] * (y[i] - mean);
        }
        norms->sum_g[c] += sum;
        norms->sum_gn[c] += product / norms->deviation[c];
    }
}

void qlr_sum_bias(uint32_t layer, const float *g, uint32_t samples)
{
    const qlr_layer *own = &qlr_layers[layer];
    const uint32_t channels = own->shape.out_c, end = samples * pixels_of(own) * channels;
    for (uint32_t channel = 0; channel < channels; channel++) {
        float sum = 0.0f;
        for (uint32_t i = channel; i < end; i += channels)
            sum += g[i];
        qlr_state.momentum[own->beta + channel] += sum;
    }
}

void qlr_norm_back(uint32_t layer, const float *y, float *g, uint32_t samples, uint32_t all)
{
    const qlr_layer *own = &qlr_layers[layer];
    const uint32_t channels = own->shape.out_c, end = samples * pixels_of(own) * channels;
    for (uint32_t channel = 0; channel < channels; channel++) {
        const uint32_t c = own->channel + channel;
        const float gain = line_of(own, channel).gain;
        const float rows = (float)(all * pixels_of(own));
        const float mean = all ? norms->sum_g[c] / rows : 0.0f;
        const float slope = all ? norms->sum_gn[c] / rows / norms->deviation[c] : 0.0f;
        for (uint32_t i = channel; i < end; i += channels)
            g[i] = gain * (g[i] - mean - (y[i] - norms->mean[c]) * slope);
    }
}
