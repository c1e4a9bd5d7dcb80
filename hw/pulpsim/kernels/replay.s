.macro UNP name,bits,st1,st2,o4
kernel \name
    lw a2,8(a0); lw a3,12(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; srli t0,a6,3; li t1,\bits; mul t0,t0,t1; add a0,a0,t0; slli t0,a6,2
    add a2,a2,t0; srli a7,a7,3; lui a4,0x4b000; fmul.s a5,a4,a3; lp.setup x0,a7,6f
    p.lw t0,\st1(a0!); p.lw a6,\st2(a0!); p.extractu t1,t0,\bits-1,0
    p.extractu t2,t0,\bits-1,\bits; p.extractu t3,t0,\bits-1,2*\bits
    p.extractu t4,t0,\bits-1,3*\bits; p.extractu t5,a6,\bits-1,\o4
    p.extractu t6,a6,\bits-1,\o4+\bits; p.extractu t0,a6,\bits-1,\o4+2*\bits
    p.extractu a1,a6,\bits-1,\o4+3*\bits; or t1,t1,a4; or t2,t2,a4; or t3,t3,a4; or t4,t4,a4
    fmsub.s t1,t1,a3,a5; fmsub.s t2,t2,a3,a5; fmsub.s t3,t3,a3,a5; fmsub.s t4,t4,a3,a5
    or t5,t5,a4; or t6,t6,a4; or t0,t0,a4; or a1,a1,a4; p.sw t1,4(a2!); p.sw t2,4(a2!)
    p.sw t3,4(a2!); p.sw t4,4(a2!); fmsub.s t5,t5,a3,a5; fmsub.s t6,t6,a3,a5
    fmsub.s t0,t0,a3,a5; fmsub.s a1,a1,a3,a5; p.sw t5,4(a2!); p.sw t6,4(a2!); p.sw t0,4(a2!)
6:  p.sw a1,4(a2!)
9:  ret
.endm

    UNP e9_unp7,7,3,4,4

    UNP e9_unp6,6,2,4,8

.macro PCK name,bits,sh,st1
kernel \name
    lw a2,8(a0); lw a6,24(a0); lw a7,28(a0); lw a0,0(a0); bge a6,a7,9f
    sub a7,a7,a6; add a0,a0,a6; srli t0,a6,3; li t1,\bits; mul t0,t0,t1; add a2,a2,t0
    srli a7,a7,3; li a4,1+(256<<\bits); slli a5,a4,16; lp.setup x0,a7,6f
    p.lw t0,4(a0!); p.lw t1,4(a0!); pv.srl.sci.b t0,t0,\sh; pv.srl.sci.b t1,t1,\sh
    pv.dotup.b t2,t0,a4; pv.dotup.b t3,t0,a5; pv.dotup.b t4,t1,a4; pv.dotup.b t5,t1,a5
    p.insert t2,t3,2*\bits-1,2*\bits; p.sw t2,\st1(a2!)
.if \bits==7
    srli t6,t2,24; p.insert t6,t4,13,4; p.insert t6,t5,13,18
.else
    srli t6,t2,16; p.insert t6,t4,11,8; p.insert t6,t5,11,20
.endif
6:  p.sw t6,4(a2!)
9:  ret
.endm

    PCK e9_pck7,7,1,3

    PCK e9_pck6,6,2,2
