; The ways between ring 3 and ring 0 of flat 32-bit code, and segment loads of ring 0, more than once each: what the processor
; has found out of the other ring serves the second time. SDM vol. 2 (SYSENTER, SYSEXIT, IRET, MOV, POPF) and vol. 3, 5.8.7, 6.12.
%include "protected.inc"
%include "rings.inc"
%define OWN_REPORT
START
main:
  ENTER32
  mov ecx, 0x174 ; SYSENTER_CS, ESP, EIP; user segments follow in the table
  mov eax, ENTER0
  xor edx, edx
  wrmsr
  inc ecx
  mov eax, STACK0 - 0x900
  wrmsr
  inc ecx
  mov eax, entry
  wrmsr
  mov dword [round], 0
.again:
  call flags
  call enters
  call frames
  call loads
  call faults
  inc dword [round]
  cmp dword [round], 3
  jb .again
  jmp exit32

; Four flat descriptors in the order SYSENTER and SYSEXIT want, put into the table's free part by `enters`.
ENTER0 equ FREE

bits 32
report:
  mov edx, fs
  FIELD " fs=", edx, 4
  mov edx, gs
  FIELD " gs=", edx, 4
  ret

; To ring 3 with data segments it may use: QEMU does not check them, we do.
%macro USERDATA 0
  mov ax, DATA3
  mov ds, ax
  mov es, ax
  USER
%endmacro

; SYSENTER comes here with the user's EIP in ESI and ESP in EBP.
entry:
  pushfd
  pop eax
  mov [seen_in], eax
  mov edx, esi
  mov ecx, ebp
  sysexit

descriptors:
  SET_DESC ENTER0, 0, 0xfffff, 0x9b, 0xc
  SET_DESC ENTER0 + 8, 0, 0xfffff, 0x93, 0xc
  SET_DESC ENTER0 + 16, 0, 0xfffff, 0xfb, 0xc
  SET_DESC ENTER0 + 24, 0, 0xfffff, 0xf3, 0xc
  ret

; What flags become on the way in, out, and by IRET and POPF in both rings
flags:
  call descriptors
  mov dword [pattern], 0
.row:
  ROW "flags ", [pattern], 2
  mov eax, [pattern]
  mov eax, [flagsof + eax * 4]
  mov [ringflags], eax
  CASE
  USERDATA
  mov esi, .back
  mov ebp, STACK3
  sysenter
.back:
  pushfd
  pop dword [seen_out]
  RESULT
  FIELD "in=", [seen_in], 8
  FIELD " out=", [seen_out], 8
  mov al, ' '
  out PORT_LOG, al
  CASE
  push dword [ringflags]
  push dword CODE0
  push dword .inner
  iretd
.inner:
  pushfd
  pop dword [seen_out]
  RESULT
  PX [seen_out], 8
  mov al, ' '
  out PORT_LOG, al
  CASE
  push dword [ringflags]
  popfd
  pushfd
  pop dword [seen_out]
  RESULT
  PX [seen_out], 8
  mov al, ' '
  out PORT_LOG, al
  CASE
  push dword [ringflags]
  popfw
  pushfd
  pop dword [seen_out]
  push dword 2
  popfd
  RESULT
  PX [seen_out], 8
  mov al, ' '
  out PORT_LOG, al
  CASE
  USERDATA
  push dword 0x3002 ; neither IF nor IOPL may change
  popfd
  pushfd
  pop dword [seen_out]
  push dword [ringflags]
  popfd
  pushfd
  pop ebx
  mov [seen_in], ebx
  RESULT
  PX [seen_out], 8
  FIELD ",", [seen_in], 8
  ENDROW
  inc dword [pattern]
  cmp dword [pattern], 8
  jb .row
  mov dword [ringflags], 2
  ret

enters:
  TEST "sysenter"
  USERDATA
  mov esi, .a
  mov ebp, STACK3
  sysenter
.a:
  DONE
  TEST "sysenter in ring 0"
  mov esi, .b
  mov ebp, STACK3
  sysenter
.b:
  DONE
  TEST "sysexit in ring 3"
  USERDATA
  sysexit
  DONE
  mov ecx, 0x174
  xor eax, eax
  xor edx, edx
  wrmsr
  TEST "sysenter without a segment"
  USERDATA
  sysenter
  DONE
  TEST "sysexit without a segment"
  sysexit
  DONE
  mov ecx, 0x174
  mov eax, ENTER0 | 3
  wrmsr
  TEST "sysenter with an RPL"
  USERDATA
  mov esi, .c
  mov ebp, STACK3
  sysenter
.c:
  DONE
  mov ecx, 0x174
  mov eax, ENTER0
  wrmsr
  TEST "sysenter, not flat"
  SET_DESC SLOT_A, 0x1000, 0xfffff, 0xf3, 0xc
  USERDATA
  mov ax, SLOT_A | 3
  mov es, ax
  mov esi, .d
  mov ebp, STACK3
  sysenter
.d:
  mov eax, [es:0]
  DONE
  ret

%macro IRET_TO 4 ; name, code, stack, label distance
  TEST %1
  push dword %3
  push dword STACK3
  push dword 2
  push dword %2
  push dword %%back + %4
  iretd
%%back:
  DONE
%endmacro

frames:
  IRET_TO "iret: null stack", CODE3, 0, 0
  IRET_TO "iret: stack of another ring", CODE3, DATA0, 0
  IRET_TO "iret: data as code", DATA3, DATA3, 0
  IRET_TO "iret: beyond the table", 0x7fb, DATA3, 0
  IRET_TO "iret: local code", CODE3 | 4, DATA3, 0
  IRET_TO "iret: stack beyond the table", CODE3, 0x7fb, 0
  IRET_TO "iret: ring 1", CODE1, DATA1, 0
  IRET_TO "iret: within ring 0", CODE0, 0, 0
  IRET_TO "iret: conforming", CONFORMING0, DATA0, 0
  IRET_TO "iret: 16-bit code", CODE16, DATA0, 0
  SET_DESC SLOT_A, 0, 0xfffff, 0xfa, 0xc
  SET_DESC SLOT_B, 0, 0xfffff, 0xf2, 0xc
  IRET_TO "iret: code not accessed", SLOT_A | 3, DATA3, 0
  IRET_TO "iret: stack not accessed", CODE3, SLOT_B | 3, 0
  SET_DESC SLOT_A, 0, 0xfffff, 0x7b, 0xc
  IRET_TO "iret: code not present", SLOT_A | 3, DATA3, 0
  SET_DESC SLOT_A, 0, 0xffff, 0xfb, 0x4
  IRET_TO "iret: code of 64 KiB", SLOT_A | 3, DATA3, 0
  SET_DESC SLOT_B, 0, 0xfffff, 0x73, 0xc
  ; #SS by the manual, #NP under QEMU
  IRET_TO "iret: stack not present |v=0c e=00000048|6.15", CODE3, SLOT_B | 3, 0
  SET_DESC SLOT_B, 0x100, 0xfffff, 0xf3, 0xc
  IRET_TO "iret: stack not from 0", CODE3, SLOT_B | 3, 0
  TEST "iret keeps ring 3's segments"
  mov ax, DATA3
  mov ds, ax
  mov es, ax
  mov fs, ax
  mov gs, ax
  USER
  DONE
  TEST "iret drops ring 0's segments"
  mov ax, DATA0
  mov ds, ax
  mov es, ax
  mov fs, ax
  mov ax, CONFORMING0
  mov gs, ax
  USER
  DONE
  xor eax, eax
  mov fs, ax
  mov gs, ax
  ret

; LOAD register: what is found through it, by MOV and by POP. (QEMU checks neither limits nor null: `segments.asm` does.)
%macro LOAD 1
  mov dword [seen_out], 0
  CASE
  mov ax, SLOT_A
  mov %1, ax
  mov ebx, [%1:0x8010]
  mov [seen_out], ebx
  RESULT
  PX [seen_out], 8
  mov al, ' '
  out PORT_LOG, al
  mov dword [seen_out], 0
  mov ax, DATA0
  mov %1, ax
  CASE
  push dword SLOT_A
  pop %1
  mov ebx, [%1:0x8010]
  mov [seen_out], ebx
  mov eax, %1
  mov [seen_in], eax
  RESULT
  PX [seen_out], 8
  FIELD "/", [seen_in], 4
  mov al, ' '
  out PORT_LOG, al
  mov ax, DATA0
  mov %1, ax
%endmacro

; Kinds of data and code, flat, from another base, and short
loads:
  mov dword [kind], 0
.row:
  ROW "load ", [kind], 2
  mov eax, [kind]
  shr eax, 2
  mov bl, [accessof + eax]
  SET_DESC SLOT_A, 0, 0xfffff, 0, 0xc
  test byte [kind], 1
  jz .based
  SET_DESC SLOT_A, 0x200, 0xfffff, 0, 0xc
.based:
  mov eax, [gdt + SLOT_A + 4]
  test byte [kind], 2
  jz .long
  mov eax, [gdt + SLOT_A + 4]
  and eax, ~0x800000 ; bytes: 1 MiB
  mov word [gdt + SLOT_A], 0x9fff
  and eax, ~0xf0000
.long:
  mov ah, bl
  mov [gdt + SLOT_A + 4], eax
  LOAD es
  LOAD fs
  LOAD gs
  PX [gdt + SLOT_A + 5], 2
  ENDROW
  inc dword [kind]
  cmp dword [kind], 36
  jb .row
  TEST "ds from another base"
  SET_DESC SLOT_A, 0x100, 0xfffff, 0x93, 0xc
  mov ax, SLOT_A
  mov ds, ax
  mov ecx, [flagsof - 0x100 + 4]
  mov ax, DATA0
  mov ds, ax
  mov edx, [flagsof + 4]
  DONE
  TEST "a load from ring 3"
  SET_DESC SLOT_A, 0, 0xfffff, 0xf3, 0xc
  USER
  mov ax, SLOT_A
  mov fs, ax
  mov ax, SLOT_A | 3
  mov gs, ax
  DONE
  TEST "ring 0's segment from ring 3"
  USER
  mov ax, DATA0
  mov fs, ax
  DONE
  xor eax, eax
  mov fs, ax
  mov gs, ax
  mov ax, DATA0
  mov es, ax
  ret

faults:
  EVENT "divide", {div bl}
  EVENT "undefined", {ud2}
  EVENT "int 3", {int3}
  EVENT "int 81", {int 0x81}
  EVENT "int 20", {int 0x20}
  EVENT "int beyond the table", {int 0xf0}
  mov byte [IDT_AT + 6 * 8 + 5], 0x8f
  EVENT "undefined by a trap gate", {ud2}
  mov byte [IDT_AT + 6 * 8 + 5], 0x8e
  mov word [IDT_AT + 6 * 8 + 2], CODE1 - 1
  ; QEMU's error codes lack EXT.
  SDM "undefined into ring 1", "v=0d e=00000059", "6.13"
  ud2
  DONE
  TEST "ring 3: undefined into ring 1"
  USER
  ud2
  DONE
  mov word [IDT_AT + 6 * 8 + 2], CODE0
  SET_DESC SLOT_A, 0, 0xfffff, 0x92, 0xc
  mov word [TSS_AT + 8], SLOT_A
  TEST "undefined to a stack not accessed"
  USER
  ud2
  DONE
  SET_DESC SLOT_A, 0x40, 0xfffff, 0x93, 0xc
  TEST "undefined to a stack not from 0"
  USER
  ud2
  DONE
  mov word [TSS_AT + 8], DATA0
  mov dword [TSS_AT + 4], 0x5008
  TEST "undefined to a stack at a page's end"
  USER
  ud2
  DONE
  mov dword [TSS_AT + 4], STACK0 - 0x803
  TEST "undefined to an odd stack"
  USER
  ud2
  DONE
  mov dword [TSS_AT + 4], STACK0 - 0x800
  ret

PROTECTED_CODE

section .data
align 8
  FLAG_PATTERNS
accessof: db 0x93, 0x92, 0x91, 0x90, 0xf3, 0x9b, 0x99, 0x13, 0x8b
seen_in: dd 0
seen_out: dd 0
round: dd 0
pattern: dd 0
kind: dd 0
