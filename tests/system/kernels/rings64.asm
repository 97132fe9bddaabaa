; The ways between ring 3 and ring 0 of 64-bit code, more than once each: what the processor has found out of the other ring
; serves the second time. SYSCALL, SYSRET, IRETQ, INT and faults with every flag that matters. SDM vol. 2 and vol. 3, 5.8.7, 5.8.8, 6.14.
%include "long.inc"
%include "rings.inc"
START
main:
  ENTER64
  mov ecx, 0xc0000081 ; STAR
  xor eax, eax
  mov edx, (DATA3 - 8) << 16 | CODE0
  wrmsr
  mov ecx, 0xc0000082 ; LSTAR
  mov eax, entry + 0
  xor edx, edx
  wrmsr
  mov dword [round], 0
.again:
  call flags_in
  call flags_out
  call targets
  call frames
  call faults
  call segments
  inc dword [round]
  cmp dword [round], 3
  jb .again
  jmp exit64

bits 64
; SYSCALL comes here: the flags it left, and what it put away.
entry:
  mov [seen_rcx], rcx
  mov [seen_r11], r11
  mov r10, rsp
  mov esp, STACK0 - 0x900
  pushfq
  pop rax
  and eax, ~0xcd5 ; QEMU clears what lies elsewhere in it: the arithmetic flags and DF
  mov [seen_flags], rax
  mov eax, [action]
  test eax, eax
  jnz .other
  mov rsp, r10
  o64 sysret
.other:
  mov rsp, r10
  jmp rax

; FLAGS value: from ring 3 with these flags to ring 0 and back
%macro SHOW 0
  FIELD " rcx=", [seen_rcx], 16
  FIELD " r11=", [seen_r11], 8
  FIELD " in=", [seen_flags], 8
  FIELD " out=", [seen_out], 8
  mov al, ' '
  out PORT_LOG, al
%endmacro

%macro MASK 1
  mov ecx, 0xc0000084
  mov eax, %1
  xor edx, edx
  wrmsr
%endmacro

; Patterns of RFLAGS without TF; the handlers are asked for both with and without a mask.
flags_in:
  mov qword [action], 0
  mov dword [pattern], 0
.row:
  ROW "syscall ", [pattern], 2
  mov eax, [pattern]
  and eax, 7
  mov ecx, [flagsof + rax * 4]
  mov [ringflags], rcx
  mov eax, [pattern]
  shr eax, 3
  MASK [masksof + rax * 4]
  CASE
  USER
  syscall
  pushfq
  pop rbx
  mov [seen_out + ALIAS], rbx
  RESULT
  SHOW
  ENDROW
  inc dword [pattern]
  cmp dword [pattern], 32
  jb .row
  mov qword [ringflags], 2
  MASK 0x47700
  ret

; SYSRET with every pattern in R11, and IRETQ to ring 0 and 3
flags_out:
  mov dword [pattern], 0
.row:
  ROW "sysret ", [pattern], 2
  mov eax, [pattern]
  mov r11d, [flagsof + rax * 4]
  CASE
  mov ecx, .user + ALIAS
  mov esp, STACK3 + ALIAS
  o64 sysret
.user:
  pushfq
  pop rbx
  mov [seen_out + ALIAS], rbx
  RESULT
  PX [seen_out], 8
  mov al, ' '
  out PORT_LOG, al
  mov eax, [pattern]
  mov ebx, [flagsof + rax * 4]
  CASE
  push DATA0
  push STACK0 - 0x100
  push rbx
  push CODE0
  push .inner
  iretq
.inner:
  pushfq
  pop rbx
  mov [seen_out], rbx
  RESULT
  PX [seen_out], 8
  mov al, ' '
  out PORT_LOG, al
  mov eax, [pattern]
  mov ebx, [flagsof + rax * 4]
  CASE
  push DATA3
  push STACK3 + ALIAS
  push rbx
  push CODE3
  push .outer + ALIAS
  iretq
.outer:
  pushfq
  pop rbx
  mov [seen_out + ALIAS], rbx
  RESULT
  PX [seen_out], 8
  ENDROW
  inc dword [pattern]
  cmp dword [pattern], 8
  jb .row
  ret

%macro SYSRET_TO 2
  TEST %1
  mov rcx, %2
  mov r11d, 0x202
  mov esp, STACK3 + ALIAS
  o64 sysret
  DONE
%endmacro

targets:
  SYSRET_TO "sysret to ring 0's page", 0x8000
  SYSRET_TO "sysret to nothing", 0x123456789000
  TEST "sysret in ring 3"
  USER
  o64 sysret
  DONE
  TEST "sysret, 32 bits"
  mov ecx, .compat + ALIAS
  mov r11d, 0x202
  mov esp, STACK3 + ALIAS
  sysret
bits 32
.compat:
  END32
  mov ecx, 0xc0000080
  rdmsr
  and al, 0xfe
  wrmsr
  TEST "syscall switched off"
  USER
  syscall
  DONE
  TEST "sysret switched off"
  mov ecx, .off + ALIAS
  o64 sysret
.off:
  DONE
  mov ecx, 0xc0000080
  rdmsr
  or al, 1
  wrmsr
  TEST "syscall in ring 0"
  mov dword [action], .landed
  syscall
.landed:
  DONE
  mov dword [action], 0
  ret

; IRET_TO name, code, stack, distance: IRETQ to the end of the test, seen from there
%macro IRET_TO 4
  TEST %1
  mov rbx, %%back + %4
  push %3
  push STACK3 + ALIAS
  push qword 2
  push %2
  push rbx
  iretq
%%back:
  DONE
%endmacro

frames:
  IRET_TO "iret: null stack for ring 0", CODE0, 0, 0
  IRET_TO "iret: null stack for ring 3", CODE3, 0, ALIAS
  IRET_TO "iret: stack of another ring", CODE3, DATA0, ALIAS
  IRET_TO "iret: RPL of the stack", CODE0, DATA3, 0
  IRET_TO "iret: data as code", DATA3, DATA3, ALIAS
  IRET_TO "iret: beyond the table", 0x7fb, DATA3, ALIAS
  IRET_TO "iret: local code", CODE3 | 4, DATA3, ALIAS
  IRET_TO "iret: stack beyond the table", CODE3, 0x7fb, ALIAS
  IRET_TO "iret: conforming", CONFORMING0, DATA0, 0
  ; QEMU goes to ring 3 first.
  SDM "iret: not canonical", "v=0d e=00000000 at=0008:", "vol. 2 IRET"
  mov rbx, 0x800000000000
  push DATA3
  push STACK3 + ALIAS
  push qword 2
  push CODE3
  push rbx
  iretq
  DONE
  TEST "iret: 32-bit code"
  USER32
  END32
  TEST "iret: nested task"
  push qword 0x4002
  popfq
  push DATA0
  push STACK0 - 0x100
  push qword 2
  push CODE0
  push .nested
  iretq
.nested:
  DONE
  mov byte [gdt + CODE3 - 3 + 5], 0x7b
  IRET_TO "iret: code not present", CODE3, DATA3, ALIAS
  mov byte [gdt + CODE3 - 3 + 5], 0xfa
  IRET_TO "iret: code not accessed", CODE3, DATA3, ALIAS
  ; QEMU's IRET leaves it as it is.
  FIELD "iret: accessed |marked=fb|3.4.5.1: marked=", [gdt + CODE3 - 3 + 5], 2
  ENDROW
  mov byte [gdt + DATA3 - 3 + 5], 0xf1
  IRET_TO "iret: read-only stack", CODE3, DATA3, ALIAS
  mov byte [gdt + DATA3 - 3 + 5], 0xf3
  ret

faults:
  EVENT "divide", {div r11b}
  EVENT "undefined", {ud2}
  EVENT "page", {mov [qword VICTIM], eax}
  EVENT "int 3", {int3}
  EVENT "int 81", {int 0x81}
  ; QEMU's error codes count bytes of the table and lack EXT, and its stacks of their own take SS away from ring 0 too.
  TEST "int 20"
  int 0x20
  DONE
  SDM "int 20 from ring 3", "v=0d e=00000102", "6.13"
  USER
  int 0x20
  DONE
  EVENT "int beyond the table |v=0d e=00000782|6.13", {int 0xf0}
  mov byte [IDT_AT + 6 * 16 + 4], 1
  EVENT "undefined by a stack of its own |v=06|6.14.5", {ud2}
  mov byte [IDT_AT + 6 * 16 + 4], 0
  mov byte [IDT_AT + 6 * 16 + 5], 0x8f
  mov qword [ringflags], 0x202
  EVENT "undefined by a trap gate", {ud2}
  mov byte [IDT_AT + 6 * 16 + 5], 0x0e
  EVENT "undefined by a gate not present |v=0b e=00000033|6.13", {ud2}
  mov byte [IDT_AT + 6 * 16 + 5], 0x8e
  mov qword [ringflags], 2
  mov word [IDT_AT + 6 * 16 + 2], DATA0
  EVENT "undefined into data |v=0d e=00000011|6.13", {ud2}
  mov word [IDT_AT + 6 * 16 + 2], CODE0C
  EVENT "undefined into 32-bit code |v=0d e=00000031|6.13", {ud2}
  mov word [IDT_AT + 6 * 16 + 2], CODE0
  ; The frame runs over the end of a page, and begins at an odd address.
  mov qword [TSS_AT + 4], 0x5010
  TEST "undefined to a stack at a page's end"
  USER
  ud2
  DONE
  mov qword [TSS_AT + 4], STACK0 - 0x803
  TEST "undefined to an odd stack"
  USER
  ud2
  DONE
  mov qword [TSS_AT + 4], STACK0 - 0x800
  ret

; Segments of an inner ring are lost on the way out, bases of FS and GS are not.
segments:
  mov ecx, 0xc0000100
  mov eax, 0x12345678
  mov edx, 0x1234
  wrmsr
  mov ax, DATA0
  mov ds, ax
  mov es, ax
  TEST "iret drops ds and es"
  mov ax, DATA0
  mov gs, ax
  USER
  DONE
  mov ax, DATA3
  mov ds, ax
  mov es, ax
  xor eax, eax
  mov gs, ax
  TEST "iret keeps ds and es"
  USER
  DONE
  mov ecx, 0xc0000100
  rdmsr
  FIELD "fs base ", rax, 8
  ENDROW
  ret

LONG_CODE

section .data
align 8
  FLAG_PATTERNS
masksof: dd 0, 0x47700, 0x3f7fd5, 0x40200
seen_rcx: dq 0
seen_r11: dq 0
seen_flags: dq 0
seen_out: dq 0
action: dq 0
round: dd 0
pattern: dq 0
