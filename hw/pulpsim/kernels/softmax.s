.include "frame.s"

kernel e8_smx
    PUSH; lw a1,4(a0); lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0)
    lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    bnez a6,9f
    mv t0,a0; p.lw t2,4(t0!); addi t1,a4,-1; lp.setup x0,t1,6f
    p.lw t3,4(t0!); nop
6:  fmax.s t2,t2,t3
    li s0,0x3fb8aa3b; fmul.s s1,t2,s0; li s2,0xc2fc0000; li s3,0x4b400000; li s4,0x3f800001
    li s5,0x3f317218; li s6,0x3e75fc83; li s7,0x3d6357b6; li s8,0x3c1e8838; li s9,0x3aaf8448
    li s10,0; mv t0,a0; mv t1,a2; lp.setup x0,a4,6f
    p.lw t3,4(t0!); nop; fsub.s t3,t3,t2; fmul.s t3,t3,s0; p.minu t3,t3,s2; fadd.s t4,t3,s3
    fsub.s t5,t4,s3; fsub.s t3,t3,t5; fmadd.s t5,s9,t3,s8; fmadd.s t5,t5,t3,s7
    fmadd.s t5,t5,t3,s6; fmadd.s t5,t5,t3,s5; fmadd.s t5,t5,t3,s4; slli t4,t4,23; add t5,t5,t4
    p.sw t5,4(t1!)
6:  fadd.s s10,s10,t5
    li t0,0x7ef311c3; sub t0,t0,s10; li t1,0x40000000; fnmsub.s t3,s10,t0,t1; fmul.s t0,t0,t3
    fnmsub.s t3,s10,t0,t1; fmul.s t0,t0,t3; fnmsub.s t3,s10,t0,t1; fmul.s t0,t0,t3
    fmul.s t0,t0,a5; mv t1,a2; srli t5,a4,1; lp.setup x0,t5,6f
    lw t3,0(t1); lw t4,4(t1); fmul.s t3,t3,t0; fmul.s t4,t4,t0; p.sw t3,4(t1!)
6:  p.sw t4,4(t1!)
    andi t5,a4,1; beqz t5,5f
    lw t3,0(t1); nop; fmul.s t3,t3,t0; sw t3,0(t1)
5:  slli t5,a3,2; add t1,a2,t5; lw t3,0(t1); add t4,a0,t5; lw t4,0(t4); fsub.s t3,t3,a5
    sw t3,0(t1); fsub.s t2,t2,t4; srli t0,s10,23; addi t0,t0,-127; fcvt.s.w t0,t0; slli t1,s10,9
    srli t1,t1,9; li t3,0x3f800000; or t1,t1,t3; li t3,0x3fc00000; fsub.s t1,t1,t3
    li t3,0xbbc4d30e; li t4,0x3c27be0a; fmadd.s t3,t3,t1,t4; li t4,0xbc6c1a3d
    fmadd.s t3,t3,t1,t4; li t4,0x3cd4be9a; fmadd.s t3,t3,t1,t4; li t4,0xbd4a55f6
    fmadd.s t3,t3,t1,t4; li t4,0x3dca532b; fmadd.s t3,t3,t1,t4; li t4,0xbe638e25
    fmadd.s t3,t3,t1,t4; li t4,0x3f2aaaa2; fmadd.s t3,t3,t1,t4; li t4,0x3ecf991f
    fmadd.s t3,t3,t1,t4; li t4,0x3f317218; fmadd.s t3,t0,t4,t3; fadd.s t3,t3,t2; sw t3,0(a1)
9:  POPRET
