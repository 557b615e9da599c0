/* sched/context_aarch64.S: the switch between two stacks, and the first frame of a fresh one. AAPCS64, ELF.
 *
 *   struct th_context *th_context_swap(struct th_context *from, struct th_context *to)
 *
 * Saves what the ABI calls callee-saved on the running stack, stores sp in from->sp (offset 0), and goes on where to->sp
 * was stored. It returns there the `from` of whoever switched: the resumed side learns where it was called from without
 * a thread-local variable. x18 is the platform's and is not touched; nor are the signal mask and tpidr_el0.
 *
 * A saved stack, from to->sp upwards (context.c builds the same for a fresh one):
 *
 *   0 x19..x28, 80 x29, 88 x30 (where to go on), 96 d8..d15, 160 fpcr, 168 unused
 *
 * It ends in ret, unlike x86-64: where BTI is on, an indirect branch may only land on a `bti` and the place after a call
 * is none. x30 is not signed: callers built with pac-ret sign theirs in their own frames, against their own sp. */
	.text

	.globl	th_context_swap
	.hidden	th_context_swap
	.type	th_context_swap, %function
	.p2align 4
th_context_swap:
	.cfi_startproc
	hint	#34 /* bti c */
	sub	sp, sp, #176
	.cfi_def_cfa_offset 176
	stp	x19, x20, [sp, #0]
	.cfi_offset 19, -176
	.cfi_offset 20, -168
	stp	x21, x22, [sp, #16]
	.cfi_offset 21, -160
	.cfi_offset 22, -152
	stp	x23, x24, [sp, #32]
	.cfi_offset 23, -144
	.cfi_offset 24, -136
	stp	x25, x26, [sp, #48]
	.cfi_offset 25, -128
	.cfi_offset 26, -120
	stp	x27, x28, [sp, #64]
	.cfi_offset 27, -112
	.cfi_offset 28, -104
	stp	x29, x30, [sp, #80]
	.cfi_offset 29, -96
	.cfi_offset 30, -88
	/* 72 and up are the DWARF numbers of v8 and up: only their low halves, d8 to d15, are callee-saved. */
	stp	d8, d9, [sp, #96]
	.cfi_offset 72, -80
	.cfi_offset 73, -72
	stp	d10, d11, [sp, #112]
	.cfi_offset 74, -64
	.cfi_offset 75, -56
	stp	d12, d13, [sp, #128]
	.cfi_offset 76, -48
	.cfi_offset 77, -40
	stp	d14, d15, [sp, #144]
	.cfi_offset 78, -32
	.cfi_offset 79, -24
	/* The control word too: a rounding mode must not leak to other fibers (hazard 33). */
	mrs	x9, fpcr
	str	x9, [sp, #160]

	/* Both stacks have the same layout here, so the unwind rules stay true over the change. */
	mov	x10, sp
	str	x10, [x0]
	ldr	x10, [x1]
	mov	sp, x10

	/* Writing fpcr drains the pipeline on many cores: only when it changes. */
	ldr	x11, [sp, #160]
	cmp	x9, x11
	b.eq	1f
	msr	fpcr, x11
1:	ldp	x19, x20, [sp, #0]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	add	sp, sp, #176
	.cfi_def_cfa_offset 0
	.cfi_restore 19
	.cfi_restore 20
	.cfi_restore 21
	.cfi_restore 22
	.cfi_restore 23
	.cfi_restore 24
	.cfi_restore 25
	.cfi_restore 26
	.cfi_restore 27
	.cfi_restore 28
	.cfi_restore 29
	.cfi_restore 30
	.cfi_restore 72
	.cfi_restore 73
	.cfi_restore 74
	.cfi_restore 75
	.cfi_restore 76
	.cfi_restore 77
	.cfi_restore 78
	.cfi_restore 79
	ret
	.cfi_endproc
	.size	th_context_swap, .-th_context_swap

/* Where a fresh context goes on: x0 = who switched, x19 = entry, x20 = arg, sp = the 16-aligned top of the stack.
 * The return address is undefined for unwinders: backtraces end here instead of running off the stack. They look up
 * the byte before a return address, and in a context that never ran that is this label: hence the nop before it. */
	.globl	th_context_entry
	.hidden	th_context_entry
	.type	th_context_entry, %function
	.p2align 4
	.cfi_startproc
	.cfi_undefined 30
	nop
th_context_entry:
	hint	#34 /* bti c */
	mov	x1, x19
	mov	x2, x20
	bl	th_context_begin
	brk	#1
	.cfi_endproc
	.size	th_context_entry, .-th_context_entry

	/* Without this note the linker drops BTI for the whole program; all entry points above allow it. */
#ifdef __ARM_FEATURE_BTI_DEFAULT
	.section .note.gnu.property, "a"
	.p2align 3
	.word	4, 16, 5           /* sizes of the name and the contents; NT_GNU_PROPERTY_TYPE_0 */
	.asciz	"GNU"
	.word	0xc0000000, 4, 1, 0 /* GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI */
#endif

	/* Without the note the linker makes every stack of the process executable. */
	.section .note.GNU-stack, "", %progbits
