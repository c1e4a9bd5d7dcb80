.include "frame.s"

# A row of five taps over a row of outputs: x at t0, every \step words; y at t1; taps in s0 to s4.
.macro TAPS5
    lw s6,4(t0); lw s7,8(t0); lw s8,12(t0); lw s9,16(t0)
.endm

.macro FWD5 step
    lw t6,0(t1); TAPS5; p.lw s5,4*\step(t0!); fmadd.s t6,s6,s1,t6; fmadd.s t6,s7,s2,t6
    fmadd.s t6,s8,s3,t6; fmadd.s t6,s9,s4,t6; fmadd.s t6,s5,s0,t6
66: p.sw t6,4(t1!)
.endm

.macro IGRAD5 step
    p.lw t6,4(t1!); TAPS5; lw s5,0(t0); fmadd.s s6,s1,t6,s6; fmadd.s s7,s2,t6,s7
    fmadd.s s8,s3,t6,s8; fmadd.s s9,s4,t6,s9; fmadd.s s5,s0,t6,s5; sw s6,4(t0); sw s7,8(t0)
    sw s8,12(t0); sw s9,16(t0)
66: p.sw s5,4*\step(t0!)
.endm

.macro WGRAD5 step
    p.lw t6,4(t1!); TAPS5; p.lw s5,4*\step(t0!); fmadd.s s1,s6,t6,s1; fmadd.s s2,s7,t6,s2
    fmadd.s s3,s8,t6,s3; fmadd.s s4,s9,t6,s4
66: fmadd.s s0,s5,t6,s0
.endm

# Words 0 and 2 are the padded plane and the plane of outputs, whichever of them is written.
.macro WINDOW5 name,row,step,zeroed,sums
kernel \name
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t4,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a0,0(a0); bge a6,a7,9f
    slli t2,t4,2; addi a5,t4,-5; srli a5,a5,\step-1; addi a5,a5,1; addi a4,t3,-5
    srli a4,a4,\step-1; addi a4,a4,1; mul s10,t3,t4; mul s11,a4,a5; slli t0,s10,2; mul t0,t0,a6
    add a0,a0,t0; slli t0,s11,2; mul t0,t0,a6; add a2,a2,t0; li t0,100; mul t0,t0,a6
    add a1,a1,t0; slli tp,a5,2; li a3,5
1:  
.if \zeroed==1
    mv t1,a2; lp.setup x0,s11,5f
.endif
.if \zeroed==2
    mv t1,a0; lp.setup x0,s10,5f
.endif
.if \zeroed>0
    sw zero,0(t1)
5:  addi t1,t1,4
.endif
    mv t3,a0; mv t4,a2; mv t5,a4
2:  mv gp,a1; mv ra,t3; lp.setup x1,a3,7f
.if \sums
    lw s0-s4,0(gp)
.else
    p.lw s0-s4,4(gp!)
.endif
    mv t0,ra; mv t1,t4; lp.setup x0,a5,66f
    \row \step
.if \sums
    p.sw s0-s4,4(gp!)
.endif
7:  add ra,ra,t2
    add t3,t3,t2
.if \step==2
    add t3,t3,t2
.endif
    add t4,t4,tp; addi t5,t5,-1; bnez t5,2b
    mv a2,t4; slli t0,s10,2; add a0,a0,t0; addi a1,a1,100; addi a6,a6,1; blt a6,a7,1b
9:  POPRET
.endm

    WINDOW5 d5_fwd,FWD5,1,1,0

    WINDOW5 d5s_fwd,FWD5,2,1,0

    WINDOW5 d5_igrad,IGRAD5,1,2,0

    WINDOW5 d5s_igrad,IGRAD5,2,2,0

    WINDOW5 d5a_wgrad,WGRAD5,1,0,1

    WINDOW5 d5sa_wgrad,WGRAD5,2,0,1

# Codes: ten words of taps in registers, rows of five and three zeros; then as i2w_dw.
.macro ROW5 op,low,high
    lw gp,4(t0); p.lw tp,t2(t0!); \op t6,gp,\high; pv.sdotusp.b t6,tp,\low
.endm

.macro CODES5 name,step
kernel \name
    PUSH; lw a1,4(a0); lw a2,8(a0); lw t3,12(a0); lw t2,16(a0); lw a6,24(a0); lw a7,28(a0)
    lw a4,32(a0); lw a3,36(a0); lw t5,40(a0); lw a0,0(a0); bge a6,a7,9f
    addi a5,t2,-5; srli a5,a5,\step-1; addi a5,a5,1; addi ra,t3,-5; srli ra,ra,\step-1
    addi ra,ra,1; sw a7,56(sp); mul a7,t3,t2; mul t6,a7,a6; add a0,a0,t6; mul t6,ra,a5
    mul t6,t6,a6; add a2,a2,t6; slli t6,a6,2; add a4,a4,t6; add a3,a3,t6; li t6,40
    mul t6,t6,a6; add a1,a1,t6; mul t6,ra,t2; slli t6,t6,\step-1; sub a7,a7,t6; slli t4,t2,2
    add t4,t4,t2; li t6,\step; sub t4,t6,t4; sub s11,zero,t5
1:  p.lw s0-s9,4(a1!); p.lw t1,4(a3!); p.lw s10,4(a4!); srai t3,t1,31; lp.setup x1,ra,7f
    mv t0,a0; lp.setup x0,a5,6f
    ROW5 pv.dotusp.b,s0,s1; ROW5 pv.sdotusp.b,s2,s3; ROW5 pv.sdotusp.b,s4,s5
    ROW5 pv.sdotusp.b,s6,s7; ROW5 pv.sdotusp.b,s8,s9; add t0,t0,t4; mulh gp,t6,s10
    mul t6,t6,s10; add gp,gp,t3; add t6,t6,t1; sltu tp,t6,t1; add gp,gp,tp; srl t6,t6,t5
    sll gp,gp,s11; or t6,t6,gp; p.clipu t6,t6,9
6:  p.sb t6,1(a2!)
.if \step==2
    add a0,a0,t2
.endif
7:  add a0,a0,t2
    lw t6,56(sp); add a0,a0,a7; addi a6,a6,1; blt a6,t6,1b
9:  POPRET
.endm

    CODES5 i5w_dw,1

    CODES5 i5sw_dw,2
