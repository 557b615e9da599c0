/* sched/context_x86_64.S: the switch between two stacks, and the first frame of a fresh one. System V ABI, ELF.
 *
 *   struct th_context *th_context_swap(struct th_context *from, struct th_context *to)
 *
 * Saves what the ABI calls callee-saved on the running stack, stores sp in from->sp (offset 0), and goes on where to->sp
 * was stored. It returns there the `from` of whoever switched: the resumed side learns where it was called from without
 * a thread-local variable. Signal mask, segment bases and shadow stacks are not touched.
 *
 * A saved stack, from to->sp upwards (context.c builds the same for a fresh one):
 *
 *   0 mxcsr, 4 x87 control word, 8 r15, 16 r14, 24 r13, 32 r12, 40 rbx, 48 rbp, 56 where to go on
 *
 * It ends in a jmp, not in ret: the processor's return stack holds the return address of another fiber, so a ret is
 * mispredicted at every switch (without control words: 11.4 ns instead of 3.2).
 *
 * This file carries no IBT/SHSTK property, so the linker drops both for the whole program. That is the safe outcome: a
 * shadow stack would fault at the first switch, as there is none per fiber. */
	.text

	.globl	th_context_swap
	.hidden	th_context_swap
	.type	th_context_swap, @function
	.p2align 4
th_context_swap:
	.cfi_startproc
	endbr64
	leaq	-56(%rsp), %rsp
	.cfi_adjust_cfa_offset 56
	movq	%rbp, 48(%rsp)
	.cfi_rel_offset %rbp, 48
	movq	%rbx, 40(%rsp)
	.cfi_rel_offset %rbx, 40
	movq	%r12, 32(%rsp)
	.cfi_rel_offset %r12, 32
	movq	%r13, 24(%rsp)
	.cfi_rel_offset %r13, 24
	movq	%r14, 16(%rsp)
	.cfi_rel_offset %r14, 16
	movq	%r15, 8(%rsp)
	.cfi_rel_offset %r15, 8
	/* The control words are callee-saved too: a rounding mode must not leak to other fibers (hazard 33). They cost
	 * 1.4 ns of 4.7; loading them only when they differ was slower (6.4), as the read waits for the store. */
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)

	/* Both stacks have the same layout here, so the unwind rules stay true over the change. */
	movq	%rsp, (%rdi)
	movq	(%rsi), %rsp

	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	movq	56(%rsp), %rcx
	movq	48(%rsp), %rbp
	movq	40(%rsp), %rbx
	movq	32(%rsp), %r12
	movq	24(%rsp), %r13
	movq	16(%rsp), %r14
	movq	8(%rsp), %r15
	movq	%rdi, %rax
	leaq	64(%rsp), %rsp
	.cfi_adjust_cfa_offset -64
	.cfi_restore %rbp
	.cfi_restore %rbx
	.cfi_restore %r12
	.cfi_restore %r13
	.cfi_restore %r14
	.cfi_restore %r15
	.cfi_register %rip, %rcx
	jmpq	*%rcx
	.cfi_endproc
	.size	th_context_swap, .-th_context_swap

/* Where a fresh context goes on: rax = who switched, r12 = entry, r13 = arg, rsp = the 16-aligned top of the stack.
 * The return address is undefined for unwinders: backtraces end here instead of running off the stack. They look up
 * the byte before a return address, and in a context that never ran that is this label: hence the nop before it. */
	.globl	th_context_entry
	.hidden	th_context_entry
	.type	th_context_entry, @function
	.p2align 4
	.cfi_startproc
	.cfi_def_cfa %rsp, 0
	.cfi_undefined %rip
	nop
th_context_entry:
	endbr64
	movq	%rax, %rdi
	movq	%r12, %rsi
	movq	%r13, %rdx
	call	th_context_begin
	ud2
	.cfi_endproc
	.size	th_context_entry, .-th_context_entry

	/* Without the note the linker makes every stack of the process executable. */
	.section .note.GNU-stack, "", @progbits
