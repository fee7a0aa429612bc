// From the reset vector to 64-bit code with AVX-512 switched on: no BIOS, no interrupts.
// Page tables lie at 4 KiB, the program is copied to 1 MiB, the stack ends at 48 MiB. Memory is zero
// where nothing was written: the emulator sees to that.

// Where this section is in the ROM, and what code's addresses count from at first.
.set in_rom, 0xFFFFFE00
.set code_base, 0xFFFF0000

.section .reset, "ax"
.code16
reset:
    cli
    lgdtl %cs:gdt_pointer_in_rom - reset + in_rom - code_base
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $8, $(protected - reset + in_rom)

.code32
protected:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %esi, %esi
    sub $rom_size, %esi
    mov $program_start, %edi
    mov $rom_size, %ecx
    cld
    rep movsb
    ljmp $8, $copied

copied:
    lgdt gdt_pointer
    // The first GiB where it is, by one page.
    movl $0x2003, 0x1000
    movl $0x0083, 0x2000
    mov $0x1000, %eax
    mov %eax, %cr3
    // CR4: PAE, FXSAVE, SSE exceptions, XSAVE.
    mov %cr4, %eax
    or $0x40620, %eax
    mov %eax, %cr4
    // What a system says that it saves (XCR0): x87, SSE, AVX and the three parts of AVX-512.
    xor %ecx, %ecx
    xor %edx, %edx
    mov $0xE7, %eax
    xsetbv
    // EFER: long mode.
    mov $0xC0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    // CR0: paging, an FPU that is not emulated, caches on.
    mov %cr0, %eax
    and $~0x60000004, %eax
    or $0x80000002, %eax
    mov %eax, %cr0
    ljmp $24, $long

.code64
long:
    mov $0x3000000, %esp
    call main

.balign 8
gdt:
    .quad 0
    .quad 0x00CF9A000000FFFF // 8: code, 32 bit
    .quad 0x00CF92000000FFFF // 16: data
    .quad 0x00AF9A000000FFFF // 24: code, 64 bit
gdt_pointer_in_rom:
    .word 4 * 8 - 1
    .long gdt - reset + in_rom
gdt_pointer:
    .word 4 * 8 - 1
    .long gdt

// The last 16 octets: where the CPU begins.
.org 0x1F0
.code16
    jmp reset
.org 0x200
