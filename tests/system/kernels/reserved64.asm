; Reserved bits and addresses that are not canonical in 64-bit mode, by the manual alone. SDM vol. 3, 2.2.1, 2.5, 11.8.6; vol. 2 WRMSR.
%include "long.inc"
%include "checks.inc"
START
main:
  ENTER64
  call control_registers
  call registers_of_models
  jmp exit64

bits 64
%macro FLIP_TWO 3
  mov rax, %1
  btc rax, %2
  btc rax, %3
  mov %1, rax
%endmacro
%macro SET_FS 1
  mov rax, %1
  wrfsbase rax
%endmacro
%macro XCR0 3 ; index, high, low
  mov ecx, %1
  mov edx, %2
  mov eax, %3
  xsetbv
%endmacro
; VALUE name, value, section: RAX
%macro VALUE 3
  PS %strcat(%1, " |", %2, "|", %3, ": ")
  PX rax, 16
  ENDROW
%endmacro

control_registers:
  MANUAL "CR0, high half", "0d:0000", "2.5", FLIP cr0, 32
  MANUAL "paging off in 64-bit code", "0d:0000", "vol. 2 MOV CR", FLIP cr0, 31
  MANUAL "NW without CD", "0d:0000", "2.5", FLIP cr0, 30
  MANUAL "neither NW nor CD", "0008/0010", "2.5", FLIP_TWO cr0, 29, 30
  MANUAL "CR3, bit 40", "0d:0000", "2.5", FLIP cr3, 40
  MANUAL "CR3, bit 51", "0d:0000", "2.5", FLIP cr3, 51
  MANUAL "CR3, bit 63", "0d:0000", "2.5", FLIP cr3, 63
  MANUAL "CR4 without PAE", "0d:0000", "2.5", FLIP cr4, 5
  MANUAL "CR4, LA57", "0d:0000", "2.5", FLIP cr4, 12
  MANUAL "CR4, VMXE", "0d:0000", "2.5", FLIP cr4, 13
  MANUAL "CR4, PKE", "0d:0000", "2.5", FLIP cr4, 22
  MANUAL "CR4, bit 32", "0d:0000", "2.5", FLIP cr4, 32
  MANUAL "CR8, 15", "0008/0010", "11.8.6", SET cr8, 15
  mov rax, cr8
  VALUE "CR8", "000000000000000f", "11.8.6"
  MANUAL "CR8, 16", "0d:0000", "11.8.6", SET cr8, 16
  SET cr8, 0
  FLIP cr4, 18
  FLIP cr4, 16
  MANUAL "wrfsbase, not canonical", "0d:0000", "vol. 2 WRFSBASE", SET_FS 0x800000000000
  MANUAL "XCR0, AVX", "0d:0000", "vol. 2 XSETBV", XCR0 0, 0, 7
  ret

; MSR_ADDRESS name, index: canonical only
%macro MSR_ADDRESS 2
  MANUAL %1, "0008/0010", "vol. 2 WRMSR", WRITE_MSR %2, 0xffff8000, 0
  MANUAL %strcat(%1, ", not canonical"), "0d:0000", "vol. 2 WRMSR", WRITE_MSR %2, 0x8000, 0
%endmacro
registers_of_models:
  MSR_ADDRESS "LSTAR", 0xc0000082
  MSR_ADDRESS "CSTAR", 0xc0000083
  MSR_ADDRESS "FS base", 0xc0000100
  MSR_ADDRESS "GS base", 0xc0000101
  MSR_ADDRESS "kernel GS base", 0xc0000102
  MSR_ADDRESS "SYSENTER_EIP", 0x176
  MSR_ADDRESS "SYSENTER_ESP", 0x175
  MANUAL "EFER.LME with paging", "0d:0000", "2.2.1", WRITE_MSR 0xc0000080, 0, 0x801
  MANUAL "EFER.LMA is not written", "0008/0010", "2.2.1", WRITE_MSR 0xc0000080, 0, 0x901
  READ_MSR 0xc0000080
  VALUE "EFER", "0000000000000d01", "2.2.1"
  MANUAL "EFER, SVME", "0d:0000", "2.2.1", WRITE_MSR 0xc0000080, 0, 0x1901
  MANUAL "FMASK, high half", "0d:0000", "vol. 4", WRITE_MSR 0xc0000084, 1, 0
  ret

LONG_CODE
