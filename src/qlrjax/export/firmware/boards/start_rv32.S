# Start-up of an RV32IMF hart: stack, global pointer, the FPU, .bss, main.
    .section .vectors, "ax"
    .globl reset
reset:
    .option push
    .option norelax
    la   gp, __global_pointer$
    .option pop
    la   sp, __stack
    la   tp, tls            # picolibc's errno
    la   t0, hang
    csrw mtvec, t0
    li   t0, 0x2000         # mstatus.FS = initial
    csrs mstatus, t0
    csrw fcsr, zero
    la   t0, __bss_start
    la   t1, __bss_end
1:  bgeu t0, t1, 2f
    sw   zero, 0(t0)
    addi t0, t0, 4
    j    1b
2:  call main
    .balign 4
hang:
    j    hang

    .bss
    .balign 16
tls:
    .zero 64
