.include "frame.s"

kernel l1_fwd
    PUSH; lw a1,4(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a2,8(a0); lw a0,0(a0)
    bge a6,a7,9f
    slli t5,a4,2; mul t0,a6,t5; add t0,a0,t0; slli t1,a6,2; add a2,a2,t1; sub a7,a7,a6
    srli a5,a7,2; andi a7,a7,3; beqz a5,2f
    lp.setup x1,a5,7f
    add t1,t0,t5; add t2,t1,t5; add t3,t2,t5; mv t4,a1; li s0-s3,0; lp.setup x0,a4,6f
    p.lw s4,4(t4!); p.lw s5,4(t0!); p.lw s6,4(t1!); p.lw s7,4(t2!); p.lw s8,4(t3!)
    fmadd.s s0,s5,s4,s0; fmadd.s s1,s6,s4,s1; fmadd.s s2,s7,s4,s2
6:  fmadd.s s3,s8,s4,s3
    p.sw s0-s3,4(a2!)
7:  mv t0,t3
2:  beqz a7,9f
    srli a4,a4,1; lp.setup x1,a7,7f
    mv t4,a1; li s0,0; li s1,0; lp.setup x0,a4,6f
    p.lw s4,4(t4!); p.lw s5,4(t0!); p.lw s6,4(t4!); p.lw s7,4(t0!); fmadd.s s0,s5,s4,s0
6:  fmadd.s s1,s7,s6,s1
    fadd.s s0,s0,s1
7:  p.sw s0,4(a2!)
9:  POPRET

kernel l2_igrad
    PUSH; lw a1,4(a0); lw a3,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a2,8(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t5,a4,2; slli t1,a6,2; add a0,a0,t1; add a2,a2,t1; sub a7,a7,a6; srli a5,a7,2
    lp.setup x1,a5,7f
    mv t0,a0; mv t4,a1; li s0-s3,0; lp.setup x0,a3,6f
    p.lw s4,4(t4!); lw s6-s8,4(t0); p.lw s5,t5(t0!); fmadd.s s1,s6,s4,s1; fmadd.s s2,s7,s4,s2
    fmadd.s s3,s8,s4,s3
6:  fmadd.s s0,s5,s4,s0
    p.sw s0-s3,4(a2!)
7:  addi a0,a0,16
9:  POPRET

kernel l3_wgrad
    PUSH; lw a1,4(a0); lw a2,8(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0)
    bge a6,a7,9f
    slli t5,a4,2; mul t0,a6,t5; add t0,a2,t0; slli t1,a6,2; add a0,a0,t1; sub a7,a7,a6
    srli a5,a7,2; andi a7,a7,3; srli a4,a4,1; beqz a5,2f
    lp.setup x1,a5,7f
    add t1,t0,t5; add t2,t1,t5; add t3,t2,t5; mv t4,a1; p.lw s0-s3,4(a0!); lp.setup x0,a4,6f
    p.lw s4,4(t4!); p.lw s5,4(t4!); fmul.s s6,s0,s4; fmul.s s7,s1,s4; fmul.s s8,s2,s4
    fmul.s s9,s3,s4; p.sw s6,4(t0!); p.sw s7,4(t1!); p.sw s8,4(t2!); p.sw s9,4(t3!)
    fmul.s s6,s0,s5; fmul.s s7,s1,s5; fmul.s s8,s2,s5; fmul.s s9,s3,s5; p.sw s6,4(t0!)
    p.sw s7,4(t1!); p.sw s8,4(t2!)
6:  p.sw s9,4(t3!)
    nop
7:  mv t0,t3
2:  beqz a7,9f
    lp.setup x1,a7,7f
    mv t4,a1; p.lw s0,4(a0!); lp.setup x0,a4,6f
    p.lw s4,4(t4!); p.lw s5,4(t4!); fmul.s s6,s0,s4; fmul.s s7,s0,s5; p.sw s6,4(t0!)
6:  p.sw s7,4(t0!)
    nop
7:  nop
9:  POPRET

kernel l3a_wgrad
    PUSH; lw a1,4(a0); lw a2,8(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0)
    bge a6,a7,9f
    slli t5,a4,2; mul t0,a6,t5; add t0,a2,t0; slli t1,a6,2; add a0,a0,t1; sub a7,a7,a6
    srli a5,a7,2; andi a7,a7,3; srli a4,a4,1; beqz a5,2f
    lp.setup x1,a5,7f
    add t1,t0,t5; add t2,t1,t5; add t3,t2,t5; mv t4,a1; p.lw s0-s3,4(a0!); lp.setup x0,a4,6f
    p.lw s4,4(t4!); p.lw s5,4(t4!); lw s6,0(t0); lw s7,0(t1); lw s8,0(t2); lw s9,0(t3)
    lw s10,4(t0); lw s11,4(t1); lw gp,4(t2); lw tp,4(t3); fmadd.s s6,s0,s4,s6
    fmadd.s s7,s1,s4,s7; fmadd.s s8,s2,s4,s8; fmadd.s s9,s3,s4,s9; p.sw s6,4(t0!)
    p.sw s7,4(t1!); p.sw s8,4(t2!); p.sw s9,4(t3!); fmadd.s s10,s0,s5,s10; fmadd.s s11,s1,s5,s11
    fmadd.s gp,s2,s5,gp; fmadd.s tp,s3,s5,tp; p.sw s10,4(t0!); p.sw s11,4(t1!); p.sw gp,4(t2!)
6:  p.sw tp,4(t3!)
    nop
7:  mv t0,t3
2:  beqz a7,9f
    lp.setup x1,a7,7f
    mv t4,a1; p.lw s0,4(a0!); lp.setup x0,a4,6f
    p.lw s4,4(t4!); p.lw s5,4(t4!); lw s6,0(t0); lw s7,4(t0); fmadd.s s6,s0,s4,s6
    fmadd.s s7,s0,s5,s7; p.sw s6,4(t0!)
6:  p.sw s7,4(t0!)
    nop
7:  nop
9:  POPRET
