//===- Switch.S - Switches between fibers, x86-64 System V ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

        .intel_syntax noprefix
        .text

// void ganq_simt_switch(void **save, void *load)
//
// Pushes what the callee must keep, with the control word of float arithmetic,
// stores the stack pointer to *save and goes on with the stack `load`. The
// control word is the same nearly always, and loading it is slow. `ret` is
// predicted well although another stack made the call: lanes wait at the same
// places, so the addresses are equal.
        .globl  ganq_simt_switch
        .hidden ganq_simt_switch
        .type   ganq_simt_switch, @function
        .p2align 4
ganq_simt_switch:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        sub     rsp, 8
        stmxcsr dword ptr [rsp]
        mov     eax, dword ptr [rsp]
        mov     qword ptr [rdi], rsp
        mov     rsp, rsi
        cmp     eax, dword ptr [rsp]
        je      1f
        ldmxcsr dword ptr [rsp]
1:      add     rsp, 8
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret
        .size   ganq_simt_switch, . - ganq_simt_switch

// Where a new fiber begins: calls r13(r12), which does not return.
        .globl  ganq_simt_begin
        .hidden ganq_simt_begin
        .type   ganq_simt_begin, @function
        .p2align 4
ganq_simt_begin:
        .cfi_startproc
        .cfi_undefined rip
        mov     rdi, r12
        call    r13
        ud2
        .cfi_endproc
        .size   ganq_simt_begin, . - ganq_simt_begin

        .section .note.GNU-stack, "", @progbits
