; Data and port breakpoints, steps on branches, alignment checks: by the manual alone, for QEMU has neither right. A test tells its result: for every
; debug exception the value of EBX, which counts what the program has done, and the low half of DR6; then where it ended.
; SDM vol. 3, 18.2, 18.3.1.2, 18.4.2, 6.15.
%include "protected.inc"
%include "checks.inc"
%define OWN_RESTORE
%define OWN_REPORT
BUFFER equ 0x20000
W1 equ 1
W2 equ 1 | 4
W4 equ 1 | 12
W8 equ 1 | 8
RW1 equ 3
RW2 equ 3 | 4
RW4 equ 3 | 12
IO1 equ 2
IO2 equ 2 | 4
IO4 equ 2 | 12

%macro WATCH 3 ; register number, address, R/W and LEN as in DR7
  mov eax, %2
  mov dr%1, eax
  mov eax, dr7
  or eax, (2 << (%1 * 2)) | ((%3) << (16 + %1 * 4))
  mov dr7, eax
  xor ebx, ebx
%endmacro
%macro N 0-1 1 ; something was done
  add ebx, %1
%endmacro
; TRAPS name, debug exceptions
%macro TRAPS 2
  SDM %1, %strcat(%2, "end"), "18.2, 18.3.1"
  mov byte [keepgoing], 1
%endmacro

START
main:
  ENTER32
  mov eax, cr4
  or eax, 0x208 ; DE, OSFXSR
  mov cr4, eax
  mov byte [compact], 1
  call data
  call io
  call mixed
  call branches
  mov byte [compact], 0
  call alignment
  jmp exit32

bits 32
restore:
  push eax
  xor eax, eax
  mov dr7, eax
  mov eax, 0xffff0ff0
  mov dr6, eax
  mov byte [keepgoing], 0
  mov byte [withrf], 0
  mov ax, DATA0
  mov ds, ax
  mov es, ax
  mov eax, cr0
  and eax, ~0x40000
  mov cr0, eax
  mov dword [ringflags], 2
  pop eax
  ret
report:
  ret

; Traps after the access.
data:
  TRAPS "write", "2:0ff1 "
  WATCH 0, BUFFER, W4
  mov eax, [BUFFER]
  mov [BUFFER + 4], eax
  N 2
  mov [BUFFER], eax
  N
  DONE
  TRAPS "read or write", "0:0ff2 1:0ff2 3:0ff2 "
  WATCH 1, BUFFER, RW4
  mov eax, [BUFFER]
  N
  mov [BUFFER + 3], al
  N
  mov [BUFFER + 4], al
  N
  cmp byte [BUFFER + 1], 0
  N
  DONE
  TRAPS "one byte of a dword", "0:0ff4 2:0ff4 "
  WATCH 2, BUFFER + 6, W1
  mov [BUFFER + 4], eax
  N
  mov [BUFFER + 7], al
  N
  mov [BUFFER + 3], eax
  N
  mov [BUFFER + 2], eax
  DONE
  TRAPS "address is aligned to the length", "0:0ff8 "
  WATCH 3, BUFFER + 3, W4
  mov [BUFFER], al
  N
  DONE
  TRAPS "updates", "0:0ff1 1:0ff1 2:0ff1 3:0ff1 5:0ff1 "
  WATCH 0, BUFFER, W2
  inc word [BUFFER]
  N
  xchg [BUFFER + 1], al
  N
  mov edi, BUFFER
  stosb
  N
  lock add dword [BUFFER - 2], 0
  N
  cmp word [BUFFER], 0
  N
  bts dword [BUFFER], 0
  N
  DONE
  TRAPS "an exchange that fails writes what was there", "0:0ff1 "
  WATCH 0, BUFFER, W4
  mov dword [BUFFER + 8], 1
  mov eax, 0x5555
  lock cmpxchg [BUFFER], ecx
  N
  DONE
  TRAPS "repeated string: after the element", "0:0ff1 "
  WATCH 0, BUFFER + 2, W1
  mov edi, BUFFER
  mov ecx, 5
  rep stosb
  N
  DONE
  SDM "repeated string: where it stops", "v=01 e=00000000 r=00010402,b0b0b0b0,00000002,d0d0d0d0,51515151,00020003,b9b9b9b9", "18.3.1.2"
  mov byte [compact], 0
  mov eax, BUFFER + 2
  mov dr0, eax
  mov eax, 0x10402
  mov dr7, eax
  mov edi, BUFFER
  mov ecx, 5
  rep stosb
  DONE
  mov byte [compact], 1
  TRAPS "movs reads", "0:0ff1 "
  WATCH 0, BUFFER + 4, RW4
  mov esi, BUFFER
  mov edi, BUFFER + 0x100
  mov ecx, 3
  rep movsd
  N
  DONE
  TRAPS "two watches at once", "0:0ff3 1:0ff1 "
  WATCH 0, BUFFER, RW4
  WATCH 1, BUFFER + 2, W1
  mov [BUFFER], eax
  N
  mov eax, [BUFFER]
  N
  DONE
  TRAPS "ring 3", "1:0ff1 "
  WATCH 0, BUFFER, W4
  USER
  N
  mov [ss:BUFFER], eax
  N
  DONE
  TRAPS "push, pop and call in ring 3", "1:0ff1 2:0ff1 "
  WATCH 0, STACK3 - 4, W4
  USER
  N
  push dword 5
  N
  pop ecx
  call .callee
.callee:
  N 2
  pop ecx
  DONE
  TRAPS "x87 and SSE", "0:0ff1 2:0ff1 3:0ff1 4:0ff1 "
  WATCH 0, BUFFER + 8, RW1
  fninit
  fld1
  fstp tword [BUFFER - 1]
  N
  movsd [BUFFER], xmm0
  N
  fstp tword [BUFFER]
  N
  movups xmm0, [BUFFER]
  N
  movups [BUFFER - 7], xmm0
  N
  DONE
  TRAPS "state image", "0:0ff1 "
  WATCH 0, BUFFER + 0x10, W4
  fxsave [BUFFER]
  N
  fxrstor [BUFFER]
  N
  DONE
  TRAPS "eight bytes", "0:0ff1 "
  WATCH 0, BUFFER + 8, W8
  mov [BUFFER + 15], al
  N
  mov [BUFFER + 16], al
  N
  DONE
  TRAPS "over a page's end", "0:0ff1 "
  WATCH 0, BUFFER + 0x1000, W1
  mov [BUFFER + 0xffe], eax
  N
  DONE
  TRAPS "after the watch is off", ""
  WATCH 0, BUFFER, W4
  xor eax, eax
  mov dr7, eax
  mov [BUFFER], eax
  DONE
  TRAPS "not enabled", ""
  WATCH 0, BUFFER, W4
  mov eax, 0x000d0000
  mov dr7, eax
  mov [BUFFER], eax
  DONE
  TRAPS "enabled after accesses", "1:0ff1 "
  mov [BUFFER], eax
  mov eax, [BUFFER]
  WATCH 0, BUFFER, RW4
  N
  mov [BUFFER], eax
  N
  DONE
  SDM "an instruction that faults has done nothing", "0d", "18.3.1.2"
  mov byte [keepgoing], 1
  WATCH 0, BUFFER, RW4
  mov dword [BUFFER + 4], 0xfff8
  lgs eax, [BUFFER]
  DONE
  TRAPS "MOV SS holds the trap off", "1:0ff1 "
  mov [BUFFER], ss
  WATCH 0, BUFFER, RW2
  mov ss, [BUFFER]
  N
  N
  DONE
  ret

io:
  TRAPS "port", "0:0ff1 2:0ff1 "
  WATCH 0, 0xed, IO1
  in al, 0xed
  N
  in al, 0xee
  N
  out 0xed, al
  N
  DONE
  TRAPS "word at a port", "0:0ff2 1:0ff2 "
  WATCH 1, 0x2f0, IO2
  mov dx, 0x2ef
  in ax, dx
  N
  mov dx, 0x2f1
  out dx, ax
  N
  mov dx, 0x2f2
  in ax, dx
  N
  DONE
  TRAPS "rep outs: after every element", "0:0ff1 0:0ff1 "
  WATCH 0, 0xed, IO1
  mov dx, 0xed
  mov esi, BUFFER
  mov ecx, 2
  rep outsb
  N
  DONE
  TRAPS "memory at a port's number", ""
  WATCH 0, 0x2f0, IO4
  mov eax, [0x2f0]
  DONE
  TRAPS "without CR4.DE", ""
  mov eax, cr4
  and eax, ~8
  mov cr4, eax
  WATCH 0, 0xed, IO1
  in al, 0xed
  DONE
  mov eax, cr4
  or eax, 8
  mov cr4, eax
  ret

mixed:
  TRAPS "step and watch at once", "0:4ff1 0:4ff0 "
  WATCH 0, BUFFER, W4
  push dword 2
  push dword 0x102
  popfd
  mov [BUFFER], eax
  popfd
  N
  DONE
  TRAPS "execution breakpoint at a repeated string: once", "0:0ff1 "
  mov byte [withrf], 1
  WATCH 0, .string, 0
  mov edi, BUFFER
  mov ecx, 4
.string:
  rep stosb
  N
  DONE
  TRAPS "execution breakpoint in a loop: every turn", "0:0ff1 1:0ff1 2:0ff1 "
  mov byte [withrf], 1
  WATCH 0, .again, 0
.again:
  N
  cmp ebx, 3
  jb .again
  DONE
  TRAPS "execution breakpoint after a repeated string", "0:0ff1 0:0ff2 "
  mov byte [withrf], 1
  WATCH 0, .first, 0
  WATCH 1, .second, 0
  mov edi, BUFFER
  mov ecx, 2
.first:
  rep stosb
.second:
  nop
  DONE
  TRAPS "watched element of a string with a breakpoint", "0:0ff1 0:0ff2 "
  mov byte [withrf], 1
  WATCH 0, .both, 0
  WATCH 1, BUFFER + 1, W1
  mov edi, BUFFER
  mov ecx, 4
.both:
  rep stosb
  DONE
  ret

; DEBUGCTL.BTF: a step ends with a taken branch, and the first debug exception ends that. SDM vol. 3, 18.4.2.
%macro BRANCHES 0
  WRITE_MSR 0x1d9, 0, 2
  xor ebx, ebx
  push dword 0x102
  popfd
%endmacro
%macro NO_STEPS 0
  push dword 2
  popfd
%endmacro
branches:
  TRAPS "what does not branch", ""
  mov edi, BUFFER
  BRANCHES
  N
  mov ecx, 3
  rep stosb
  stc
  jnc .never
  N
  mov ecx, 1
  loop .never
.never:
  NO_STEPS
  DONE
  TRAPS "a jump, then every instruction", "1:4ff0 1:4ff0 2:4ff0 2:4ff0 2:4ff0 "
  BRANCHES
  N
  jmp .on
  N
.on:
  nop
  N
  NO_STEPS
  DONE
  TRAPS "a call", "1:4ff0 1:4ff0 1:4ff0 1:4ff0 "
  BRANCHES
  N
  call .called
  NO_STEPS
  DONE
  TRAPS "a jump to the next instruction", "1:4ff0 1:4ff0 1:4ff0 "
  BRANCHES
  N
  jmp short $ + 2
  NO_STEPS
  DONE
  TRAPS "a condition that holds", "1:4ff0 1:4ff0 1:4ff0 "
  BRANCHES
  N
  jnz .holds
  N
.holds:
  NO_STEPS
  DONE
  TRAPS "the last turn of a loop is none", "1:4ff0 2:4ff0 2:4ff0 2:4ff0 2:4ff0 "
  mov ecx, 2
  BRANCHES
  mov ecx, 2
.turn:
  N
  loop .turn
  NO_STEPS
  DONE
  TRAPS "a return from an interrupt begins it", "1:4ff0 1:4ff0 1:4ff0 "
  WRITE_MSR 0x1d9, 0, 2
  xor ebx, ebx
  push dword 0x102
  push dword CODE0
  push dword .stepped
  iretd
.stepped:
  N
  jmp short $ + 2
  NO_STEPS
  DONE
  TRAPS "a breakpoint ends it too", "0:0ff1 1:4ff0 1:4ff0 1:4ff0 1:4ff0 "
  mov byte [withrf], 1
  WATCH 0, .here, 0
  BRANCHES
.here:
  N
  nop
  NO_STEPS
  DONE
  TRAPS "DEBUGCTL has it no longer", "0:4ff0 0:4ff0 0:4ff0 5:0ff1 "
  BRANCHES
  jmp short $ + 2
  NO_STEPS
  READ_MSR 0x1d9
  mov esi, eax
  mov byte [withrf], 1
  WATCH 0, .read, 0
  lea ebx, [esi + 5]
.read:
  nop
  DONE
  ret
.called:
  ret

; CR0.AM, EFLAGS.AC, ring 3.
%macro UNALIGNED 3
  SDM %1, %2, "6.15, #AC"
  mov eax, cr0
  or eax, 0x40000
  mov cr0, eax
  mov dword [ringflags], 0x40002
  USER
  mov ax, DATA3
  mov ds, ax
  mov es, ax
  mov esi, BUFFER
  mov edi, BUFFER + 0x100
  %3
  DONE
%endmacro
%macro UNEVEN_PUSH 0
  mov esp, STACK3 - 2
  push eax
%endmacro
%macro UNEVEN_STRING 0
  inc esi
  mov ecx, 4
  rep movsd
%endmacro
%macro EVEN_STRING 0
  mov ecx, 4
  rep movsd
%endmacro
%macro TWICE 0
  mov eax, [BUFFER]
  mov [BUFFER], eax
  mov eax, [BUFFER + 4]
  mov eax, [BUFFER + 5]
%endmacro
%macro CLEARED 0
  push dword 2
  popfd
  mov eax, [BUFFER + 1]
%endmacro
%macro SET_LATER 0
  push dword 2
  popfd
  mov eax, [BUFFER + 1]
  mov [BUFFER + 1], eax
  push dword 0x40002
  popfd
  mov eax, [BUFFER + 1]
%endmacro

alignment:
  UNALIGNED "aligned", "v=80", {mov eax, [BUFFER]}
  UNALIGNED "word", "v=11 e=00000000", {mov ax, [BUFFER + 1]}
  UNALIGNED "dword", "v=11 e=00000000", {mov eax, [BUFFER + 2]}
  UNALIGNED "store", "v=11 e=00000000", {mov [BUFFER + 3], eax}
  UNALIGNED "byte", "v=80", {mov al, [BUFFER + 3]}
  UNALIGNED "update", "v=11 e=00000000", {inc dword [BUFFER + 3]}
  UNALIGNED "push", "v=11 e=00000000", {UNEVEN_PUSH}
  UNALIGNED "qword", "v=11 e=00000000", {movq mm0, [BUFFER + 4]}
  UNALIGNED "qword, aligned", "v=80", {movq mm0, [BUFFER + 8]}
  UNALIGNED "double", "v=11 e=00000000", {fld qword [BUFFER + 4]}
  UNALIGNED "string", "v=11 e=00000000", {UNEVEN_STRING}
  UNALIGNED "string, aligned", "v=80", {EVEN_STRING}
  UNALIGNED "the same page over and over", "v=11 e=00000000", {TWICE}
  UNALIGNED "after clearing AC", "v=80", {CLEARED}
  UNALIGNED "after setting AC", "v=11 e=00000000", {SET_LATER}
  UNALIGNED "16 bytes have a rule of their own", "v=80", {movups xmm0, [BUFFER + 4]}
  SDM "ring 0", "v=80", "6.15, #AC"
  mov eax, cr0
  or eax, 0x40000
  mov cr0, eax
  push dword 0x40002
  popfd
  mov eax, [BUFFER + 1]
  push dword 2
  popfd
  DONE
  SDM "AM clear", "v=80", "6.15, #AC"
  mov dword [ringflags], 0x40002
  USER
  mov eax, [ss:BUFFER + 1]
  DONE
  ret
PROTECTED_CODE
