; Rights of system instructions: control registers, time-stamp counter, UMIP, LOCK, RSM. SDM vol. 3, 2.5, 2.8, 5.9; vol. 2 LOCK.
%include "protected.inc"
%include "checks.inc"
START
main:
  ENTER32
  call control_registers
  call counters
  call user_mode
  call locks
  jmp exit32

bits 32
%macro CR4_WITHOUT 1
  mov eax, cr4
  and eax, ~(%1)
  mov cr4, eax
%endmacro
%macro SHOW_EAX 1
  PS %strcat(%1, ": ")
  PX eax, 8
  ENDROW
%endmacro
control_registers:
  mov eax, 0
  lmsw ax
  mov eax, cr0
  SHOW_EAX "LMSW does not clear PE"
  smsw eax
  SHOW_EAX "SMSW"
  SAME "MCE", CR4_WITH 0x40
  SAME "UMIP", CR4_WITH 0x800
  SAME "TSD and PCE", CR4_WITH 0x104
  mov eax, cr4
  SHOW_EAX "CR4"
  CR4_WITHOUT 0x944
  SAME "CR1", db 0x0f, 0x20, 0xc8
  SAME "CR5", db 0x0f, 0x22, 0xe8
  SAME "CR7", db 0x0f, 0x20, 0xf8
  ret

counters:
  SAME "RDTSC", rdtsc
  CR4_WITH 4
  SAME "RDTSC with TSD in ring 0", rdtsc
  SAME "RDTSC with TSD in ring 3", IN_RING_3 rdtsc
  SAME "RDTSCP with TSD in ring 3", IN_RING_3 rdtscp
  CR4_WITHOUT 4
  SAME "RDTSC in ring 3", IN_RING_3 rdtsc
  SAME "RDPMC in ring 3", IN_RING_3 rdpmc
  SAME "RSM", rsm
  SAME "RSM in ring 3", IN_RING_3 rsm
  ret

%macro ALL_OF_UMIP 1
  SAME %strcat("sgdt", %1), IN_RING_3 sgdt [ss:0x20000]
  SAME %strcat("sidt", %1), IN_RING_3 sidt [ss:0x20000]
  SAME %strcat("sldt", %1), IN_RING_3 sldt ax
  SAME %strcat("sldt to memory", %1), IN_RING_3 sldt [ss:0x20000]
  SAME %strcat("str", %1), IN_RING_3 str eax
  SAME %strcat("smsw", %1), IN_RING_3 smsw eax
  SAME %strcat("smsw to memory", %1), IN_RING_3 smsw [ss:0x20000]
%endmacro
user_mode:
  ALL_OF_UMIP ""
  CR4_WITH 0x800
  ALL_OF_UMIP ", UMIP"
  SAME "sgdt in ring 0, UMIP", sgdt [ss:0x20000]
  SAME "smsw in ring 0, UMIP", smsw ax
  CR4_WITHOUT 0x800
  SAME "rdmsr in ring 3", IN_RING_3 rdmsr
  SAME "wrmsr in ring 3", IN_RING_3 wrmsr
  SAME "mov cr4 in ring 3", IN_RING_3 mov eax, cr4
  SAME "lmsw in ring 3", IN_RING_3 lmsw ax
  SAME "clts in ring 3", IN_RING_3 clts
  SAME "hlt in ring 3", IN_RING_3 hlt
  SAME "invd in ring 3", IN_RING_3 invd
  SAME "invlpg in ring 3", IN_RING_3 invlpg [0]
  SAME "xgetbv without OSXSAVE", xgetbv
  SAME "xsetbv without OSXSAVE", xsetbv
  ret

%macro LOCKED 1+
  db 0xf0
  %1
%endmacro
%define M [0x20000]
locks:
  SAME "lock nop", LOCKED nop
  SAME "lock add", LOCKED add dword M, eax
  SAME "lock add to a register", LOCKED add ecx, eax
  SAME "lock add from memory", LOCKED add eax, M
  SAME "lock adc immediate", LOCKED adc byte M, 1
  SAME "lock cmp", LOCKED cmp dword M, eax
  SAME "lock cmp immediate", LOCKED cmp byte M, 1
  SAME "lock inc", LOCKED inc dword M
  SAME "lock inc of a register", LOCKED inc eax
  SAME "lock neg", LOCKED neg dword M
  SAME "lock not", LOCKED not word M
  SAME "lock bts", LOCKED bts dword M, 1
  SAME "lock btr", LOCKED btr M, eax
  SAME "lock xchg", LOCKED xchg M, eax
  SAME "lock xadd", LOCKED xadd M, eax
  SAME "lock cmpxchg", LOCKED cmpxchg M, ecx
  SAME "lock cmpxchg8b", LOCKED cmpxchg8b M
  SAME "lock movd", LOCKED movd M, xmm0
  ret

PROTECTED_CODE
