kernel k_empty
    ret

kernel xmm_naive
    lw a1,4(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0); lw a7,28(a0); lw a2,8(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t6,a5,2; slli t5,a4,2; mul t0,a6,t5; add a0,a0,t0; mul t0,a6,t6; add a2,a2,t0
1:  mv a3,a1; lp.setup x1,a5,7f
    mv t0,a0; mv t1,a3; li t2,0; lp.setup x0,a4,6f
    p.lw t3,4(t0!); p.lw t4,t6(t1!)
6:  fmadd.s t2,t3,t4,t2
    p.sw t2,4(a2!)
7:  addi a3,a3,4
    add a0,a0,t5; addi a6,a6,1; blt a6,a7,1b
9:  ret

kernel xmm_naive_T
    lw a1,4(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0); lw a7,28(a0); lw a2,8(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t6,a5,2; slli t5,a4,2; mul t0,a6,t5; add a0,a0,t0; mul t0,a6,t6; add a2,a2,t0
1:  mv t1,a1; lp.setup x1,a5,7f
    mv t0,a0; li t2,0; lp.setup x0,a4,6f
    p.lw t3,4(t0!); p.lw t4,4(t1!)
6:  fmadd.s t2,t3,t4,t2
7:  p.sw t2,4(a2!)
    add a0,a0,t5; addi a6,a6,1; blt a6,a7,1b
9:  ret

kernel xmm_2x4
    addi sp,sp,-64; sw s0-s11,0(sp); lw a1,4(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0)
    lw a7,28(a0); lw a2,8(a0); lw a0,0(a0); slli t6,a5,2; slli t5,a4,2; mul t0,a6,t5
    add a0,a0,t0; mul t0,a6,t6; add a2,a2,t0; srli s8,a5,2
1:  addi t0,a6,1; bge t0,a7,9f
    mv a3,a1; add s9,a2,t6; lp.setup x1,s8,7f
    mv t0,a0; add t1,a0,t5; mv t2,a3; li s0-s7,0; lp.setup x0,a4,6f
    p.lw t3,4(t0!); lw s10,4(t2); lw s11,8(t2); lw gp,12(t2); p.lw tp,t6(t2!); p.lw t4,4(t1!)
    fmadd.s s1,t3,s10,s1; fmadd.s s2,t3,s11,s2; fmadd.s s3,t3,gp,s3; fmadd.s s0,t3,tp,s0
    fmadd.s s4,t4,tp,s4; fmadd.s s5,t4,s10,s5; fmadd.s s6,t4,s11,s6
6:  fmadd.s s7,t4,gp,s7
    p.sw s0-s3,4(a2!); p.sw s4-s7,4(s9!)
7:  addi a3,a3,16
    add a2,a2,t6; add a0,a0,t5; add a0,a0,t5; addi a6,a6,2; j 1b
9:  lw s0-s11,0(sp); addi sp,sp,64; ret

kernel xdw_naive
    lw a1,4(a0); lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t6,a4,2; addi t5,t6,-12; mul t0,a3,t6; mul t0,t0,a6; add a0,a0,t0; li t1,36
    mul t0,t1,a6; add a1,a1,t0; addi t1,a3,-2; addi a5,a4,-2; mul t0,t1,a5; mul t0,t0,a6
    slli t0,t0,2; add a2,a2,t0
1:  addi t4,a3,-2
2:  mv a3,a5; mv t3,a0
3:  mv t0,t3; mv t1,a1; li t2,0; lp.setupi x1,3,7f
    lp.setupi x0,3,6f
    p.lw gp,4(t1!); p.lw tp,4(t0!)
6:  fmadd.s t2,gp,tp,t2
7:  add t0,t0,t5
    p.sw t2,4(a2!); addi t3,t3,4; addi a3,a3,-1; bnez a3,3b
    add a0,a0,t6; addi t4,t4,-1; bnez t4,2b
    add a0,a0,t6; add a0,a0,t6; addi a1,a1,36; addi a6,a6,1; srli t0,t6,2; addi t0,t0,0
    mv a3,t0; blt a6,a7,1b
9:  ret

kernel xdw_unroll
    addi sp,sp,-64; sw s0-s11,0(sp); lw a1,4(a0); lw a2,8(a0); lw a3,12(a0); lw a4,16(a0)
    lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    slli t6,a4,2; mul t0,a3,t6; mul t0,t0,a6; add a0,a0,t0; li t1,36; mul t0,t1,a6; add a1,a1,t0
    addi t1,a3,-2; addi a5,a4,-2; mul t0,t1,a5; mul t0,t0,a6; slli t0,t0,2; add a2,a2,t0
1:  p.lw s0-s8,4(a1!); addi t5,a3,-2; lp.setup x1,t5,7f
    mv t0,a0; add t1,a0,t6; add t2,t1,t6; lp.setup x0,a5,6f
    lw s9,4(t0); lw s10,8(t0); p.lw s11,4(t0!); lw gp,4(t1); lw tp,8(t1); p.lw t3,4(t1!)
    fmul.s t4,s11,s0; fmadd.s t4,s9,s1,t4; fmadd.s t4,s10,s2,t4; lw s9,4(t2); lw s10,8(t2)
    p.lw s11,4(t2!); fmadd.s t4,t3,s3,t4; fmadd.s t4,gp,s4,t4; fmadd.s t4,tp,s5,t4
    fmadd.s t4,s11,s6,t4; fmadd.s t4,s9,s7,t4; fmadd.s t4,s10,s8,t4
6:  p.sw t4,4(a2!)
7:  add a0,a0,t6
    add a0,a0,t6; add a0,a0,t6; addi a6,a6,1; blt a6,a7,1b
9:  lw s0-s11,0(sp); addi sp,sp,64; ret

kernel xmm_i8_4x2
    addi sp,sp,-64; sw s0-s11,0(sp); sw ra,48(sp); lw a1,4(a0); lw a2,8(a0); lw a3,12(a0)
    lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); mul t0,a6,a4; add a1,a1,t0
    mul t0,a6,a3; slli t0,t0,2; add a2,a2,t0; srli a5,a3,2; srli t6,a4,2; slli a3,a3,2
1:  addi t0,a6,1; bge t0,a7,9f
    mv t0,a0; add t1,t0,a4; add t2,t1,a4; add t3,t2,a4; add s11,a2,a3; mv ra,a5
2:  mv t4,a1; add t5,a1,a4; li s0-s7,0; lp.setup x0,t6,6f
    p.lw s8,4(t0!); p.lw s9,4(t1!); p.lw s10,4(t2!); p.lw gp,4(t3!); p.lw tp,4(t4!)
    p.lw a0,4(t5!); pv.sdotsp.b s0,s8,tp; pv.sdotsp.b s1,s9,tp; pv.sdotsp.b s2,s10,tp
    pv.sdotsp.b s3,gp,tp; pv.sdotsp.b s4,s8,a0; pv.sdotsp.b s5,s9,a0; pv.sdotsp.b s6,s10,a0
6:  pv.sdotsp.b s7,gp,a0
    p.sw s0-s3,4(a2!); p.sw s4-s7,4(s11!); mv t0,t3; add t1,t0,a4; add t2,t1,a4; add t3,t2,a4
    addi ra,ra,-1; bnez ra,2b
    add a2,a2,a3; add a1,a1,a4; add a1,a1,a4; addi a6,a6,2; srli tp,a3,2; mul tp,tp,a4
    sub a0,t0,tp; j 1b
9:  lw s0-s11,0(sp); lw ra,48(sp); addi sp,sp,64; ret
