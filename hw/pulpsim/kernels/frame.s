.macro PUSH
    addi sp,sp,-112; sw s0-s11,0(sp); sw ra,48(sp)
.endm

.macro POPRET
    lw s0-s11,0(sp); lw ra,48(sp); addi sp,sp,112; ret
.endm

.macro Z8
    li s0-s7,0
.endm
