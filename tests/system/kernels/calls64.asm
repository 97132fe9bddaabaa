; See calls.inc.
%include "long.inc"
%define rA rax
%define rB rbx
%define rC rcx
%define rD rdx
%define rS rsi
%define rSP rsp
%define STACK_WORD qword
WORD_ equ 8
INC_BYTES equ 2
START
main:
  ENTER64
  call call_tests
  jmp exit64
bits 64
%include "calls.inc"
LONG_CODE
