.include "frame.s"

# Sums of two maps of codes under the contract: kappa * a + kappa_b * b + lam in 64 bits (not measured).
kernel i7w_add
    PUSH; lw a1,4(a0); lw a2,8(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw s4,32(a0)
    lw s5,36(a0); lw s6,40(a0); lw s7,44(a0); lw a0,0(a0); bge a6,a7,9f
    mul t0,a6,a4; add a0,a0,t0; add a1,a1,t0; add a2,a2,t0; slli t0,a6,2; add s4,s4,t0
    add s5,s5,t0; add s6,s6,t0; sub a7,a7,a6; sub s8,zero,s7; lp.setup x1,a7,7f
    p.lw s2,4(s6!); p.lw s0,4(s4!); p.lw s1,4(s5!); srai s3,s2,31; lp.setup x0,a4,6f
    p.lbu t0,1(a0!); p.lbu t1,1(a1!); mulh t2,t0,s0; mul t0,t0,s0; mulh t3,t1,s1; mul t1,t1,s1
    add t2,t2,t3; add t0,t0,t1; sltu t3,t0,t1; add t2,t2,t3; add t0,t0,s2; sltu t3,t0,s2
    add t2,t2,s3; add t2,t2,t3; srl t0,t0,s7; sll t2,t2,s8; or t0,t0,t2; p.clipu t0,t0,9
6:  p.sb t0,1(a2!)
    nop
7:  nop
9:  POPRET

# Largest codes of a window, four channels a word (not measured).
kernel i8_max
    lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0); lw a7,28(a0)
    lw t5,32(a0); lw t6,36(a0); lw a0,0(a0); bge a6,a7,9f
    mul t0,a6,t5; add a0,a0,t0; mul t0,a6,a5; add a2,a2,t0; sub a7,a7,a6
1:  mv t1,a0; srli a1,a5,2
2:  li t3,0; mv t4,t1; lp.setup x1,a3,7f
    mv t2,t4; lp.setup x0,a4,6f
    p.lw t0,a5(t2!)
6:  pv.maxu.b t3,t3,t0
7:  add t4,t4,t6
    p.sw t3,4(a2!); addi t1,t1,4; addi a1,a1,-1; bnez a1,2b
    add a0,a0,t5; addi a7,a7,-1; bnez a7,1b
9:  ret

# Sums of two FP32 maps (not measured).
kernel e11_add
    lw a1,4(a0); lw a2,8(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    slli t0,a6,2; add a0,a0,t0; add a1,a1,t0; add a2,a2,t0; sub a7,a7,a6; srli a7,a7,2
    lp.setup x0,a7,6f
    p.lw t0,4(a0!); p.lw t1,4(a1!); p.lw t2,4(a0!); p.lw t3,4(a1!); p.lw t4,4(a0!)
    p.lw t5,4(a1!); p.lw t6,4(a0!); p.lw a3,4(a1!); fadd.s t0,t0,t1; fadd.s t2,t2,t3
    fadd.s t4,t4,t5; fadd.s t6,t6,a3; p.sw t0,4(a2!); p.sw t2,4(a2!); p.sw t4,4(a2!)
6:  p.sw t6,4(a2!)
9:  ret
