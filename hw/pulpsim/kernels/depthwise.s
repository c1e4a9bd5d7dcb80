.include "frame.s"

.macro DPH a0_,a1_,a2_,b0_,b1_,b2_,n0_,n1_,n2_
    lw \n1_,4(t0); lw \n2_,8(t0); p.lw \n0_,t2(t0!); fmul.s t6,\a0_,s0; fmadd.s t6,\a1_,s1,t6
    fmadd.s t6,\a2_,s2,t6; fmadd.s t6,\b0_,s3,t6; fmadd.s t6,\b1_,s4,t6; fmadd.s t6,\b2_,s5,t6
    fmadd.s t6,\n1_,s7,t6; fmadd.s t6,\n2_,s8,t6; fmadd.s t6,\n0_,s6,t6
.endm

.macro DWCOL name,flip
kernel \name
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t2,t4,2; addi a5,t4,-2; slli a5,a5,2; addi t5,t3,-2; mul t0,t3,t2; mul t1,t5,a5
    mul t6,t0,a6; add a0,a0,t6; mul t6,t1,a6; add a2,a2,t6; li t6,36; mul t6,t6,a6; add a1,a1,t6
    sub t0,t0,a5; sub t1,t1,a5; sw t0,56(sp); sw t1,60(sp); li t6,0x5556; mul a3,t5,t6
    srli a3,a3,16; li t6,3; mul t6,a3,t6; sub a4,t5,t6
1:  
.if \flip
    p.lw s8,4(a1!); p.lw s7,4(a1!); p.lw s6,4(a1!); p.lw s5,4(a1!); p.lw s4,4(a1!)
    p.lw s3,4(a1!); p.lw s2,4(a1!); p.lw s1,4(a1!); p.lw s0,4(a1!)
.else
    p.lw s0-s8,4(a1!)
.endif
    srli t0,a5,2; lp.setup x1,t0,7f
    mv t0,a0; mv t1,a2; lw s10,4(t0); lw s11,8(t0); p.lw s9,t2(t0!); lw tp,4(t0); lw ra,8(t0)
    p.lw gp,t2(t0!); lp.setup x0,a3,6f
    DPH s9,s10,s11,gp,tp,ra,t3,t4,t5; p.sw t6,a5(t1!); DPH gp,tp,ra,t3,t4,t5,s9,s10,s11
    p.sw t6,a5(t1!); DPH t3,t4,t5,s9,s10,s11,gp,tp,ra
6:  p.sw t6,a5(t1!)
    beqz a4,5f
    DPH s9,s10,s11,gp,tp,ra,t3,t4,t5; p.sw t6,a5(t1!); addi t6,a4,-1; beqz t6,5f
    DPH gp,tp,ra,t3,t4,t5,s9,s10,s11; p.sw t6,a5(t1!)
5:  addi a0,a0,4
7:  addi a2,a2,4
    lw t0,56(sp); lw t1,60(sp); addi a6,a6,1; add a0,a0,t0; add a2,a2,t1; blt a6,a7,1b
9:  POPRET
.endm

    DWCOL d1_col,0

    DWCOL d3_col,1

kernel d1s_s2
    PUSH; lw a1,4(a0); lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t6,a4,2; mul t0,a3,t6; mul t0,t0,a6; add a0,a0,t0; li t1,36; mul t0,t1,a6; add a1,a1,t0
    addi a3,a3,-1; srli a3,a3,1; addi a5,a4,-1; srli a5,a5,1; mul t0,a3,a5; mul t0,t0,a6
    slli t0,t0,2; add a2,a2,t0
1:  p.lw s0-s8,4(a1!); lp.setup x1,a3,7f
    mv t0,a0; add t1,a0,t6; add t2,t1,t6; lp.setup x0,a5,6f
    lw s9,4(t0); lw s10,8(t0); p.lw s11,8(t0!); lw gp,4(t1); lw tp,8(t1); p.lw t3,8(t1!)
    fmul.s t4,s11,s0; fmadd.s t4,s9,s1,t4; fmadd.s t4,s10,s2,t4; lw s9,4(t2); lw s10,8(t2)
    p.lw s11,8(t2!); fmadd.s t4,t3,s3,t4; fmadd.s t4,gp,s4,t4; fmadd.s t4,tp,s5,t4
    fmadd.s t4,s11,s6,t4; fmadd.s t4,s9,s7,t4; fmadd.s t4,s10,s8,t4
6:  p.sw t4,4(a2!)
    add a0,a0,t6
7:  add a0,a0,t6
    add a0,a0,t6; addi a6,a6,1; blt a6,a7,1b
9:  POPRET

.macro DS2 a0_,a1_,a2_,b0_,b1_,b2_,n0_,n1_,n2_
    lw \b1_,4(t0); lw \b2_,8(t0); p.lw \b0_,t2(t0!); lw \n1_,4(t0); lw \n2_,8(t0)
    p.lw \n0_,t2(t0!); fmul.s t6,\a0_,s0; fmadd.s t6,\a1_,s1,t6; fmadd.s t6,\a2_,s2,t6
    fmadd.s t6,\b0_,s3,t6; fmadd.s t6,\b1_,s4,t6; fmadd.s t6,\b2_,s5,t6; fmadd.s t6,\n0_,s6,t6
    fmadd.s t6,\n1_,s7,t6; fmadd.s t6,\n2_,s8,t6
.endm

kernel d1s_col
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t2,t4,2; srli a5,t4,1; slli a5,a5,2; srli t5,t3,1; mul t0,t3,t2; mul t1,t5,a5
    mul t6,t0,a6; add a0,a0,t6; mul t6,t1,a6; add a2,a2,t6; li t6,36; mul t6,t6,a6; add a1,a1,t6
    sub t0,t0,a5; sub t0,t0,a5; sub t1,t1,a5; sw t0,56(sp); sw t1,60(sp); srli a3,t5,1
    andi a4,t5,1
1:  p.lw s0-s8,4(a1!); srli t0,a5,2; lp.setup x1,t0,7f
    mv t0,a0; mv t1,a2; lw s10,4(t0); lw s11,8(t0); p.lw s9,t2(t0!); lp.setup x0,a3,6f
    DS2 s9,s10,s11,gp,tp,ra,t3,t4,t5; p.sw t6,a5(t1!); DS2 t3,t4,t5,gp,tp,ra,s9,s10,s11
6:  p.sw t6,a5(t1!)
    beqz a4,5f
    DS2 s9,s10,s11,gp,tp,ra,t3,t4,t5; p.sw t6,a5(t1!)
5:  addi a0,a0,8
7:  addi a2,a2,4
    lw t0,56(sp); lw t1,60(sp); addi a6,a6,1; add a0,a0,t0; add a2,a2,t1; blt a6,a7,1b
9:  POPRET

.macro TS2 a_,c_,b_,d_
    p.lw \b_,4(t0!); p.lw \d_,4(t1!); fmul.s t3,\a_,s4; fmul.s t4,\a_,s5; fmul.s t5,\a_,s7
    fmul.s t6,\a_,s8; fmadd.s t4,\b_,s3,t4; fmadd.s t5,\c_,s1,t5; fmadd.s t6,\b_,s6,t6
    fmadd.s t6,\c_,s2,t6; fmadd.s t6,\d_,s0,t6; p.sw t3,4(a2!); p.sw t4,4(a2!); p.sw t5,4(t2!)
.endm

kernel d3s_igrad
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli a5,t4,2; mul t0,t3,a5; mul t0,t0,a6; add a0,a0,t0; addi t3,t3,-1; addi t4,t4,-1
    slli tp,t4,3; mul t0,t3,tp; slli t0,t0,1; mul t0,t0,a6; add a2,a2,t0; li t6,36; mul t6,t6,a6
    add a1,a1,t6; srli a3,t4,1; andi a4,t4,1; mv ra,t3; sub a7,a7,a6
1:  p.lw s0-s8,4(a1!); lp.setup x1,ra,7f
    mv t0,a0; add t1,a0,a5; add t2,a2,tp; p.lw s9,4(t0!); p.lw s10,4(t1!); lp.setup x0,a3,6f
    TS2 s9,s10,s11,gp; p.sw t6,4(t2!); TS2 s11,gp,s9,s10
6:  p.sw t6,4(t2!)
    beqz a4,5f
    TS2 s9,s10,s11,gp; p.sw t6,4(t2!)
5:  mv a2,t2
7:  add a0,a0,a5
    add a0,a0,a5; addi a7,a7,-1; bnez a7,1b
9:  POPRET
