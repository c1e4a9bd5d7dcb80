.include "frame.s"

.macro WPH a0_,a1_,a2_,b0_,b1_,b2_,n0_,n1_,n2_
    p.lw t6,4(a2!); p.lw \n0_,4(t0!); p.lw \n1_,4(t1!); p.lw \n2_,4(t2!); fmadd.s s0,\a0_,t6,s0
    fmadd.s s3,\a1_,t6,s3; fmadd.s s6,\a2_,t6,s6; fmadd.s s1,\b0_,t6,s1; fmadd.s s4,\b1_,t6,s4
    fmadd.s s7,\b2_,t6,s7; fmadd.s s2,\n0_,t6,s2; fmadd.s s5,\n1_,t6,s5
.endm

.macro DWG name,acc
kernel \name
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli a5,t4,2; addi t5,t3,-2; addi t4,t4,-2; mul t0,t3,a5; mul t0,t0,a6; add a0,a0,t0
    mul t0,t4,t5; slli t0,t0,2; mul t0,t0,a6; add a2,a2,t0; li t6,36; mul t6,t6,a6; add a1,a1,t6
    sw t5,56(sp); li t6,0x5556; mul a3,t4,t6; srli a3,a3,16; li t6,3; mul t6,a3,t6; sub a4,t4,t6
1:  lw t0,56(sp)
.if \acc
    lw s0-s8,0(a1)
.else
    li s0-s8,0
.endif
    lp.setup x1,t0,7f
    mv t0,a0; add t1,a0,a5; add t2,t1,a5; p.lw s9,4(t0!); p.lw s10,4(t1!); p.lw s11,4(t2!)
    p.lw gp,4(t0!); p.lw tp,4(t1!); p.lw ra,4(t2!); lp.setup x0,a3,6f
    WPH s9,s10,s11,gp,tp,ra,t3,t4,t5; fmadd.s s8,t5,t6,s8; WPH gp,tp,ra,t3,t4,t5,s9,s10,s11
    fmadd.s s8,s11,t6,s8; WPH t3,t4,t5,s9,s10,s11,gp,tp,ra
6:  fmadd.s s8,ra,t6,s8
    beqz a4,5f
    WPH s9,s10,s11,gp,tp,ra,t3,t4,t5; fmadd.s s8,t5,t6,s8; addi t6,a4,-1; beqz t6,5f
    WPH gp,tp,ra,t3,t4,t5,s9,s10,s11; fmadd.s s8,s11,t6,s8
5:  nop
7:  add a0,a0,a5
    add a0,a0,a5; add a0,a0,a5; p.sw s0-s8,4(a1!); addi a6,a6,1; blt a6,a7,1b
9:  POPRET
.endm

    DWG d2_wgrad,0

    DWG d2a_wgrad,1

.macro WS2 a0_,a1_,a2_,b0_,b1_,b2_,n0_,n1_,n2_
    p.lw t6,4(a2!); p.lw \b0_,4(t0!); p.lw \b1_,4(t1!); p.lw \b2_,4(t2!); p.lw \n0_,4(t0!)
    p.lw \n1_,4(t1!); p.lw \n2_,4(t2!); fmadd.s s0,\a0_,t6,s0; fmadd.s s3,\a1_,t6,s3
    fmadd.s s6,\a2_,t6,s6; fmadd.s s1,\b0_,t6,s1; fmadd.s s4,\b1_,t6,s4; fmadd.s s7,\b2_,t6,s7
    fmadd.s s2,\n0_,t6,s2; fmadd.s s5,\n1_,t6,s5
.endm

.macro DWG2 name,acc
kernel \name
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli a5,t4,2; srli t5,t3,1; srli t4,t4,1; mul t0,t3,a5; mul t0,t0,a6; add a0,a0,t0
    mul t0,t4,t5; slli t0,t0,2; mul t0,t0,a6; add a2,a2,t0; li t6,36; mul t6,t6,a6; add a1,a1,t6
    sw t5,56(sp); srli a3,t4,1; andi a4,t4,1
1:  lw t0,56(sp)
.if \acc
    lw s0-s8,0(a1)
.else
    li s0-s8,0
.endif
    lp.setup x1,t0,7f
    mv t0,a0; add t1,a0,a5; add t2,t1,a5; p.lw s9,4(t0!); p.lw s10,4(t1!); p.lw s11,4(t2!)
    lp.setup x0,a3,6f
    WS2 s9,s10,s11,gp,tp,ra,t3,t4,t5; fmadd.s s8,t5,t6,s8; WS2 t3,t4,t5,gp,tp,ra,s9,s10,s11
6:  fmadd.s s8,s11,t6,s8
    beqz a4,5f
    WS2 s9,s10,s11,gp,tp,ra,t3,t4,t5; fmadd.s s8,t5,t6,s8
5:  add a0,a0,a5
7:  add a0,a0,a5
    add a0,a0,a5; p.sw s0-s8,4(a1!); addi a6,a6,1; blt a6,a7,1b
9:  POPRET
.endm

    DWG2 d2s_wgrad,0

    DWG2 d2sa_wgrad,1
