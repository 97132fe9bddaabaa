; Rights of system instructions in 64-bit mode: CR4, CR8, debug registers, XCR0, FSGSBASE, SWAPGS. SDM vol. 3, 2.5, 2.6, 2.8.
%include "long.inc"
%include "checks.inc"
START
main:
  ENTER64
  call control_registers
  call others
  jmp exit64

bits 64
%macro SET_FS 1
  mov rax, %1
  wrfsbase rax
%endmacro

control_registers:
  SAME "CR4, MCE", FLIP cr4, 6
  SAME "CR8 from ring 3", IN_RING_3 mov rax, cr8
  ret

%macro XCR0 3 ; index, high, low
  mov ecx, %1
  mov edx, %2
  mov eax, %3
  xsetbv
%endmacro
others:
  SAME "DR6, high half", SET dr6, 0x100000000
  SAME "DR7, high half", SET dr7, 0x100000000
  SAME "xgetbv without OSXSAVE", xgetbv
  FLIP cr4, 18
  SAME "XCR0, x87 and SSE", XCR0 0, 0, 3
  SAME "XCR0 without x87", XCR0 0, 0, 2
  SAME "XCR0, high half", XCR0 0, 1, 3
  SAME "XCR1", XCR0 1, 0, 3
  SAME "xsetbv in ring 3", IN_RING_3 xsetbv
  FLIP cr4, 18
  SAME "wrfsbase without FSGSBASE", wrfsbase rax
  FLIP cr4, 16
  SAME "wrfsbase", SET_FS 0x7fffffffffff
  FLIP cr4, 16
  SAME "swapgs in ring 3", IN_RING_3 swapgs
  SAME "rdmsr in ring 3", IN_RING_3 rdmsr
  SAME "RSM", rsm
  ret

LONG_CODE
