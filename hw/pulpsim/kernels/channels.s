kernel e4_bn
    lw a1,4(a0); lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t0,a6,2; add a1,a1,t0; add a3,a3,t0; mul t0,t0,a4; add a0,a0,t0; add a2,a2,t0
    srli a4,a4,2; sub a7,a7,a6; lp.setup x1,a7,7f
    p.lw t5,4(a1!); p.lw t6,4(a3!); lp.setup x0,a4,6f
    p.lw t0,4(a0!); p.lw t1,4(a0!); p.lw t2,4(a0!); p.lw t3,4(a0!); fmadd.s t0,t0,t5,t6
    fmadd.s t1,t1,t5,t6; fmadd.s t2,t2,t5,t6; fmadd.s t3,t3,t5,t6; p.sw t0,4(a2!)
    p.sw t1,4(a2!); p.sw t2,4(a2!)
6:  p.sw t3,4(a2!)
    nop
7:  nop
9:  ret

kernel e5_stat
    lw a1,4(a0); lw a2,8(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0)
    bge a6,a7,9f
    slli t0,a6,2; add a1,a1,t0; add a2,a2,t0; mul t0,t0,a4; add a0,a0,t0; srli a4,a4,2
    sub a7,a7,a6; lp.setup x1,a7,7f
    li t4,0; li t5,0; lp.setup x0,a4,6f
    p.lw t0,4(a0!); p.lw t1,4(a0!); p.lw t2,4(a0!); p.lw t3,4(a0!); fadd.s t4,t4,t0
    fmadd.s t5,t0,t0,t5; fadd.s t4,t4,t1; fmadd.s t5,t1,t1,t5; fadd.s t4,t4,t2
    fmadd.s t5,t2,t2,t5; fadd.s t4,t4,t3
6:  fmadd.s t5,t3,t3,t5
    p.sw t4,4(a1!)
7:  p.sw t5,4(a2!)
9:  ret

kernel e6a_bnsum
    lw a1,4(a0); lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t0,a6,2; add a1,a1,t0; add a2,a2,t0; mul t0,t0,a4; add a0,a0,t0; add a3,a3,t0
    srli a4,a4,2; sub a7,a7,a6; lp.setup x1,a7,7f
    lw t4,0(a1); lw t5,0(a2); lp.setup x0,a4,6f
    p.lw t0,4(a0!); p.lw t1,4(a3!); p.lw t2,4(a0!); p.lw t3,4(a3!); fadd.s t4,t4,t0
    fmadd.s t5,t0,t1,t5; p.lw a5,4(a0!); p.lw t6,4(a3!); fadd.s t4,t4,t2; fmadd.s t5,t2,t3,t5
    p.lw t0,4(a0!); p.lw t1,4(a3!); fadd.s t4,t4,a5; fmadd.s t5,a5,t6,t5; fadd.s t4,t4,t0
6:  fmadd.s t5,t0,t1,t5
    p.sw t4,4(a1!)
7:  p.sw t5,4(a2!)
9:  ret

kernel e6b_bnbwd
    addi sp,sp,-32; sw s0-s5,0(sp); lw a1,4(a0); lw a2,8(a0); lw a3,12(a0); lw a4,16(a0)
    lw a6,24(a0); lw a7,28(a0); lw s5,32(a0); lw t6,36(a0); lw a5,40(a0); lw a0,0(a0)
    bge a6,a7,9f
    slli t0,a6,2; add a1,a1,t0; add s5,s5,t0; add t6,t6,t0; mul t0,t0,a4; add a0,a0,t0
    add a2,a2,t0; add a3,a3,t0; srli a4,a4,2; sub a7,a7,a6; lui t0,0x80000; xor a5,a5,t0
    lp.setup x1,a7,7f
    p.lw t3,4(t6!); p.lw t0,4(a1!); p.lw t1,4(s5!); fmul.s t2,t3,a5; fmul.s t5,t2,t0
    fmul.s t4,t2,t1; lp.setup x0,a4,6f
    p.lw t0,4(a0!); p.lw t1,4(a3!); p.lw t2,4(a0!); p.lw s0,4(a3!); p.lw s1,4(a0!)
    p.lw s2,4(a3!); p.lw s3,4(a0!); p.lw s4,4(a3!); fmadd.s t0,t0,t3,t5; fmadd.s t2,t2,t3,t5
    fmadd.s s1,s1,t3,t5; fmadd.s s3,s3,t3,t5; fmadd.s t0,t1,t4,t0; fmadd.s t2,s0,t4,t2
    fmadd.s s1,s2,t4,s1; fmadd.s s3,s4,t4,s3; p.sw t0,4(a2!); p.sw t2,4(a2!); p.sw s1,4(a2!)
6:  p.sw s3,4(a2!)
    nop
7:  nop
9:  lw s0-s5,0(sp); addi sp,sp,32; ret

kernel e7_gapf
    lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0)
    bge a6,a7,9f
    slli t0,a6,2; add a2,a2,t0; mul t0,t0,a4; add a0,a0,t0; srli a4,a4,2; sub a7,a7,a6
    lp.setup x1,a7,7f
    li t4,0; li t5,0; lp.setup x0,a4,6f
    p.lw t0,4(a0!); p.lw t1,4(a0!); p.lw t2,4(a0!); p.lw t3,4(a0!); fadd.s t4,t4,t0
    fadd.s t5,t5,t1; fadd.s t4,t4,t2
6:  fadd.s t5,t5,t3
    fadd.s t4,t4,t5; fmul.s t4,t4,a3
7:  p.sw t4,4(a2!)
9:  ret

kernel e7_gapb
    lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0)
    bge a6,a7,9f
    slli t0,a6,2; add a0,a0,t0; mul t0,t0,a4; add a2,a2,t0; srli a4,a4,2; sub a7,a7,a6
    lp.setup x1,a7,7f
    p.lw t0,4(a0!); nop; fmul.s t0,t0,a3; lp.setup x0,a4,6f
    p.sw t0,4(a2!); p.sw t0,4(a2!); p.sw t0,4(a2!)
6:  p.sw t0,4(a2!)
    nop
7:  nop
9:  ret
