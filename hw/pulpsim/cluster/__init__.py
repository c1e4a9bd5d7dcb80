"""Instruction level: assembler, interpreter, requests of the cores, L1, arbitration, simulator."""
