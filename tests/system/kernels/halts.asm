; Halts, between which ring 0 alone runs, or ring 3 too. Whoever runs this asks at each halt whether user code ran.
%include "protected.inc"
%include "pit.inc"
%define OWN_RESTORE

; HALT name: until the timer's interrupt, which ends the test
%macro HALT 1
  TEST %1
  call pit
  sti
  hlt
  DONE
%endmacro
; RING_3 name: there and back. With data segments that stay, IRET is the short one of generated code.
%macro RING_3 1
  TEST %1
  mov ax, DATA3
  mov ds, ax
  mov es, ax
  USER
  nop
  DONE
%endmacro

START
main:
  ENTER32
  mov byte [IDT_AT + 0x20 * 8 + 5], 0x8e
  HALT "the first"
  HALT "kernel alone"
  HALT "kernel alone, again"
  RING_3 "a program"
  HALT "after it"
  HALT "kernel alone once more"
  RING_3 "a program"
  RING_3 "and another"
  HALT "after both"
  HALT "the last"
  jmp exit32

bits 32
restore:
  push eax
  mov al, 0x20
  out 0x20, al
  mov ax, DATA0
  mov ds, ax
  mov es, ax
  pop eax
  ret
PIT_CODE
PROTECTED_CODE
