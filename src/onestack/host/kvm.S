/* A guest of one sector: says whether this CPU, as the hypervisor shows it, can do what
 * a kernel does first. Made into `BOOT_SECTOR` in kvm.py by
 *
 *     as --64 kvm.S -o kvm.o && ld -Ttext 0x7c00 --oformat binary kvm.o -o kvm.bin
 *
 * A KVM below another hypervisor may run real mode, and fail at the first return
 * from an interrupt in protected mode: so there is one in each mode.
 */
.code16
.globl _start
_start:
    cli
    xorw %ax,%ax
    movw %ax,%ds
    movw %ax,%es
    lgdtl gdtr
    movl %cr0,%eax
    orb $1,%al
    movl %eax,%cr0
    ljmp $8,$pm
.code32
/* protected mode: return to where we are */
pm:
    movw $16,%ax
    movw %ax,%ds
    movw %ax,%es
    movw %ax,%ss
    movl $0x7c00,%esp
    pushf
    pushl %cs
    pushl $back
    iret
/* long mode: the first 2 MiB mapped to themselves, one interrupt gate */
back:
    movl $0x1000,%edi
    xorl %eax,%eax
    movl $0x1000,%ecx
    rep stosl
    movl $0x2003,0x1000
    movl $0x3003,0x2000
    movl $0x83,0x3000
    movl $handler,%eax
    movw %ax,0x4000
    movl $0x8e000018,0x4002
    movl $0x1000,%eax
    movl %eax,%cr3
    movl %cr4,%eax
    orb $0x20,%al
    movl %eax,%cr4
    movl $0xc0000080,%ecx
    rdmsr
    orb $1,%ah
    wrmsr
    movl %cr0,%eax
    orl $0x80000000,%eax
    movl %eax,%cr0
    ljmp $24,$lm
.code64
lm:
    lidt idtr
    int $0
    hlt
handler:
    pushq $16
    pushq $0x7c00
    pushfq
    pushq $24
    pushq $alive
    iretq
/* ALIVE to QEMU's isa-debug-exit */
alive:
    movw $0x501,%dx
    movb $0x2a,%al
    outb %al,%dx
stop:
    hlt
    jmp stop
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff
    .quad 0x00cf92000000ffff
    .quad 0x00af9a000000ffff
gdtr: .word 31
    .long gdt
idtr: .word 15
    .quad 0x4000
