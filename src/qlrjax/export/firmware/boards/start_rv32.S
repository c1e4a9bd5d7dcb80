# Start-up of an RV32IMF hart: stack, global pointer, the FPU, .data, .bss, main.
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
    la   t0, __data_start
    la   t1, __data_end
    la   t2, __data_load
1:  bgeu t0, t1, 2f
    lw   t3, 0(t2)
    sw   t3, 0(t0)
    addi t0, t0, 4
    addi t2, t2, 4
    j    1b
2:  la   t0, __bss_start
    la   t1, __bss_end
3:  bgeu t0, t1, 4f
    sw   zero, 0(t0)
    addi t0, t0, 4
    j    3b
4:  call main
    .balign 4
hang:
    j    hang

    .bss
    .balign 16
tls:
    .zero 64
