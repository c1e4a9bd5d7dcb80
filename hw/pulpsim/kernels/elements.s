.include "frame.s"

kernel e1_sgd
    PUSH; lw a1,4(a0); lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0)
    lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; slli t0,a6,2; add a0,a0,t0; add a1,a1,t0; add a2,a2,t0; srli a7,a7,1
    lp.setup x0,a7,6f
    lw s0,0(a0); p.lw s1,4(a1!); lw s2,0(a2); lw s3,4(a0); p.lw s4,4(a1!); lw s5,4(a2)
    fmadd.s s1,s0,a5,s1; fmadd.s s4,s3,a5,s4; fmadd.s s2,s2,a3,s1; fmadd.s s5,s5,a3,s4
    p.sw s2,4(a2!); p.sw s5,4(a2!); fnmsub.s s0,s2,a4,s0; fnmsub.s s3,s5,a4,s3; p.sw s0,4(a0!)
6:  p.sw s3,4(a0!)
9:  POPRET

.macro DEQ name,trick
kernel \name
    lw a2,8(a0); lw a3,12(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; add a0,a0,a6; slli t0,a6,2; add a2,a2,t0; srli a7,a7,2
.if \trick
    lui a4,0x4b000; fmul.s a5,a4,a3
.endif
    lp.setup x0,a7,6f
    p.lbu t0,1(a0!); p.lbu t1,1(a0!); p.lbu t2,1(a0!); p.lbu t3,1(a0!)
.if \trick
    or t0,t0,a4; or t1,t1,a4; or t2,t2,a4; or t3,t3,a4; fmsub.s t0,t0,a3,a5; fmsub.s t1,t1,a3,a5
    fmsub.s t2,t2,a3,a5; fmsub.s t3,t3,a3,a5
.else
    fcvt.s.w t0,t0; fcvt.s.w t1,t1; fcvt.s.w t2,t2; fcvt.s.w t3,t3; fmul.s t0,t0,a3
    fmul.s t1,t1,a3; fmul.s t2,t2,a3; fmul.s t3,t3,a3
.endif
    p.sw t0,4(a2!); p.sw t1,4(a2!); p.sw t2,4(a2!)
6:  p.sw t3,4(a2!)
9:  ret
.endm

    DEQ e2_cvt,0

    DEQ e2_trick,1

kernel e3_fwd
    lw a1,4(a0); lw a2,8(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; add a1,a1,a6; slli t0,a6,2; add a0,a0,t0; add a2,a2,t0; srli a7,a7,2
    lp.setup x0,a7,6f
    p.lw t0,4(a0!); p.lw t1,4(a0!); p.lw t2,4(a0!); p.lw t3,4(a0!); p.max t0,t0,zero
    p.max t1,t1,zero; p.max t2,t2,zero; p.max t3,t3,zero; p.sw t0,4(a2!); p.sw t1,4(a2!)
    p.sw t2,4(a2!); p.sw t3,4(a2!); sltu t0,zero,t0; sltu t1,zero,t1; sltu t2,zero,t2
    sltu t3,zero,t3; p.sb t0,1(a1!); p.sb t1,1(a1!); p.sb t2,1(a1!)
6:  p.sb t3,1(a1!)
9:  ret

kernel e3_bwd
    lw a1,4(a0); lw a2,8(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; add a1,a1,a6; slli t0,a6,2; add a0,a0,t0; add a2,a2,t0; srli a7,a7,2
    lp.setup x0,a7,6f
    p.lw t0,4(a0!); p.lbu t4,1(a1!); p.lw t1,4(a0!); p.lbu t5,1(a1!); p.lw t2,4(a0!)
    p.lbu t6,1(a1!); p.lw t3,4(a0!); p.lbu a3,1(a1!); mul t0,t0,t4; mul t1,t1,t5; mul t2,t2,t6
    mul t3,t3,a3; p.sw t0,4(a2!); p.sw t1,4(a2!); p.sw t2,4(a2!)
6:  p.sw t3,4(a2!)
9:  ret

kernel e10_relu6
    lw a1,4(a0); lw a2,8(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; add a1,a1,a6; slli t0,a6,2; add a0,a0,t0; add a2,a2,t0; srli a7,a7,2
    lui a4,0x40c00; addi a5,a4,-1; lp.setup x0,a7,6f
    p.lw t0,4(a0!); p.lw t1,4(a0!); p.lw t2,4(a0!); p.lw t3,4(a0!); p.max t0,t0,zero
    p.max t1,t1,zero; p.max t2,t2,zero; p.max t3,t3,zero; p.min t0,t0,a4; p.min t1,t1,a4
    p.min t2,t2,a4; p.min t3,t3,a4; p.sw t0,4(a2!); p.sw t1,4(a2!); p.sw t2,4(a2!)
    p.sw t3,4(a2!); addi t0,t0,-1; addi t1,t1,-1; addi t2,t2,-1; addi t3,t3,-1; sltu t0,t0,a5
    sltu t1,t1,a5; sltu t2,t2,a5; sltu t3,t3,a5; p.sb t0,1(a1!); p.sb t1,1(a1!); p.sb t2,1(a1!)
6:  p.sb t3,1(a1!)
9:  ret
