# What the cores that do not compute run while the workers do; not measured.
# r_dma, cluster controller: writes the four registers of each 1D transfer into the DMA's queue.
#   args 0:list of (L1 address, L2 address, bytes) 6,7: transfers 8:register block of the DMA
kernel r_dma
    lw a1,0(a0); lw a6,24(a0); lw a7,28(a0); lw a2,32(a0); bge a6,a7,9f
    sub a7,a7,a6; slli t0,a6,3; slli t1,a6,2; add a1,a1,t0; add a1,a1,t1
    lui t3,0x80000; ori t3,t3,3
1:  p.lw t0,4(a1!); p.lw t1,4(a1!); p.lw t2,4(a1!); lw t4,0(a2); or t2,t2,t3; sw t2,0(a2)
    sw t0,0(a2); sw t1,0(a2); addi a7,a7,-1; bnez a7,1b
9:  ret

# r_fork, fabric controller: hands entry, arguments and a core mask to the cluster, then the event.
#   args 0:list of (entry, arguments, mask) 6,7: offloads 8:mailbox registers
kernel r_fork
    lw a1,0(a0); lw a6,24(a0); lw a7,28(a0); lw a2,32(a0); bge a6,a7,9f
    sub a7,a7,a6; slli t0,a6,3; slli t1,a6,2; add a1,a1,t0; add a1,a1,t1; li t3,1
1:  p.lw t0,4(a1!); p.lw t1,4(a1!); p.lw t2,4(a1!); sw t0,0(a2); sw t1,4(a2); sw t2,8(a2)
    sw t3,12(a2); addi a7,a7,-1; bnez a7,1b
9:  ret
