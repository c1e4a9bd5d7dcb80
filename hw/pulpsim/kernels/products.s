.include "frame.s"

.macro MM24 name,trA
kernel \name
    PUSH; lw a1,4(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0); lw a7,28(a0); lw a2,8(a0)
    lw t1,12(a0); lw a0,0(a0); bge a6,a7,9f
    slli t6,a5,2
.if \trA
    slli t5,t1,2; slli t0,a6,2
.else
    slli t5,a4,2; mul t0,a6,t5
.endif
    add a0,a0,t0; mul t0,a6,t6; add a2,a2,t0; srli s8,a5,2; addi a7,a7,-1; bge a6,a7,2f
1:  mv a3,a1; add s9,a2,t6; lp.setup x1,s8,7f
    mv t0,a0
.if \trA
.else
    add t1,a0,t5
.endif
    mv t2,a3; Z8; lp.setup x0,a4,6f
.if \trA
    lw t4,4(t0); lw s10,4(t2); lw s11,8(t2); lw gp,12(t2); p.lw tp,t6(t2!); p.lw t3,t5(t0!)
    fmadd.s s5,t4,s10,s5; fmadd.s s6,t4,s11,s6; fmadd.s s7,t4,gp,s7; fmadd.s s4,t4,tp,s4
    fmadd.s s0,t3,tp,s0; fmadd.s s1,t3,s10,s1; fmadd.s s2,t3,s11,s2
6:  fmadd.s s3,t3,gp,s3
.else
    p.lw t3,4(t0!); lw s10,4(t2); lw s11,8(t2); lw gp,12(t2); p.lw tp,t6(t2!); p.lw t4,4(t1!)
    fmadd.s s1,t3,s10,s1; fmadd.s s2,t3,s11,s2; fmadd.s s3,t3,gp,s3; fmadd.s s0,t3,tp,s0
    fmadd.s s4,t4,tp,s4; fmadd.s s5,t4,s10,s5; fmadd.s s6,t4,s11,s6
6:  fmadd.s s7,t4,gp,s7
.endif
    p.sw s0-s3,4(a2!); p.sw s4-s7,4(s9!)
7:  addi a3,a3,16
    add a2,a2,t6
.if \trA
    addi a0,a0,8
.else
    add a0,a0,t5; add a0,a0,t5
.endif
    addi a6,a6,2; blt a6,a7,1b
2:  bne a6,a7,9f
    mv a3,a1; lp.setup x1,s8,7f
    mv t0,a0; mv t2,a3; li s0-s3,0; lp.setup x0,a4,6f
.if \trA
    p.lw t3,t5(t0!)
.else
    p.lw t3,4(t0!)
.endif
    lw s10,4(t2); lw s11,8(t2); lw gp,12(t2); p.lw tp,t6(t2!); fmadd.s s1,t3,s10,s1
    fmadd.s s2,t3,s11,s2; fmadd.s s3,t3,gp,s3
6:  fmadd.s s0,t3,tp,s0
    p.sw s0-s3,4(a2!)
7:  addi a3,a3,16
9:  POPRET
.endm

    MM24 p1_2x4,0

    MM24 p3_2x4,1

.macro MMT name,acc
kernel \name
    PUSH; lw a1,4(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0); lw a7,28(a0); lw a2,8(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t6,a5,2; slli t5,a4,2; mul t0,a6,t5; add a0,a0,t0; mul t0,a6,t6; add a2,a2,t0
    srli a5,a5,2; addi a7,a7,-1; bge a6,a7,2f
1:  mv ra,a1; add s9,a2,t6; lp.setup x1,a5,7f
    mv a3,ra; add s8,a3,t5; add s10,s8,t5; add ra,s10,t5; mv t0,a0; add t1,a0,t5
.if \acc
    lw s0-s3,0(a2); lw s4-s7,0(s9)
.else
    Z8
.endif
    lp.setup x0,a4,6f
    p.lw t2,4(t0!); p.lw gp,4(a3!); p.lw tp,4(s8!); p.lw s11,4(s10!); p.lw t4,4(ra!)
    p.lw t3,4(t1!); fmadd.s s0,t2,gp,s0; fmadd.s s1,t2,tp,s1; fmadd.s s2,t2,s11,s2
    fmadd.s s3,t2,t4,s3; fmadd.s s4,t3,gp,s4; fmadd.s s5,t3,tp,s5; fmadd.s s6,t3,s11,s6
6:  fmadd.s s7,t3,t4,s7
    p.sw s0-s3,4(a2!); p.sw s4-s6,4(s9!)
7:  p.sw s7,4(s9!)
    add a2,a2,t6; add a0,a0,t5; add a0,a0,t5; addi a6,a6,2; blt a6,a7,1b
2:  bne a6,a7,9f
    mv ra,a1; lp.setup x1,a5,7f
    mv a3,ra; add s8,a3,t5; add s10,s8,t5; add ra,s10,t5; mv t0,a0
.if \acc
    lw s0-s3,0(a2)
.else
    li s0-s3,0
.endif
    lp.setup x0,a4,6f
    p.lw t2,4(t0!); p.lw gp,4(a3!); p.lw tp,4(s8!); p.lw s11,4(s10!); p.lw t4,4(ra!)
    fmadd.s s0,t2,gp,s0; fmadd.s s1,t2,tp,s1; fmadd.s s2,t2,s11,s2
6:  fmadd.s s3,t2,t4,s3
    p.sw s0-s2,4(a2!)
7:  p.sw s3,4(a2!)
9:  POPRET
.endm

    MMT p2_2x4,0

    MMT p2a_2x4,1

.macro F4 a,c0,c1,c2,c3
    fmadd.s \c1,\a,tp,\c1; fmadd.s \c2,\a,t3,\c2; fmadd.s \c3,\a,t4,\c3; fmadd.s \c0,\a,gp,\c0
.endm

kernel p4_4x4
    PUSH; lw t0,4(a0); lw t2,16(a0); lw t1,20(a0); lw a6,24(a0); lw a7,28(a0); lw a2,8(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t3,t2,2; srli t4,t1,2; slli t1,t1,2; mul t5,a6,t3; add a0,a0,t5; mul t5,a6,t1
    add a2,a2,t5; sw a0,56(sp); sw t0,60(sp); sw a2,64(sp); sw t2,68(sp); sw a6,76(sp)
    sw a7,80(sp); sw t3,84(sp); sw t4,92(sp)
1:  lw t2,76(sp); lw ra,80(sp); lw t0,60(sp); lw t3,92(sp); addi t2,t2,4; blt ra,t2,4f
    sw t2,76(sp); sw t0,88(sp); sw t3,72(sp)
2:  lw a4,56(sp); lw t2,84(sp); lw t0,88(sp); lw ra,68(sp); add a5,a4,t2; add a6,a5,t2
    add a7,a6,t2; Z8; li s8-s11,0; li a0,0; li a1,0; li a2,0; li a3,0; lp.setup x0,ra,6f
    p.lw t5,4(a4!); lw tp,4(t0); lw t3,8(t0); lw t4,12(t0); p.lw gp,t1(t0!); p.lw t6,4(a5!)
    F4 t5,s0,s1,s2,s3; p.lw t5,4(a6!); F4 t6,s4,s5,s6,s7; p.lw t6,4(a7!); F4 t5,s8,s9,s10,s11
    fmadd.s a1,t6,tp,a1; fmadd.s a2,t6,t3,a2; fmadd.s a3,t6,t4,a3
6:  fmadd.s a0,t6,gp,a0
    lw t2,64(sp); lw t0,88(sp); lw t6,72(sp); add t3,t2,t1; add t4,t3,t1; add t5,t4,t1
    p.sw s0-s3,4(t2!); p.sw s4-s7,4(t3!); p.sw s8-s11,4(t4!); p.sw a0,4(t5!); p.sw a1,4(t5!)
    p.sw a2,4(t5!); p.sw a3,4(t5!); addi t0,t0,16; addi t6,t6,-1; sw t2,64(sp); sw t0,88(sp)
    sw t6,72(sp); bnez t6,2b
    sw t5,64(sp); sw a7,56(sp); j 1b
4:  addi t2,t2,-4; sub a7,ra,t2; beqz a7,9f
    lw a0,56(sp); lw a1,60(sp); lw a2,64(sp); lw a4,68(sp); lw s8,92(sp); lw t5,84(sp)
5:  mv a3,a1; lp.setup x1,s8,7f
    mv t0,a0; mv t2,a3; li s0-s3,0; lp.setup x0,a4,6f
    p.lw t3,4(t0!); lw s10,4(t2); lw s11,8(t2); lw gp,12(t2); p.lw tp,t1(t2!)
    fmadd.s s1,t3,s10,s1; fmadd.s s2,t3,s11,s2; fmadd.s s3,t3,gp,s3
6:  fmadd.s s0,t3,tp,s0
    p.sw s0-s3,4(a2!)
7:  addi a3,a3,16
    add a0,a0,t5; addi a7,a7,-1; bnez a7,5b
9:  POPRET

# Columns for the first convolution (not measured): the 3x3x3 words of every second position of
# three input rows, one below the other, so that p1 finds a pixel's inputs in a column.
.macro ROW3
    lp.setup x0,t3,66f
    p.lw t0,4(t4!); p.lw t1,4(t4!); p.lw t2,4(t4!); p.sw t0,a4(t5!); p.sw t1,a4(t5!)
66: p.sw t2,a4(t5!)
.endm

kernel c0_im2col
    lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0)
    bge a6,a7,9f
    slli t0,a6,2; add a2,a2,t0; li t1,24; mul t1,a6,t1; add a0,a0,t1; slli a4,a4,2
    slli a3,a3,2; addi a3,a3,-36; sub a7,a7,a6; li t3,3; lp.setup x1,a7,7f
    mv t4,a0; mv t5,a2; ROW3; add t4,t4,a3; ROW3; add t4,t4,a3; ROW3
    addi a2,a2,4
7:  addi a0,a0,24
9:  ret
