; Virtual-8086 mode extensions and protected-mode virtual interrupts: VIF for IF, the redirection map. By the manual alone: QEMU's
; translator does not have them. SDM vol. 3, 21.3, 21.4; vol. 2, CLI, STI, PUSHF, POPF, INT, IRET.
; A line tells vector, error code and flags (not the arithmetic ones) where the program ended, then EBX.
%include "protected.inc"
%define OWN_REPORT
V86_SS equ 0x0400
V86_SP equ 0x0ff0
VIF equ 0x80000
VIP equ 0x100000
MAP equ 0x88 ; of the ports; the 32 bytes before it are the redirection map
START
main:
  ENTER32
  call task_segment
  mov word [0x40 * 4], handler - 0x8000
  mov word [0x40 * 4 + 2], 0x800
  mov word [0x41 * 4], handler - 0x8000
  mov word [0x41 * 4 + 2], 0x800
  call off
  mov eax, cr4
  or eax, 3
  mov cr4, eax
  call flags
  call redirected
  call protected
  jmp exit32

bits 32
report:
  FIELD " ebx=", [ebp + 24], 8
  ret

; Of the vectors 0x40 and 0x41 the program's own table has the first.
task_segment:
  mov edi, TSS_AT + MAP - 32
  mov ecx, 32
  mov al, 0xff
  rep stosb
  mov byte [TSS_AT + MAP - 32 + 8], 0xfe
  mov word [TSS_AT + 0x66], MAP
  mov byte [TSS_AT + MAP], 0xff
  mov word [gdt + TSS], MAP
  mov byte [gdt + TSS + 5], 0x89
  mov ax, TSS
  ltr ax
  ret

%macro V86 1 ; flags besides VM
  push dword 0
  push dword 0
  push dword 0
  push dword 0
  push dword V86_SS
  push dword V86_SP
  push dword 0x20002 | (%1)
  push dword 0x800
  push dword %%go - 0x8000
  iretd
bits 16
%%go:
  xor ebx, ebx
%endmacro
%macro BACK 0
  ud2
bits 32
%$after:
%pop
%endmacro
; ENDS name, result, section, flags, code: the code in virtual-8086 mode
%macro ENDS 4
  SDM %1, %2, %3
  V86 %4
%endmacro

off:
  ENDS "cli, VME clear", "v=0d e=00000000", "21.2.4", 0
  cli
  BACK
  ENDS "pushf, VME clear", "v=0d e=00000000", "21.2.4", 0
  pushf
  BACK
  ENDS "int, VME clear", "v=0d e=00000000", "21.3.3.2", 0
  int 0x40
  BACK
  ret

flags:
  ENDS "sti sets VIF", "v=06 fl=000a0002", "vol. 2 STI", 0
  sti
  BACK
  ENDS "cli clears VIF", "v=06 fl=00020002", "vol. 2 CLI", VIF
  cli
  BACK
  ENDS "cli leaves IF", "v=06 fl=00020202", "vol. 2 CLI", VIF | 0x200
  cli
  BACK
  ENDS "sti with VIP", "v=0d e=00000000 fl=00120002", "vol. 2 STI", VIP
  sti
  BACK
  ENDS "sti with IOPL 3", "v=06 fl=00023202", "vol. 2 STI", 0x3000
  sti
  BACK
  ENDS "pushf shows VIF as IF", "v=06 ebx=00003246", "vol. 2 PUSHF", VIF
  pushf
  pop bx
  BACK
  ENDS "pushf shows VIF clear", "v=06 ebx=00003046", "vol. 2 PUSHF", 0x200
  pushf
  pop bx
  BACK
  ENDS "pushfd", "v=0d e=00000000", "vol. 2 PUSHF", 0
  pushfd
  BACK
  ENDS "popf sets VIF", "v=06 fl=000a4002", "vol. 2 POPF", 0
  push word 0x7ad7 ; NT, IOPL and the arithmetic flags
  popf
  BACK
  ENDS "popf clears VIF", "v=06 fl=00020202", "vol. 2 POPF", VIF | 0x200
  push word 2
  popf
  BACK
  ENDS "popf with VIP and IF", "v=0d e=00000000 fl=00120002", "vol. 2 POPF", VIP
  push word 0x202
  popf
  BACK
  ENDS "popf with VIP", "v=06 fl=00120002", "vol. 2 POPF", VIP
  push word 2
  popf
  BACK
  ENDS "popf with TF", "v=0d e=00000000", "vol. 2 POPF", 0
  push word 0x102
  popf
  BACK
  ENDS "popfd", "v=0d e=00000000", "vol. 2 POPF", 0
  push dword 2
  popfd
  BACK
  ENDS "iret sets VIF", "v=06 fl=000a0002 ebx=00000001", "vol. 2 IRET", 0
  push word 0x246
  push cs
  push word .sets - 0x8000
  iret
.sets:
  inc bx
  and bx, 1
  BACK
  ENDS "iret with VIP and IF", "v=0d e=00000000", "vol. 2 IRET", VIP
  push word 0x202
  push cs
  push word 0
  iret
  BACK
  ENDS "iretd", "v=0d e=00000000", "vol. 2 IRET", 0
  o32 iret
  BACK
  ret

; Methods of table 21-2.
redirected:
  ENDS "to the program's handler", "v=06 fl=00020002 ebx=00003246", "21.3.3.5, method 6", VIF
  int 0x40
  BACK
  ENDS "the same with IOPL 3", "v=06 fl=00023002 ebx=00003246", "21.3.3.4, method 5", 0x3200
  int 0x40
  BACK
  ENDS "to the monitor", "v=0d e=00000000", "21.3.3.3, method 4", 0
  int 0x41
  BACK
  ENDS "to the monitor's handler with IOPL 3", "v=80", "21.3.3.1, method 1", 0x3000
  int 0x80
  BACK
  ENDS "int3 is not redirected", "v=03", "21.3.3", 0
  int3
  BACK
  ENDS "no 32-bit task, no map", "v=0d e=00000000", "21.3.3", 0
  int 0x42
  BACK
  mov word [TSS_AT + 0x66], 0x200
  ENDS "a map beyond the limit", "v=0d e=00000000", "21.3.3", 0
  int 0x40
  BACK
  mov word [TSS_AT + 0x66], MAP
  ret

bits 16
handler: ; the image it would return to
  pop ax
  pop cx
  pop bx
  ud2
bits 32

%macro IN_RING_3 3 ; name, result, section
  SDM %1, %2, %3
  xor ebx, ebx
  USER
%endmacro
protected:
  IN_RING_3 "PVI: sti", "v=80 fl=00080002", "21.4"
  sti
  DONE
  mov dword [ringflags], VIF | 2
  IN_RING_3 "PVI: cli", "v=80 fl=00000002", "21.4"
  cli
  DONE
  mov dword [ringflags], VIP | 2
  IN_RING_3 "PVI: sti with VIP", "v=0d e=00000000", "21.4"
  sti
  DONE
  mov dword [ringflags], VIF | 2
  IN_RING_3 "PVI: pushf shows IF", "v=80 ebx=00000002", "21.4"
  pushf
  pop ebx
  and ebx, 0xffff
  DONE
  mov dword [ringflags], VIF | 2
  IN_RING_3 "PVI: popf leaves VIF", "v=80 fl=00080002", "21.4"
  push dword 0x202
  popfd
  DONE
  mov dword [ringflags], 2
  mov eax, cr4
  and eax, ~2
  mov cr4, eax
  IN_RING_3 "PVI clear: sti", "v=0d e=00000000", "21.4"
  sti
  DONE
  mov eax, cr4
  or eax, 2
  mov cr4, eax
  SDM "PVI in ring 1: sti", "v=0d e=00000000", "21.4"
  RING CODE1, DATA1, STACK3, .ring1
.ring1:
  sti
  DONE
  ret

PROTECTED_CODE
