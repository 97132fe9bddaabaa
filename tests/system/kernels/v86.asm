; Virtual-8086 mode: what IOPL lets through, frames, segments; the I/O permission map in both modes. SDM vol. 3, chapter 21; vol. 1, 18.5.
%include "protected.inc"
%define OWN_RESTORE
%define OWN_REPORT
V86_SS equ 0x0400
V86_SP equ 0x0ff0
PORT equ 0x80
START
main:
  ENTER32
  call instructions
  call frames
  call segments
  call ports
  jmp exit32

bits 32
restore:
  mov ax, DATA0
  mov ds, ax
  mov es, ax
  ret

report:
  test dword [ebp + 56], 0x20000
  jz .end
  FIELD " es=", [ebp + 68], 4
  FIELD " ds=", [ebp + 72], 4
  FIELD " fs=", [ebp + 76], 4
  FIELD " gs=", [ebp + 80], 4
.end:
  ret

; To virtual-8086 mode at the 16-bit code that follows: CS is the paragraph of 0x8000.
%macro V86 1 ; flags besides VM
  push dword 0x4444
  push dword 0x3333
  push dword 0x2222
  push dword 0x1111
  push dword V86_SS
  push dword V86_SP
  push dword 0x20002 | (%1)
  push dword 0x800
  push dword %%go - 0x8000
  iretd
bits 16
%%go:
%endmacro
%macro BACK 0
  ; INT needs IOPL 3: UD2 serves at every IOPL.
  ud2
bits 32
%$after:
%pop
%endmacro

; The same instructions with IOPL 0 and 3
%macro BOTH 2
  TEST %strcat(%1, ", IOPL 0")
  V86 0
  %2
  BACK
  TEST %strcat(%1, ", IOPL 3")
  V86 0x3000
  %2
  BACK
%endmacro

instructions:
  BOTH "nothing", {nop}
  BOTH "cli", {cli}
  BOTH "sti", {sti}
  BOTH "pushf", {pushf}
  BOTH "pushfd", {pushfd}
  TEST "popf, IOPL 3"
  V86 0x3000
  push word 0x7fd7 & ~0x100
  popf
  BACK
  TEST "popfd, IOPL 3"
  V86 0x3000
  push dword 0x3f7ed7 & ~0x20000
  popfd
  BACK
  BOTH "popf", {popf}
  BOTH "int", {int 0x80}
  BOTH "int through a gate of ring 0", {int 0x20}
  BOTH "int3", {int3}
  TEST "into, IOPL 0"
  V86 0
  mov al, 0x7f
  add al, 1
  into
  BACK
  BOTH "hlt", {hlt}
  BOTH "iret", {iret}
  TEST "iret in the mode"
  V86 0x3000
  push word 0x7ed7
  push word 0x810
  push word .target - 0x8100
  iret
.target:
  BACK
  TEST "iretd in the mode"
  V86 0x3000
  push dword 0x277ed7
  push dword 0x810
  push dword .target32 - 0x8100
  o32 iret
.target32:
  BACK
  BOTH "mov eax, cr0", {mov eax, cr0}
  BOTH "mov cr3, eax", {mov cr3, eax}
  BOTH "mov eax, dr0", {mov eax, dr0}
  BOTH "clts", {clts}
  BOTH "lgdt", {lgdt [0]}
  BOTH "lidt", {lidt [0]}
  BOTH "lmsw", {lmsw ax}
  BOTH "invlpg", {invlpg [0]}
  BOTH "wbinvd", {wbinvd}
  BOTH "rdmsr", {rdmsr}
  BOTH "lldt", {lldt ax}
  BOTH "ltr", {ltr ax}
  BOTH "sldt", {sldt ax}
  BOTH "str", {str ax}
  BOTH "lar", {lar ax, ax}
  BOTH "lsl", {lsl ax, ax}
  BOTH "verr", {verr ax}
  BOTH "arpl", {arpl ax, ax}
  BOTH "sysenter", {sysenter}
  BOTH "sysexit", {sysexit}
  TEST "smsw"
  V86 0
  smsw ax
  BACK
  ret

; Where events from the mode arrive.
frames:
  TEST "divide error"
  V86 0
  xor cx, cx
  div cx
  BACK
  TEST "trap gate"
  mov byte [IDT_AT + 0x80 * 8 + 5], 0xef
  V86 0x3000
  int 0x80
  BACK
  mov byte [IDT_AT + 0x80 * 8 + 5], 0xee
  SDM "handler in ring 1", "v=0d e=00000058", "21.3.1"
  SET_GATE IDT_AT + 0x40 * 8, CODE1, trampoline, 0xee, 0
  V86 0x3000
  int 0x40
  BACK
  TEST "handler in conforming code"
  SET_GATE IDT_AT + 0x40 * 8, CONFORMING0, trampoline, 0xee, 0
  V86 0x3000
  int 0x40
  BACK
  TEST "16-bit gate"
  SET_GATE IDT_AT + 0x40 * 8, CODE0, small_frame, 0xe6, 0
  V86 0x3000
  int 0x40
  BACK
  TEST "and back: IRET restores everything"
  SET_GATE IDT_AT + 0x40 * 8, CODE0, return32, 0xee, 0
  V86 0x3000
  mov eax, 0x12345678
  int 0x40
  BACK
  SDM "VM is ignored outside ring 0", "v=80 e=00000000 at=001b:", "vol. 2 IRET"
  USER
  push dword 0x4444
  push dword 0x3333
  push dword 0x2222
  push dword 0x1111
  push dword V86_SS
  push dword V86_SP
  push dword 0x20002
  push dword CODE3
  push dword .user
  iretd
.user:
  int 0x80
  times 0x1ae nop ; QEMU enters the mode: there CS is a paragraph
  ud2
  NEVER
  TEST "16-bit IRET does not enter"
  push word 2
  push word CODE0
  mov eax, .same
  push ax
  o16 iret
.same:
  DONE
  ret

trampoline:
  int 0x80
small_frame: ; SP of the inner stack, and what lies there
  mov eax, [esp]
  mov ebx, [esp + 4]
  mov ecx, [esp + 8]
  mov edx, [esp + 12]
  mov esi, [esp + 16]
  int 0x80
return32:
  mov edx, ds
  mov ecx, es
  mov ebx, gs
  iretd

segments:
  TEST "segment loads"
  mov dword [0x12340], 0xcafe1234
  V86 0
  mov ax, 0x1230
  mov ds, ax
  mov ebx, [0x40]
  mov es, ax
  mov cx, es
  push es
  pop fs
  mov dx, fs
  lds si, [0x40]
  BACK
  TEST "far call and return"
  V86 0
  call 0x810:.callee - 0x8100
  jmp .over
.callee:
  mov ax, cs
  mov bx, sp
  retf
.over:
  mov cx, cs
  BACK
  TEST "far jump"
  V86 0
  jmp 0x801:.there - 0x8010
.there:
  mov ax, cs
  BACK
  TEST "32-bit far return"
  V86 0
  push dword 0x12340810
  push dword .far32 - 0x8100
  o32 retf
.far32:
  mov ax, cs
  BACK
  SDM "data beyond 64 KiB", "v=0d e=00000000", "21.2.1"
  V86 0
  mov ebx, 0x10000
  mov al, [ebx]
  BACK
  SDM "word over 64 KiB", "v=0d e=00000000", "21.2.1"
  V86 0
  mov bx, 0xffff
  mov ax, [bx]
  BACK
  SDM "stack word over 64 KiB", "v=0c e=00000000", "21.2.1"
  V86 0
  mov sp, 1
  push ax
  BACK
  SDM "jump beyond 64 KiB", "v=0d e=00000000", "21.2.1"
  V86 0
  mov eax, 0x18000
  o32 jmp eax
  BACK
  TEST "addresses above 1 MiB"
  V86 0
  mov ax, 0xffff
  mov ds, ax
  mov bx, 0x20
  mov byte [bx], 0x5a
  mov al, [bx]
  BACK
  PX [0x100010], 2
  ENDROW
  ret

%macro TRY 1
  CASE
  %1
  RESULT
%endmacro

; IN of each width at ports 0 … 0x1f and 0x3f8 ff. with bits set here and there; ring 3, IOPL 0.
ports:
  mov word [TSS_AT + 0x66], 0x68
  mov dword [TSS_AT + 0x68], 0x80010204
  mov byte [TSS_AT + 0x6c], 0xff
  mov word [gdt + TSS], 0x6c
  mov byte [gdt + TSS + 5], 0x89
  mov ax, TSS
  ltr ax
  mov dword [port], 0
.row:
  ROW "port ", [port], 3
  CASE
  USER
  mov edx, [ss:port]
  in al, dx
  RESULT
  CASE
  USER
  mov edx, [ss:port]
  in ax, dx
  RESULT
  CASE
  USER
  mov edx, [ss:port]
  in eax, dx
  RESULT
  CASE
  mov dword [ringflags], 0x3002
  USER
  mov edx, [ss:port]
  in eax, dx
  RESULT
  mov dword [ringflags], 2
  ENDROW
  inc dword [port]
  cmp dword [port], 0x2a
  jb .row
  mov byte [gdt + TSS + 5], 0x89
  mov word [gdt + TSS], 0x6c
  mov ax, TSS
  ltr ax
  TEST "v86 port free, IOPL 3"
  V86 0x3000
  in al, 0
  mov al, 0
  BACK
  TEST "v86 port taken, IOPL 3"
  V86 0x3000
  in al, 2
  BACK
  TEST "v86 port free, IOPL 0"
  V86 0
  in al, 0
  mov al, 0
  BACK
  TEST "v86 outs taken"
  V86 0x3000
  mov dx, 2
  outsb
  BACK
  TEST "v86 ins over the limit"
  V86 0x3000
  mov dx, 0x100
  insb
  BACK
  TEST "immediate port"
  USER
  in al, 9
  DONE
  SDM "rep outs, no element", "v=80 e=00000000", "vol. 2 REP"
  USER
  mov dx, 2
  xor ecx, ecx
  rep outsb
  DONE
  TEST "no map"
  mov word [TSS_AT + 0x66], 0x6c
  USER
  in al, 0
  DONE
  TEST "map far beyond"
  mov word [TSS_AT + 0x66], 0xffff
  USER
  in al, 0
  DONE
  TEST "16-bit TSS has none"
  SET_DESC SLOT_A, TSS_AT, 0x6c, 0x81, 0
  mov ax, SLOT_A
  ltr ax
  mov word [TSS_AT + 2], 0x5000
  mov word [TSS_AT + 4], DATA0
  USER
  in al, 0
  DONE
  ret

section .data
port: dd 0
section .text
PROTECTED_CODE
