.include "frame.s"

# kappa * acc + lambda in 64 bits (s8 * x + s9, t0 the sign of s9), shifted by ra (t4: minus ra).
.macro RW x
    mulh gp,\x,s8; mul \x,\x,s8; add gp,gp,t0; add \x,\x,s9; sltu tp,\x,s9; add gp,gp,tp
    srl \x,\x,ra; sll gp,gp,t4; or \x,\x,gp; p.clipu \x,\x,9
.endm

.macro RQW2 x,y
    p.lw s9,4(a3!); p.lw s8,4(a2!); srai t0,s9,31; RW \x; p.sb \x,1(s10!); RW \y; p.sb \y,1(s11!)
.endm

.macro RQW1 x
    p.lw s9,4(a3!); p.lw s8,4(a2!); srai t0,s9,31; RW \x; p.sb \x,1(s10!)
.endm

.macro INNER42
    Z8; lp.setup x0,t6,66f
    p.lw gp,4(t4!); p.lw tp,4(t5!); p.lw s8,4(t0!); p.lw s9,4(t1!); pv.sdotusp.b s0,gp,s8
    pv.sdotusp.b s4,tp,s8; p.lw s8,4(t2!); pv.sdotusp.b s1,gp,s9; pv.sdotusp.b s5,tp,s9
    p.lw s9,4(t3!); pv.sdotusp.b s2,gp,s8; pv.sdotusp.b s6,tp,s8; pv.sdotusp.b s3,gp,s9
66: pv.sdotusp.b s7,tp,s9
.endm

kernel i1w_4x2
    PUSH; lw a1,4(a0); lw s10,8(a0); lw t5,12(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw t0,32(a0); lw t1,36(a0); lw ra,40(a0); lw a0,0(a0); bge a6,a7,9f
    sw t0,56(sp); sw t1,60(sp); sw t5,64(sp); mul t2,a6,a4; add a1,a1,t2; mul t2,a6,t5
    add s10,s10,t2; srli a5,t5,2; srli t6,a4,2; addi a7,a7,-1; bge a6,a7,2f
1:  lw t2,64(sp); lw a2,56(sp); lw a3,60(sp); add s11,s10,t2; mv t0,a0; lp.setup x1,a5,7f
    add t1,t0,a4; add t2,t1,a4; add t3,t2,a4; mv t4,a1; add t5,a1,a4; INNER42; sub t4,zero,ra
    RQW2 s0,s4; RQW2 s1,s5; RQW2 s2,s6; RQW2 s3,s7
7:  mv t0,t3
    mv a1,t5; mv s10,s11; addi a6,a6,2; blt a6,a7,1b
2:  bne a6,a7,9f
    lw a2,56(sp); lw a3,60(sp); mv t0,a0; lp.setup x1,a5,7f
    add t1,t0,a4; add t2,t1,a4; add t3,t2,a4; mv t4,a1; li s0-s3,0; lp.setup x0,t6,6f
    p.lw gp,4(t4!); p.lw s4,4(t0!); p.lw s5,4(t1!); p.lw s6,4(t2!); p.lw s7,4(t3!)
    pv.sdotusp.b s0,gp,s4; pv.sdotusp.b s1,gp,s5; pv.sdotusp.b s2,gp,s6
6:  pv.sdotusp.b s3,gp,s7
    sub t4,zero,ra; RQW1 s0; RQW1 s1; RQW1 s2; RQW1 s3
7:  mv t0,t3
9:  POPRET

# A depthwise output: three rows of taps, kappa s3, lambda s4 and its sign s10, shift s5, minus s11.
.macro IPW a,b,n
    pv.dotusp.b t6,\a,s0; pv.sdotusp.b t6,\b,s1; pv.sdotusp.b t6,\n,s2; mulh gp,t6,s3
    mul t6,t6,s3; add gp,gp,s10; add t6,t6,s4; sltu tp,t6,s4; add gp,gp,tp; srl t6,t6,s5
    sll gp,gp,s11; or t6,t6,gp; p.clipu t6,t6,9
.endm

.macro IPW1 a,b,n
    p.lw \n,t2(t0!); IPW \a,\b,\n
.endm

.macro IPW2 a,b,n
    p.lw \b,t2(t0!); p.lw \n,t2(t0!); IPW \a,\b,\n
.endm

kernel i2w_dw
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t2,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw s6,32(a0); lw s7,36(a0); lw s5,40(a0); lw a0,0(a0); bge a6,a7,9f
    addi a5,t2,-2; addi t5,t3,-2; mul s8,t3,t2; mul s9,t5,a5; mul t6,s8,a6; add a0,a0,t6
    mul t6,s9,a6; add a2,a2,t6; slli t6,a6,2; add s6,s6,t6; add s7,s7,t6; li t6,12; mul t6,t6,a6
    add a1,a1,t6; sub s8,s8,a5; sub s9,s9,a5; li t6,0x5556; mul a3,t5,t6; srli a3,a3,16; li t6,3
    mul t6,a3,t6; sub a4,t5,t6; sub s11,zero,s5
1:  p.lw s0-s2,4(a1!); p.lw s4,4(s7!); p.lw s3,4(s6!); srai s10,s4,31; lp.setup x1,a5,7f
    mv t0,a0; mv t1,a2; p.lw t3,t2(t0!); p.lw t4,t2(t0!); lp.setup x0,a3,6f
    IPW1 t3,t4,t5; p.sb t6,a5(t1!); IPW1 t4,t5,t3; p.sb t6,a5(t1!); IPW1 t5,t3,t4
6:  p.sb t6,a5(t1!)
    beqz a4,5f
    IPW1 t3,t4,t5; p.sb t6,a5(t1!); addi t6,a4,-1; beqz t6,5f
    IPW1 t4,t5,t3; p.sb t6,a5(t1!)
5:  addi a0,a0,1
7:  addi a2,a2,1
    add a0,a0,s8; add a2,a2,s9; addi a6,a6,1; blt a6,a7,1b
9:  POPRET

kernel i2sw_dw
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t2,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw s6,32(a0); lw s7,36(a0); lw s5,40(a0); lw a0,0(a0); bge a6,a7,9f
    srli a5,t2,1; srli t5,t3,1; mul s8,t3,t2; mul s9,t5,a5; mul t6,s8,a6; add a0,a0,t6
    mul t6,s9,a6; add a2,a2,t6; slli t6,a6,2; add s6,s6,t6; add s7,s7,t6; li t6,12
    mul t6,t6,a6; add a1,a1,t6; sub s8,s8,a5; sub s8,s8,a5; sub s9,s9,a5; li t6,0x5556
    mul a3,t5,t6; srli a3,a3,16; li t6,3; mul t6,a3,t6; sub a4,t5,t6; sub s11,zero,s5
1:  p.lw s0-s2,4(a1!); p.lw s4,4(s7!); p.lw s3,4(s6!); srai s10,s4,31; lp.setup x1,a5,7f
    mv t0,a0; mv t1,a2; p.lw t3,t2(t0!); lp.setup x0,a3,6f
    IPW2 t3,t4,t5; p.sb t6,a5(t1!); IPW2 t5,t3,t4; p.sb t6,a5(t1!); IPW2 t4,t5,t3
6:  p.sb t6,a5(t1!)
    beqz a4,5f
    IPW2 t3,t4,t5; p.sb t6,a5(t1!); addi t6,a4,-1; beqz t6,5f
    IPW2 t5,t3,t4; p.sb t6,a5(t1!)
5:  addi a0,a0,2
7:  addi a2,a2,1
    add a0,a0,s8; add a2,a2,s9; addi a6,a6,1; blt a6,a7,1b
9:  POPRET

.macro IM2ROW off
    lw s8,0(t4); lw s9,4(t4); lbu gp,8(t4); add t4,t4,a4; sw s8,\off(t5); sw s9,\off+4(t5)
    sb gp,\off+8(t5)
.endm

kernel i3w_conv
    PUSH; lw a1,4(a0); lw s10,8(a0); lw t5,12(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0)
    lw a7,28(a0); lw t0,32(a0); lw t1,36(a0); lw ra,40(a0); lw t2,44(a0); lw a0,0(a0)
    bge a6,a7,9f
    sw t0,56(sp); sw t1,60(sp); sw t5,64(sp); sw t2,68(sp); srli t3,a5,1; sw t3,72(sp)
    srli t3,t5,2; sw t3,76(sp); slli t3,a4,1; add a4,a4,t3; mul t3,a6,a4; slli t3,t3,1
    add a1,a1,t3; sw a1,80(sp); mul t3,a6,a5; mul t3,t3,t5; add s10,s10,t3
1:  lw a5,72(sp); lw a1,80(sp)
2:  lw t5,68(sp); mv t4,a1; IM2ROW 0; IM2ROW 9; IM2ROW 18; addi t4,a1,6; IM2ROW 28; IM2ROW 37
    IM2ROW 46; lw t2,64(sp); lw a2,56(sp); lw a3,60(sp); add s11,s10,t2; mv t0,a0; lw t1,76(sp)
    lw gp,68(sp); li t6,7; lp.setup x1,t1,7f
    addi t1,t0,28; addi t2,t0,56; addi t3,t0,84; lw t4,68(sp); addi t5,t4,28; INNER42
    sub t4,zero,ra; RQW2 s0,s4; RQW2 s1,s5; RQW2 s2,s6; RQW2 s3,s7
7:  mv t0,t3
    mv s10,s11; addi a1,a1,12; addi a5,a5,-1; bnez a5,2b
    lw t0,80(sp); add t0,t0,a4; add t0,t0,a4; sw t0,80(sp); addi a6,a6,1; blt a6,a7,1b
9:  POPRET

# Mean of a channel's plane, its 1 / pixels inside kappa.
kernel i4w_pool
    lw a2,8(a0); lw a4,16(a0); lw a6,24(a0); lw a7,28(a0); lw a1,32(a0); lw a3,36(a0)
    lw a5,40(a0); lw a0,0(a0); bge a6,a7,9f
    add a2,a2,a6; mul t0,a6,a4; add a0,a0,t0; slli t0,a6,2; add a1,a1,t0; add a3,a3,t0
    srli a4,a4,2; sub a7,a7,a6; li t6,0x01010101; sub tp,zero,a5; lp.setup x1,a7,7f
    p.lw t2,4(a3!); li t4,0; lp.setup x0,a4,6f
    p.lw t0,4(a0!)
6:  pv.sdotusp.b t4,t0,t6
    p.lw t1,4(a1!); srai t3,t2,31; mulh t5,t4,t1; mul t4,t4,t1; add t5,t5,t3; add t4,t4,t2
    sltu a6,t4,t2; add t5,t5,a6; srl t4,t4,a5; sll t5,t5,tp; or t4,t4,t5; p.clipu t4,t4,9
7:  p.sb t4,1(a2!)
9:  ret
