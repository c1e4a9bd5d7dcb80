# Codes of a convolution of any window: the rows of a pixel's window behind each other, whole words
# (not measured). What a row has beyond the window meets weights of zero.
kernel i6_im2row
    lw a2,8(a0); lw a3,12(a0); lw a4,16(a0); lw a5,20(a0); lw a6,24(a0); lw a7,28(a0)
    lw t6,32(a0); lw a0,0(a0); bge a6,a7,9f
    mul t0,a6,a5; add a0,a0,t0; mul t0,a3,a4; mul t0,t0,a6; slli t0,t0,2; add a2,a2,t0
    sub a7,a7,a6
1:  mv t1,a0; lp.setup x1,a3,7f
    mv t2,t1; lp.setup x0,a4,6f
    p.lw t0,4(t2!)
6:  p.sw t0,4(a2!)
7:  add t1,t1,t6
    add a0,a0,a5; addi a7,a7,-1; bnez a7,1b
9:  ret
