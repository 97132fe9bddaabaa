; Protected mode: segment loads, far transfers and gates for every kind of descriptor; limits and rights of data accesses.
; SDM vol. 3, chapters 3 and 5.
%include "protected.inc"
%define OWN_RESTORE
START
main:
  ENTER32
  call descriptor_table
  call transfer_table
  call gate_table
  call accesses
  call limits16
  call code_limits
  jmp exit32

bits 32
restore:
  push eax
  xor eax, eax
  lldt ax
  mov fs, ax
  mov gs, ax
  mov ax, DATA0
  mov ds, ax
  mov es, ax
  mov byte [gdt + TSS + 5], 0x89
  mov ax, TSS
  ltr ax
  mov ax, cs
  pop eax
  ret

; SLOT_A: base 0, 4 GiB (or 1 MiB), access byte from [access], flags from [flags].
set_slot:
  mov dword [gdt + SLOT_A], 0xffff
  mov al, [flags]
  shl al, 4
  or al, 0xf
  mov [gdt + SLOT_A + 6], al
  mov byte [gdt + SLOT_A + 7], 0
  mov byte [gdt + SLOT_A + 4], 0
  mov al, [access]
  mov [gdt + SLOT_A + 5], al
  and al, 0x1c
  cmp al, 0x14
  jne .up
  mov dword [gdt + SLOT_A], 0 ; expand-down: everything above the first page
  and byte [gdt + SLOT_A + 6], 0xf0
.up:
  ret

; LOADS code: the same load from both rings with RPL 0 and 3
%macro LOADS 1
%assign rpl 0
%rep 2
  CASE
  mov ax, SLOT_A | rpl
  %1
  RESULT
  CASE
  USER
  mov ax, SLOT_A | rpl
  %1
  RESULT
%assign rpl rpl + 3
%endrep
%endmacro

%macro ASK 1 ; LAR, LSL, VERR, VERW: value where ZF is set
  mov eax, SLOT_A | 1
  mov ecx, 0x12345678
  %1
  jz %%set
  mov ecx, 0x0badbad0
%%set:
  PX ecx, 8
  PS " "
%endmacro

descriptor_table:
  mov dword [access], 0
.row:
  call set_slot
  ROW "load ", [access], 2
  LOADS {mov ds, ax}
  LOADS {mov ss, ax}
  LOADS {mov fs, ax}
  CASE
  mov ax, SLOT_A
  lldt ax
  RESULT
  CASE
  mov ax, SLOT_A
  ltr ax
  RESULT
  call set_slot
  ASK {lar ecx, eax}
  ASK {lsl ecx, eax}
  ASK {verr ax}
  ASK {verw ax}
  ; Loads set the accessed bit, and only those that succeed.
  call set_slot
  CASE
  mov ax, SLOT_A
  mov gs, ax
  RESULT
  PX [gdt + SLOT_A + 5], 2
  ENDROW
  inc dword [access]
  cmp dword [access], 0x100
  jb .row
  ret

%macro FAR 2 ; cpl, code
  CASE
%if %1 == 1
  RING CODE1, DATA1, STACK3, %%go
%elif %1 == 2
  RING CODE2, DATA2, STACK3, %%go
%elif %1 == 3
  RING CODE3, DATA3, STACK3, %%go
%endif
%%go:
  %2
  RESULT
%endmacro

; The frame's stack segment is right for the RPL.
%macro RETURN 2
%if ((%2) & 3) == 1
  push dword DATA1
%elif ((%2) & 3) == 2
  push dword DATA2
%else
  push dword DATA3
%endif
  push dword STACK3
  push dword (%2)
  push dword pad
  %1
%endmacro
%macro IRETURN 1
%if ((%1) & 3) == 1
  push dword DATA1
%elif ((%1) & 3) == 2
  push dword DATA2
%else
  push dword DATA3
%endif
  push dword STACK3
  push dword 2
  push dword (%1)
  push dword pad
  iretd
%endmacro

; Far JMP, CALL, RET and IRET to every kind of code and data segment, 16 and 32 bit.
transfer_table:
  mov byte [flags], 0xc
.flags:
  mov dword [access], 0x10
.row:
  call set_slot
  ROW "far ", [access], 2
%assign ring 0
%rep 4
  FAR ring, {jmp SLOT_A:pad}
  FAR ring, {jmp (SLOT_A | 3):pad}
  FAR ring, {call SLOT_A:pad}
%assign ring ring + 1
%endrep
%assign rpl 0
%rep 4
  FAR 0, {RETURN retf, SLOT_A | rpl}
  FAR 2, {RETURN retf, SLOT_A | rpl}
  FAR 0, {IRETURN SLOT_A | rpl}
%assign rpl rpl + 1
%endrep
  ENDROW
  inc dword [access]
  test dword [access], 0x10
  jnz .next
  add dword [access], 0x10
.next:
  cmp dword [access], 0x100
  jb .row
  cmp byte [flags], 4
  je .end
  mov byte [flags], 4
  jmp .flags
.end:
  mov byte [flags], 0xc
  ret

; Call gates and interrupt gates of every DPL to every code segment; the gate's own kinds.
gate_table:
  mov dword [access], 0x98
.row:
  call set_slot
  ROW "gate ", [access], 2
  SET_GATE gdt + GATE, SLOT_A, pad, 0xec, 0
  SET_GATE IDT_AT + 0x40 * 8, SLOT_A, pad, 0xee, 0
  SET_GATE IDT_AT + 0x41 * 8, SLOT_A | 3, pad, 0xef, 0
%assign ring 0
%rep 4
  FAR ring, {call GATE:0}
  FAR ring, {jmp (GATE | 3):0}
  FAR ring, {int 0x40}
  FAR ring, {int 0x41}
%assign ring ring + 1
%endrep
  ENDROW
  inc dword [access]
  test byte [access], 7
  jnz .row
  add dword [access], 0x18
  cmp dword [access], 0x100
  jb .row
; Every access byte of the gate itself.
  mov dword [access], 0
.kinds:
  ROW "gate kind ", [access], 2
  SET_GATE IDT_AT + 0x40 * 8, CODE0, pad, 0, 0
  mov al, [access]
  mov [IDT_AT + 0x40 * 8 + 5], al
  and al, 0x1f
  cmp al, 5
  je .skip
  FAR 0, {int 0x40}
  FAR 1, {int 0x40}
  FAR 3, {int 0x40}
  ; TSS kinds are the task kernel's matter.
  mov al, [access]
  and al, 0x17
  cmp al, 1
  je .skip
  SET_GATE gdt + GATE, CODE0, pad, 0, 0
  mov al, [access]
  mov [gdt + GATE + 5], al
  test al, 0x10
  jnz .skip
  FAR 0, {call GATE:0}
  FAR 1, {call GATE:0}
  FAR 3, {call GATE:0}
  FAR 3, {call (GATE | 3):0}
  FAR 0, {jmp (GATE | 1):0}
.skip:
  ENDROW
  inc dword [access]
  cmp dword [access], 0x100
  jb .kinds
; The selector in a gate, and the inner stack of the TSS.
  SET_GATE gdt + GATE, 0, pad, 0xec, 0
  TEST "call gate with null selector"
  call GATE:0
  DONE
  SET_GATE gdt + GATE, 0xfff8, pad, 0xec, 0
  TEST "call gate beyond table"
  call GATE:0
  DONE
  SET_GATE gdt + GATE, CODE0 | 4, pad, 0xec, 0
  TEST "call gate into no LDT"
  call GATE:0
  DONE
  SET_GATE IDT_AT + 0x40 * 8, 0, pad, 0xee, 0
  TEST "interrupt gate with null selector"
  int 0x40
  DONE
  SET_GATE IDT_AT + 0x40 * 8, 0xfffb, pad, 0xee, 0
  TEST "interrupt gate beyond table"
  int 0x40
  DONE
  TEST "interrupt beyond table"
  int 0xf0
  DONE
  TEST "far jump beyond table"
  jmp 0xfff8:0
  DONE
  TEST "far jump null"
  jmp 3:0
  DONE
  TEST "mov ss null"
  xor eax, eax
  mov ss, ax
  DONE
  TEST "mov cs"
  db 0x8e, 0xc8
  DONE
; Parameters are copied: 32-bit gate, 16-bit gate.
  SET_GATE gdt + GATE, CODE0, show_parameters, 0xec, 3
  TEST "32-bit gate copies parameters"
  USER
  push dword 0x11111111
  push dword 0x22222222
  push dword 0x33333333
  call GATE:0
  DONE
  SET_GATE gdt + GATE, CODE0, show_parameters, 0xe4, 3
  TEST "16-bit gate copies parameters"
  USER
  push dword 0x11112222
  push dword 0x33334444
  call GATE:0
  DONE
  SET_GATE gdt + GATE, CODE0, return_parameters, 0xec, 3
  TEST "return drops parameters on both stacks"
  USER
  push dword 0x11111111
  push dword 0x22222222
  push dword 0x33333333
  call GATE:0
  DONE
  SET_GATE gdt + GATE, CODE0, return_parameters16, 0xe4, 3
  TEST "16-bit gate and return"
  USER
  push dword 0x11111111
  push dword 0x22222222
  call GATE:0
  DONE
  ; Faults of these are delivered on the stack of ring 0, so the gate leads to ring 1.
  SET_GATE gdt + GATE, CODE1, pad, 0xec, 0
  mov dword [TSS_AT + 16], 0
  TEST "inner stack null"
  USER
  call GATE:0
  DONE
  mov dword [TSS_AT + 16], DATA0
  TEST "inner stack of another ring"
  USER
  call GATE:0
  DONE
  SET_DESC SLOT_B, 0, 0xfffff, 0x33, 0xc
  mov dword [TSS_AT + 16], SLOT_B | 1
  SDM "inner stack not present", "v=0c e=00000048", "6.15 (#SS), vol. 2 CALL"
  USER
  call GATE:0
  DONE
  SET_DESC SLOT_B, 0, 0xfffff, 0xb1, 0xc
  TEST "inner stack read-only"
  USER
  call GATE:0
  DONE
  mov dword [TSS_AT + 16], 0xfff9
  TEST "inner stack beyond table"
  USER
  call GATE:0
  DONE
  SET_DESC SLOT_B, 0, 0x4f, 0xb3, 0x4
  mov dword [TSS_AT + 16], SLOT_B | 1
  mov dword [TSS_AT + 12], 0x100
  SDM "inner stack beyond its limit", "v=0c e=00000048", "5.8.5"
  USER
  call GATE:0
  DONE
  mov dword [TSS_AT + 16], DATA1
  mov dword [TSS_AT + 12], STACK0 - 0xa00
  SET_DESC SLOT_B, TSS_AT, 11, 0x89, 0
  TEST "TSS too short for the stack"
  mov ax, SLOT_B
  ltr ax
  USER
  call GATE:0
  DONE
  ret

pad:
  int 0x80

show_parameters:
  mov eax, [esp]
  mov ebx, [esp + 4]
  mov ecx, [esp + 8]
  mov edx, [esp + 12]
  mov esi, [esp + 16]
  mov edi, [esp + 20]
  mov ebp, [esp + 24]
  int 0x80
return_parameters:
  retf 12
return_parameters16:
  o16 retf 6

; Rights and limits of accesses: QEMU looks at neither.
%macro AT 3 ; name, result, code
  SDM %1, %2, "5.3"
  mov ax, SLOT_A
  mov gs, ax
  %3
  DONE
%endmacro

accesses:
  SET_DESC SLOT_A, 0x20000, 0xfff, 0x93, 4
  AT "up: last byte", "v=80 e=00000000", {mov al, [gs:0xfff]}
  AT "up: byte beyond", "v=0d e=00000000", {mov al, [gs:0x1000]}
  AT "up: word over the end", "v=0d e=00000000", {mov ax, [gs:0xfff]}
  AT "up: last dword", "v=80 e=00000000", {mov eax, [gs:0xffc]}
  AT "up: dword over the end", "v=0d e=00000000", {mov eax, [gs:0xffd]}
  AT "up: store last dword", "v=80 e=00000000", {mov [gs:0xffc], eax}
  AT "up: store over the end", "v=0d e=00000000", {mov [gs:0xffd], eax}
  AT "up: update over the end", "v=0d e=00000000", {add dword [gs:0xffe], 1}
  AT "up: qword over the end", "v=0d e=00000000", {fld qword [gs:0xff9]}
  AT "up: last qword", "v=80 e=00000000", {movq mm0, [gs:0xff8]}
  AT "up: wraps around 4 GiB", "v=0d e=00000000", {mov eax, [gs:0xfffffffe]}
  AT "up: bt far outside", "v=0d e=00000000", {bts dword [gs:0xffc], eax}
  SDM "up: string stops at the limit", "v=0d e=00000000", "5.3"
  mov ax, SLOT_A
  mov gs, ax
  mov esi, 0xff8
  mov ecx, 4
  rep gs lodsd
  DONE
  SET_DESC SLOT_A, 0x20000, 0xfff, 0x91, 4
  AT "read-only: load", "v=80 e=00000000", {mov eax, [gs:0]}
  AT "read-only: store", "v=0d e=00000000", {mov [gs:0], eax}
  AT "read-only: update", "v=0d e=00000000", {inc byte [gs:0]}
  AT "read-only: xchg", "v=0d e=00000000", {xchg eax, [gs:0]}
  AT "read-only: cmpxchg that fails", "v=0d e=00000000", {cmpxchg [gs:0], ecx}
  SET_DESC SLOT_A, 0x20000, 0xfff, 0x97, 4
  AT "down: below", "v=0d e=00000000", {mov al, [gs:0xfff]}
  AT "down: dword from below", "v=0d e=00000000", {mov eax, [gs:0xffe]}
  AT "down: first", "v=80 e=00000000", {mov eax, [gs:0x1000]}
  AT "down, big: store above 64 KiB", "v=80 e=00000000", {mov [gs:0x12345], eax}
  AT "down, big: over 4 GiB", "v=0d e=00000000", {mov eax, [gs:0xfffffffd]}
  SET_DESC SLOT_A, 0x20000, 0xfff, 0x97, 0
  AT "down, small: last", "v=80 e=00000000", {mov eax, [gs:0xfffc]}
  AT "down, small: over 64 KiB", "v=0d e=00000000", {mov eax, [gs:0xfffd]}
  AT "down, small: above 64 KiB", "v=0d e=00000000", {mov al, [gs:0x10000]}
  SET_DESC SLOT_A, 0x20000, 0xf, 0x93, 0xc
  AT "pages: last byte", "v=80 e=00000000", {mov al, [gs:0xffff]}
  AT "pages: beyond", "v=0d e=00000000", {mov al, [gs:0x10000]}
  SET_DESC SLOT_A, 0x20000, 0xfff, 0x9b, 4
  AT "code: load", "v=80 e=00000000", {mov eax, [gs:0]}
  AT "code: store", "v=0d e=00000000", {mov [gs:0], eax}
  SDM "null gs: load", "v=0d e=00000000", "5.4.1"
  mov eax, [gs:0]
  DONE
  SDM "null gs: store", "v=0d e=00000000", "5.4.1"
  mov [gs:0], eax
  DONE
  SDM "null gs: lea and prefetch", "v=80 e=00000000", "5.4.1"
  lea eax, [gs:0x1234]
  prefetcht0 [gs:0]
  DONE
  SDM "code segment: store", "v=0d e=00000000", "5.3"
  mov [cs:scratch], eax
  DONE
  ; The stack segment has a vector of its own.
  SET_DESC SLOT_A, 0, 0x4fff, 0xf3, 4
  SDM "stack: load beyond", "v=0c e=00000000", "5.3"
  USER
  mov ax, SLOT_A | 3
  mov ss, ax
  mov esp, 0x4f00
  mov eax, [ss:0x4ffd]
  DONE
  SDM "stack: push beyond", "v=0c e=00000000", "5.3"
  USER
  mov ax, SLOT_A | 3
  mov ss, ax
  mov esp, 0x5002
  push dword 1
  mov esp, 0x4f00
  DONE
  SDM "stack: pop over the end", "v=0c e=00000000", "5.3"
  USER
  mov ax, SLOT_A | 3
  mov ss, ax
  mov esp, 0x4ffe
  pop eax
  mov esp, 0x4f00
  DONE
  SDM "stack: by ebp", "v=0c e=00000000", "5.3"
  USER
  mov ax, SLOT_A | 3
  mov ss, ax
  mov esp, 0x4f00
  mov ebp, 0x5000
  mov eax, [ebp]
  DONE
  ret

limits16:
  ; 16-bit stack: SP wraps at 64 KiB, ESP keeps its upper half.
  SET_DESC SLOT_A, 0x20000, 0xffff, 0x93, 0
  TEST "small stack wraps"
  mov ax, SLOT_A
  mov ss, ax
  mov esp, 0x12340000
  push word 0x7788
  mov ebx, esp
  push word 0x99aa
  pop ecx
  mov edx, esp
  mov ax, DATA0
  mov ss, ax
  mov esp, [rs_sp]
  mov esi, [0x2fffc]
  DONE
  TEST "small stack frame"
  mov ax, SLOT_A
  mov ss, ax
  mov esp, 0x56781000
  mov ebp, 0x9abc2000
  enter 0x10, 2
  mov ebx, esp
  mov ecx, ebp
  leave
  mov edx, esp
  mov esi, ebp
  mov ax, DATA0
  mov ss, ax
  mov esp, [rs_sp]
  DONE
  TEST "interrupt on a small stack"
  mov ax, SLOT_A
  mov ss, ax
  mov esp, 0x800
  ud2
  DONE
  ret

; Instructions beyond the limit of the code segment.
code_limits:
  SET_DESC SLOT_A, 0, 0, 0x9b, 4
  mov eax, code_end - 1
  mov [gdt + SLOT_A], ax
  SDM "code: up to the limit", "v=80 e=00000000", "5.3"
  jmp SLOT_A:code_inside
code_inside:
  jmp code_last
  NEVER
  SDM "code: instruction over the limit", "v=0d e=00000000", "5.3"
  jmp SLOT_A:code_over
  DONE
  SDM "code: runs over the limit", "v=0d e=00000000", "5.3"
  jmp SLOT_A:code_runs
  DONE
  SDM "code: far jump beyond", "v=0d e=00000000", "5.3"
  jmp SLOT_A:code_end
  DONE
  SDM "code: indirect jump beyond", "v=0d e=00000000", "5.3"
  mov eax, code_end
  jmp SLOT_A:code_indirect
  DONE
  SDM "code: indirect call beyond", "v=0d e=00000000", "5.3"
  mov eax, code_end
  jmp SLOT_A:code_indirect_call
  DONE
  SDM "code: return beyond", "v=0d e=00000000", "5.3"
  push dword code_end
  jmp SLOT_A:code_return
  DONE
  SDM "code: relative jump beyond", "v=0d e=00000000", "5.3"
  jmp SLOT_A:code_relative
  DONE
  ret

code_indirect:
  jmp eax
code_indirect_call:
  call eax
code_return:
  ret
code_relative:
  jmp near code_beyond
code_last:
  int 0x80
code_runs:
  nop
  nop
code_over equ $ + 1
  dec ecx
  nop
  nop
  db 0xb8
code_end equ $ + 2
  dd 0x90909090
code_beyond:
  int 0x80

section .data
access: dd 0
flags: db 0xc
scratch: dd 0
section .text

PROTECTED_CODE
