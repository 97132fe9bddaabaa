; See calls.inc.
%include "protected.inc"
%define rA eax
%define rB ebx
%define rC ecx
%define rD edx
%define rS esi
%define rSP esp
%define STACK_WORD dword
WORD_ equ 4
INC_BYTES equ 1
START
main:
  ENTER32
  call call_tests
  jmp exit32
bits 32
%include "calls.inc"
PROTECTED_CODE
