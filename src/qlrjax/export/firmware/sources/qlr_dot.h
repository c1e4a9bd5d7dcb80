/* Integer dot products: two pixels by two output channels at a time.
 *
 * Weights of output channels 2b and 2b + 1 lie together, four inputs of each in turn:
 * [ceil(out / 2)][ceil(in / 4)][2][4], filled up with zeros.
 */
#ifndef QLR_DOT_H
#define QLR_DOT_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_SIMD32) && defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#define QLR_SIMD32 1
#endif

/* Four bytes as a word; compilers make one load of it where the machine has unaligned ones. */
static inline uint32_t qlr_word(const void *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* kappa * acc + lambda, exact in 64 bits. GCC forgets SMULL for a plain product whose factor it has
 * widened elsewhere. */
static inline int64_t qlr_scaled(int32_t acc, const int32_t *scale)
{
#ifdef QLR_SIMD32
    int32_t low = scale[1], high = scale[1] < 0 ? -1 : 0;
    __asm__("smlal %0, %1, %2, %3" : "+r"(low), "+r"(high) : "r"(scale[0]), "r"(acc));
    return (int64_t)((uint64_t)(uint32_t)high << 32 | (uint32_t)low);
#else
    return (int64_t)scale[0] * acc + scale[1];
#endif
}

/* The contract: clip((kappa * acc + lambda) >> shift, 0, code_max). */
static inline uint8_t qlr_requantize(int32_t acc, const int32_t *scale, uint32_t shift,
                                     uint32_t code_max)
{
    const int64_t value = qlr_scaled(acc, scale);
    const int32_t high = (int32_t)(value >> 32);
    if (high < 0)
        return 0;
    const uint32_t code = ((uint32_t)value >> shift) | ((uint32_t)high << 1 << (31u - shift));
    return (uint8_t)((high >> shift) != 0 || code > code_max ? code_max : code);
}

/* The same for a layer that qlrjax has found short: codes have 8 bits, shift is above 0, and whatever
 * the inputs are, the shifted value has 32 bits, so that its upper half need not be looked at. */
static inline uint8_t qlr_requantize_short(int32_t acc, const int32_t *scale, uint32_t shift)
{
    const int64_t value = qlr_scaled(acc, scale);
    const uint32_t high = (uint32_t)((uint64_t)value >> 32);
    const int32_t code = (int32_t)((uint32_t)value >> shift | high << (32u - shift));
#ifdef QLR_SIMD32
    return (uint8_t)__usat(code, 8);
#else
    return (uint8_t)(code < 0 ? 0 : code > 255 ? 255 : code);
#endif
}

#ifdef QLR_SIMD32

/* Bytes 0 and 2, and bytes 1 and 3, as two halves of 16 bits. The rotation is part of SXTB16 and
 * UXTB16, but ACLE has no name for that form and compilers do not find it; and GCC and clang do not
 * agree on the type that __uxtb16 takes. */
static inline int16x2_t qlr_even(uint32_t word)
{
    uint32_t halves;
    __asm__("uxtb16 %0, %1" : "=r"(halves) : "r"(word));
    return (int16x2_t)halves;
}
static inline int16x2_t qlr_odd(uint32_t word)
{
    uint32_t halves;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
    return (int16x2_t)halves;
}
static inline int16x2_t qlr_signed_even(uint32_t word) { return __sxtb16((int8x4_t)word); }
static inline int16x2_t qlr_signed_odd(uint32_t word)
{
    int16x2_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
    return halves;
}

static inline void qlr_dot(const uint8_t *x0, const uint8_t *x1, const int8_t *weight,
                           uint32_t groups, int32_t acc[4])
{
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (const uint8_t *end = x0 + 4 * groups; x0 != end; x0 += 4, x1 += 4, weight += 8) {
        const uint32_t p = qlr_word(x0), q = qlr_word(x1);
        const uint32_t v = qlr_word(weight), w = qlr_word(weight + 4);
        const int16x2_t pe = qlr_even(p), po = qlr_odd(p), qe = qlr_even(q), qo = qlr_odd(q);
        const int16x2_t ve = qlr_signed_even(v), vo = qlr_signed_odd(v);
        a = __smlad(ve, pe, a);
        c = __smlad(ve, qe, c);
        a = __smlad(vo, po, a);
        c = __smlad(vo, qo, c);
        const int16x2_t we = qlr_signed_even(w), wo = qlr_signed_odd(w);
        b = __smlad(we, pe, b);
        d = __smlad(we, qe, d);
        b = __smlad(wo, po, b);
        d = __smlad(wo, qo, d);
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

#else

static inline void qlr_dot(const uint8_t *x0, const uint8_t *x1, const int8_t *weight,
                           uint32_t groups, int32_t acc[4])
{
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (const uint8_t *end = x0 + 4 * groups; x0 != end; x0 += 4, x1 += 4, weight += 8)
        for (uint32_t i = 0; i < 4; i++) {
            const int32_t p = x0[i], q = x1[i], v = weight[i], w = weight[4 + i];
            a += v * p;
            b += w * p;
            c += v * q;
            d += w * q;
        }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

#endif

#endif
