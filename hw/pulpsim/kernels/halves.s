# Maps in float16: to float32 when they arrive, from float32 when they leave; integer work and one
# product an element, so no unit for float16 is needed. Words 0: source, 2: target; two halves a word.

# Exponent and mantissa go to their places in a float whose exponent is 112 too small; subnormal
# halves come out right, infinite ones as 65,536.
kernel h1_up
    lw a2,8(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; slli t0,a6,1; add a0,a0,t0; slli t0,a6,2; add a2,a2,t0; srli a7,a7,2
    lui a5,0x77800; lp.setup x0,a7,6f
    p.lw t0,4(a0!); p.lw t3,4(a0!)
    p.extractu t1,t0,14,0; p.extractu t2,t0,0,15; slli t1,t1,13; p.insert t1,t2,0,31
    p.extractu t4,t0,14,16; srli t5,t0,31; slli t4,t4,13; p.insert t4,t5,0,31
    p.extractu a1,t3,14,0; p.extractu t2,t3,0,15; slli a1,a1,13; p.insert a1,t2,0,31
    p.extractu a3,t3,14,16; srli t5,t3,31; slli a3,a3,13; p.insert a3,t5,0,31
    fmul.s t1,t1,a5; fmul.s t4,t4,a5; fmul.s a1,a1,a5; fmul.s a3,a3,a5
    p.sw t1,4(a2!); p.sw t4,4(a2!); p.sw a1,4(a2!)
6:  p.sw a3,4(a2!)
9:  ret

# Rounds to the nearest, ties to even; what is too large becomes infinite.
kernel h1_down
    lw a2,8(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; slli t0,a6,2; add a0,a0,t0; slli t0,a6,1; add a2,a2,t0; srli a7,a7,1
    lui a5,0x07800; lui a4,0x1; addi a4,a4,-1; lui a3,0x8; addi a3,a3,-1024; lp.setup x0,a7,6f
    p.lw t0,4(a0!); p.lw t1,4(a0!); fmul.s t0,t0,a5; fmul.s t1,t1,a5
    srli t2,t0,31; srli t3,t1,31; p.insert t0,zero,0,31; p.insert t1,zero,0,31
    p.extractu t4,t0,0,13; p.extractu t5,t1,0,13; add t0,t0,a4; add t1,t1,a4
    add t0,t0,t4; add t1,t1,t5; srli t0,t0,13; srli t1,t1,13
    p.min t0,t0,a3; p.min t1,t1,a3; p.insert t0,t2,0,15; p.insert t1,t3,0,15
    p.insert t0,t1,15,16
6:  p.sw t0,4(a2!)
9:  ret
