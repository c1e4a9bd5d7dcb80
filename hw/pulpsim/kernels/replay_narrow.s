# Replays of 1 to 6 bits, eight codes a step: narrowed with rounding and packed; 1 to 5 bits unpacked.

# Codes of 1 to 4 bits: one load has all eight.
.macro ONELOAD name,bits
kernel \name
    lw a2,8(a0); lw a3,12(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; srli t0,a6,3; li t1,\bits; mul t0,t0,t1; add a0,a0,t0; slli t0,a6,2
    add a2,a2,t0; srli a7,a7,3; lui a4,0x4b000; fmul.s a5,a4,a3; lp.setup x0,a7,6f
    p.lw t0,\bits(a0!); p.extractu t1,t0,\bits-1,0; p.extractu t2,t0,\bits-1,\bits
    p.extractu t3,t0,\bits-1,2*\bits; p.extractu t4,t0,\bits-1,3*\bits
    p.extractu t5,t0,\bits-1,4*\bits; p.extractu t6,t0,\bits-1,5*\bits
    p.extractu a1,t0,\bits-1,7*\bits; p.extractu t0,t0,\bits-1,6*\bits
    DEQUANTIZE
6:  p.sw a1,4(a2!)
9:  ret
.endm

# OR with 2^23 makes floats of the codes; the product takes 2^23 * scale off again.
.macro DEQUANTIZE
    or t1,t1,a4; or t2,t2,a4; or t3,t3,a4; or t4,t4,a4
    fmsub.s t1,t1,a3,a5; fmsub.s t2,t2,a3,a5; fmsub.s t3,t3,a3,a5; fmsub.s t4,t4,a3,a5
    or t5,t5,a4; or t6,t6,a4; or t0,t0,a4; or a1,a1,a4; p.sw t1,4(a2!); p.sw t2,4(a2!)
    p.sw t3,4(a2!); p.sw t4,4(a2!); fmsub.s t5,t5,a3,a5; fmsub.s t6,t6,a3,a5
    fmsub.s t0,t0,a3,a5; fmsub.s a1,a1,a3,a5; p.sw t5,4(a2!); p.sw t6,4(a2!); p.sw t0,4(a2!)
.endm

    ONELOAD e9_unp1,1

    ONELOAD e9_unp2,2

    ONELOAD e9_unp3,3

    ONELOAD e9_unp4,4

# Five bytes: the second load begins in the third of them.
kernel e9_unp5
    lw a2,8(a0); lw a3,12(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; srli t0,a6,3; li t1,5; mul t0,t0,t1; add a0,a0,t0; slli t0,a6,2
    add a2,a2,t0; srli a7,a7,3; lui a4,0x4b000; fmul.s a5,a4,a3; lp.setup x0,a7,6f
    p.lw t0,1(a0!); p.lw a6,4(a0!); p.extractu t1,t0,4,0; p.extractu t2,t0,4,5
    p.extractu t3,t0,4,10; p.extractu t4,t0,4,15; p.extractu t5,t0,4,20; p.extractu t6,a6,4,17
    p.extractu t0,a6,4,22; p.extractu a1,a6,4,27
    DEQUANTIZE
6:  p.sw a1,4(a2!)
9:  ret

# Four codes of a word, each times 255 / (2^bits - 1) rounded, side by side from bit 0.
.macro FOUR to,from,bits
    p.extractu \to,\from,7,0; p.extractu t4,\from,7,8; p.extractu t5,\from,7,16
    p.extractu t6,\from,7,24; p.muluRN \to,\to,a4,16; p.muluRN t4,t4,a4,16
    p.muluRN t5,t5,a4,16; p.muluRN t6,t6,a4,16; p.insert \to,t4,\bits-1,\bits
    p.insert \to,t5,\bits-1,2*\bits; p.insert \to,t6,\bits-1,3*\bits
.endm

.macro ROUND name,bits,factor
kernel \name
    lw a2,8(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; add a0,a0,a6; srli t0,a6,3; li t1,\bits; mul t0,t0,t1; add a2,a2,t0
    srli a7,a7,3; li a4,\factor; lp.setup x0,a7,6f
    p.lw t0,4(a0!); p.lw t1,4(a0!); FOUR t2,t0,\bits; FOUR t3,t1,\bits
.if \bits==6
    p.sw t2,2(a2!); srli t2,t2,16; slli t3,t3,8; or t3,t3,t2
6:  p.sw t3,4(a2!)
.endif
.if \bits==5
    p.sw t2,1(a2!); srli t2,t2,8; slli t3,t3,12; or t3,t3,t2
6:  p.sw t3,4(a2!)
.endif
.if \bits==4
    p.insert t2,t3,15,16
6:  p.sw t2,4(a2!)
.endif
.if \bits==3
    p.insert t2,t3,11,12; p.sb t2,1(a2!); srli t2,t2,8; p.sb t2,1(a2!); srli t2,t2,8
6:  p.sb t2,1(a2!)
.endif
.if \bits==2
    p.sb t2,1(a2!)
6:  p.sb t3,1(a2!)
.endif
.if \bits==1
    p.insert t2,t3,3,4
6:  p.sb t2,1(a2!)
.endif
9:  ret
.endm

    ROUND e9_rnd1,1,257

    ROUND e9_rnd2,2,771

    ROUND e9_rnd3,3,1799

    ROUND e9_rnd4,4,3855

    ROUND e9_rnd5,5,7967

    ROUND e9_rnd6,6,16191
