; Reserved bits of control registers and MSRs, and what LOCK may not stand before, by the manual alone: QEMU's translator takes most of them, and some lead it astray.
; SDM vol. 3, 2.5, 11.4.4, 12.11, 12.12, 16.3; vol. 4.
%include "protected.inc"
%include "checks.inc"
START
main:
  ENTER32
  call control_registers
  call registers_of_models
  call locks
  jmp exit32

bits 32
%macro SET_CR0 1
  mov eax, %1
  mov cr0, eax
%endmacro
; VALUE name, value, section: EAX
%macro VALUE 3
  PS %strcat(%1, " |", %2, "|", %3, ": ")
  PX eax, 8
  ENDROW
%endmacro

control_registers:
  MANUAL "PG without PE", "0d:0000", "2.5", SET_CR0 0x80000010
  MANUAL "NW without CD", "0d:0000", "2.5", SET_CR0 0x20000031
  SET_CR0 0x1ffaffc0 | 0x31
  mov eax, cr0
  VALUE "reserved bits of CR0 stay clear", "00000031", "2.5"
%assign bit 12
%rep 20
%if bit != 16 && bit != 17 && bit != 18 && bit != 20 && bit != 21
%defstr number bit
  MANUAL %strcat("CR4 bit ", number), "0d:0000", "2.5", CR4_WITH 1 << bit
%endif
%assign bit bit + 1
%endrep
  MANUAL "PCIDE outside long mode", "0d:0000", "2.5", CR4_WITH 1 << 17
  MANUAL "VME and PVI", "0008/0010", "2.5", CR4_WITH 3
  MANUAL "RDPMC, no counter", "0d:0000", "vol. 2 RDPMC", rdpmc
  ret

; MSR_BITS name, index, value that is taken, value that is not (high, low each)
%macro MSR_BITS 6
  MANUAL %1, "0008/0010", "vol. 4", WRITE_MSR %2, %3, %4
  MANUAL %strcat(%1, ", bad"), "0d:0000", "vol. 4", WRITE_MSR %2, %5, %6
%endmacro

registers_of_models:
  MANUAL "unknown MSR, read", "0d:0000", "vol. 2 RDMSR", READ_MSR 0x12345678
  MANUAL "unknown MSR, write", "0d:0000", "vol. 2 WRMSR", WRITE_MSR 0x12345678, 0, 0
  MSR_BITS "EFER", 0xc0000080, 0, 0x801, 0, 0x10000
  WRITE_MSR 0xc0000080, 0, 0
  MANUAL "EFER, high half", "0d:0000", "2.2.1", WRITE_MSR 0xc0000080, 1, 0
  MSR_BITS "PAT", 0x277, 0x00070406, 0x01050406, 0x00070406, 0x02070406
  MANUAL "PAT, type 3", "0d:0000", "12.12.2", WRITE_MSR 0x277, 0x03070406, 0x00070406
  MANUAL "PAT, type 8", "0d:0000", "12.12.2", WRITE_MSR 0x277, 0x00080406, 0x00070406
  WRITE_MSR 0x277, 0x00070406, 0x00070406
  READ_MSR 0xfe
  VALUE "MTRR capabilities", "00000508", "12.11.1"
  MANUAL "MTRR capabilities, write", "0d:0000", "12.11.1", WRITE_MSR 0xfe, 0, 0x508
  MSR_BITS "default type", 0x2ff, 0, 0xc06, 0, 0xc02
  MANUAL "default type, reserved", "0d:0000", "12.11.2.1", WRITE_MSR 0x2ff, 0, 0xd06
  MSR_BITS "fixed range", 0x250, 0x06050401, 0x00060606, 0x06060606, 0x06060607
  WRITE_MSR 0x250, 0x06060606, 0x06060606
  MSR_BITS "range base", 0x200, 0xff, 0xe0000001, 0, 0xe0000003
  MANUAL "range base, reserved", "0d:0000", "12.11.2.3", WRITE_MSR 0x200, 0, 0xe0000100
  MANUAL "range base, beyond the address", "0d:0000", "12.11.2.3", WRITE_MSR 0x200, 0x100, 0
  MSR_BITS "range mask", 0x201, 0xff, 0xe0000800, 0xff, 0xe0000400
  READ_MSR 0x200
  VALUE "range base is kept", "e0000001", "12.11.2.3"
  WRITE_MSR 0x201, 0, 0
  READ_MSR 0x179
  and eax, 0x100
  VALUE "MCG_CTL is there", "00000100", "16.3.1.1"
  MANUAL "MCG_CAP, write", "0d:0000", "16.3.1.1", WRITE_MSR 0x179, 0, 0
  MSR_BITS "MCG_STATUS", 0x17a, 0, 7, 0, 8
  WRITE_MSR 0x17a, 0, 0
  MANUAL "MCG_CTL", "0008/0010", "16.3.1.3", WRITE_MSR 0x17b, 0xffffffff, 0xffffffff
  MANUAL "MC0_CTL", "0008/0010", "16.3.2.1", WRITE_MSR 0x400, 0xffffffff, 0xffffffff
  MSR_BITS "MC0_STATUS", 0x401, 0, 0, 0, 1
  MANUAL "a bank too many", "0d:0000", "16.3.2", READ_MSR 0x404
  MANUAL "APIC base, reserved", "0d:0000", "11.4.4", WRITE_MSR 0x1b, 0, 0xfee00a00
  MANUAL "TSC_AUX, high half", "0d:0000", "vol. 4", WRITE_MSR 0xc0000103, 1, 0
  ret

%macro LOCKED 1+
  db 0xf0
  %1
%endmacro
%define M [0x20000]
locks:
  MANUAL "lock test", "06:0000", "vol. 2 LOCK", LOCKED test M, eax
  MANUAL "lock mov", "06:0000", "vol. 2 LOCK", LOCKED mov M, eax
  MANUAL "lock mul", "06:0000", "vol. 2 LOCK", LOCKED mul dword M
  MANUAL "lock shl", "06:0000", "vol. 2 LOCK", LOCKED shl dword M, 1
  MANUAL "lock bt", "06:0000", "vol. 2 LOCK", LOCKED bt dword M, 1
  MANUAL "lock btc of a register", "06:0000", "vol. 2 LOCK", LOCKED btc eax, 1
  MANUAL "lock xchg of registers", "06:0000", "vol. 2 LOCK", LOCKED xchg ecx, edx
  MANUAL "lock push", "06:0000", "vol. 2 LOCK", LOCKED push eax
  MANUAL "lock movs", "06:0000", "vol. 2 LOCK", LOCKED movsb
  MANUAL "lock jmp", "06:0000", "vol. 2 LOCK", LOCKED jmp $ + 2
  MANUAL "lock lea", "06:0000", "vol. 2 LOCK", LOCKED lea eax, M
  MANUAL "lock in", "06:0000", "vol. 2 LOCK", LOCKED in al, 0x80
  ret

PROTECTED_CODE
