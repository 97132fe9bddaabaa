; Paging of 32-bit code: two levels with 4 KiB and 4 MiB pages, then PAE. Rights, accessed and dirty bits, reserved bits, error
; codes, pages that an access crosses, implicit supervisor accesses, INVLPG and global pages. SDM vol. 3, chapter 4.
%include "protected.inc"
%define OWN_RESTORE
%define OWN_REPORT
PD equ 0x40000
PT0 equ 0x41000 ; first 4 MiB (2 MiB with PAE), mapped to itself
PTV equ 0x42000 ; the victim's
PDPT equ 0x43000
PD2 equ 0x44000
FRAME equ 0x50000 ; two frames the victim's pages lie in
VICTIM equ 0x00c00000
; The first megabytes again: pages of ring 3, which has its code and stack here; the others are the supervisor's.
ALIAS equ 0x00800000
CR0_WP equ 0x10000
CR4_PSE equ 0x10
CR4_PAE equ 0x20
CR4_PGE equ 0x80
CR4_SMEP equ 0x100000
CR4_SMAP equ 0x200000

%macro USERPAGE 0
  RING CODE3, DATA3, STACK3 + ALIAS, %%next + ALIAS
%%next:
%endmacro

START
main:
  ENTER32
  call frames
  call two_level
  mov eax, cr0
  and eax, 0x7fffffff
  mov cr0, eax
  call pae
  jmp exit32

bits 32
restore:
  ret

report:
  test byte [showpte], 1
  jz .end
  FIELD " pte=", [PTV], 8
  FIELD ",", [PTV + 4], 8
  mov edx, [pdeat]
  FIELD " pde=", [edx], 8
.end:
  ret

; Code that returns, in both frames; data.
frames:
  mov edi, FRAME
  mov ecx, 0x2000 / 4
  mov eax, 0xc3c3c3c3
  rep stosd
  ret

clear_tables:
  mov edi, PD
  mov ecx, 0x5000 / 4
  xor eax, eax
  rep stosd
  ret

two_level:
  call clear_tables
  mov dword [PD], PT0 | 3
  mov dword [PD + (ALIAS >> 22) * 4], 0x87
  mov edi, PT0
  mov eax, 3
  mov ecx, 1024
.fill:
  stosd
  add eax, 0x1000
  loop .fill
  mov dword [pdeat], PD + (VICTIM >> 22) * 4
  mov dword [step], 4
  mov eax, cr4
  or eax, CR4_PSE | CR4_PGE
  mov cr4, eax
  mov eax, PD
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  PS "two levels"
  ENDROW
  call rights_table
  call reserved_two
  call crossing
  call implicit
  call caching
  ret

; Sets the victim's entries from [pdeflags] and [pteflags], as they would be fresh, and forgets translations.
set_victim:
  push eax
  push edx
  mov edx, [pdeat]
  mov eax, [pdeflags]
  or eax, PTV
  mov [edx], eax
  mov eax, [pteflags]
  or eax, FRAME
  mov [PTV], eax
  mov edx, [step]
  mov eax, [pteflags]
  or eax, FRAME + 0x1000
  mov [PTV + edx], eax
  mov eax, [nx]
  test edx, 8
  jz .old
  mov [PTV + 4], eax
  mov [PTV + 12], eax
.old:
  mov eax, cr3
  mov cr3, eax
  pop edx
  pop eax
  ret

%macro CALL_VICTIM 0
  mov eax, VICTIM
  call eax
%endmacro

; One access in a ring; then the flags the walk left behind.
%macro ACCESS 2 ; ring, code
  call set_victim
  CASE
%if %1 == 3
  USERPAGE
%endif
  %2
  RESULT
  PX [PTV], 3
  mov al, ' '
  out PORT_LOG, al
%endmacro

; Every combination of P RW US of the page, RW US of the directory; WP; SMEP and SMAP; reads, writes and fetches of both rings.
rights_table:
  mov dword [combo], 0
.row:
  mov eax, [combo]
  and eax, 7
  mov [pteflags], eax
  mov eax, [combo]
  shr eax, 2
  and eax, 6
  or eax, 1
  mov [pdeflags], eax
  mov eax, cr0
  and eax, ~CR0_WP
  test byte [combo], 0x20
  jz .nowp
  or eax, CR0_WP
.nowp:
  mov cr0, eax
  mov eax, cr4
  and eax, ~(CR4_SMEP | CR4_SMAP)
  test byte [combo], 0x40
  jz .nosm
  or eax, CR4_SMEP
.nosm:
  test byte [combo], 0x80
  jz .nosmap
  or eax, CR4_SMAP
.nosmap:
  mov cr4, eax
  ROW "rights ", [combo], 2
  ACCESS 0, {mov eax, [VICTIM]}
  ACCESS 0, {mov [VICTIM + 4], eax}
  ACCESS 0, {CALL_VICTIM}
  ACCESS 3, {mov eax, [ss:VICTIM]}
  ACCESS 3, {mov [ss:VICTIM + 4], eax}
  ACCESS 3, {CALL_VICTIM}
  call with_ac
  ENDROW
  inc dword [combo]
  cmp dword [combo], 0x100
  jb .row
  mov eax, cr4
  and eax, ~(CR4_SMEP | CR4_SMAP)
  mov cr4, eax
  ret

; EFLAGS.AC lifts SMAP for explicit accesses.
with_ac:
  call set_victim
  CASE
  push dword 0x40002
  popfd
  mov eax, [VICTIM]
  mov [VICTIM], eax
  RESULT
  push dword 2
  popfd
  ret

victim_rw:
  mov dword [pdeflags], 7
  mov dword [pteflags], 7
  jmp set_victim

reserved_two:
  mov eax, cr0
  or eax, CR0_WP
  mov cr0, eax
  mov byte [showpte], 1
  call victim_rw
  mov eax, [pdeat]
  mov dword [eax], 0x00000087 ; 4 MiB at 0
  TEST "large page"
  mov eax, [VICTIM + FRAME]
  mov [VICTIM + FRAME + 8], eax
  DONE
  mov eax, [pdeat]
  mov dword [eax], 0x00200087 ; bit 21 is reserved
  SDM "large page, reserved bit", "v=0e e=00000009", "4.7"
  mov eax, cr3
  mov cr3, eax
  mov eax, [VICTIM]
  DONE
  mov eax, [pdeat]
  mov dword [eax], 0x00004087 ; physical bit 33 by PSE-36: beyond memory, or reserved
  mov eax, cr4
  and eax, ~CR4_PSE
  mov cr4, eax
  call victim_rw
  mov eax, [pdeat]
  or dword [eax], 0x80
  TEST "PS without CR4.PSE"
  mov eax, cr3
  mov cr3, eax
  mov eax, [VICTIM]
  DONE
  mov eax, cr4
  or eax, CR4_PSE
  mov cr4, eax
  call victim_rw
  mov dword [PTV], FRAME | 0x87
  TEST "PAT bit of a small page"
  mov eax, [VICTIM]
  DONE
  call victim_rw
  mov byte [showpte], 0
  ret

; Accesses over the end of a page, the second page missing or of other rights. Nothing may be written, CR2 names the second page.
crossing:
  call victim_rw
  mov eax, [step]
  mov byte [PTV + eax], 0
  mov eax, cr3
  mov cr3, eax
  %macro CROSS 2-3 ; name, code, the manual's result where QEMU reports a read
%if %0 == 3
  SDM %1, %3, "4.7"
%else
  TEST %1
%endif
  %2
  DONE
  FIELD "left ", [FRAME + 0xff8], 8
  FIELD " ", [FRAME + 0xffc], 8
  ENDROW
  %endmacro
  CROSS "load over a missing page", {mov eax, [VICTIM + 0xffe]}
  CROSS "store over a missing page", {mov [VICTIM + 0xffe], eax}
  CROSS "update over a missing page", {add [VICTIM + 0xffd], eax}, "v=0e e=00000002"
  CROSS "exchange over a missing page", {xchg [VICTIM + 0xffd], eax}, "v=0e e=00000002"
  CROSS "qword load over a missing page", {fld qword [VICTIM + 0xffc]}
  CROSS "qword store over a missing page", {movq [VICTIM + 0xffc], mm0}
  CROSS "SSE load over a missing page", {movups xmm0, [VICTIM + 0xff8]}
  CROSS "SSE store over a missing page", {movups [VICTIM + 0xff8], xmm0}
  SDM "FXSAVE over a missing page", "v=0e e=00000002", "vol. 2 FXSAVE"
  fxsave [VICTIM + 0xf00]
  DONE
  SDM "FNSAVE over a missing page", "v=0e e=00000002", "vol. 2 FSAVE"
  fnsave [VICTIM + 0xfc0]
  DONE
  call frames
  CROSS "SGDT over a missing page", {sgdt [VICTIM + 0xffd]}
  TEST "rep stos over a missing page"
  mov edi, VICTIM + 0xff0
  mov ecx, 10
  rep stosd
  DONE
  TEST "rep movs over a missing page"
  mov esi, VICTIM + 0xff2
  mov edi, VICTIM
  mov ecx, 10
  rep movsd
  DONE
  TEST "push over a missing page"
  USERPAGE
  mov esp, VICTIM + 0x1002
  push eax
  DONE
  SDM "pusha over a missing page", "v=0e e=00000006 cr2=00c01004", "vol. 2 PUSHA"
  USERPAGE
  mov esp, VICTIM + 0x1008
  pushad
  DONE
  SDM "popa over a missing page", "v=0e e=00000004 cr2=00c01000 r=a0a0a0a0,b0b0b0b0,c0c0c0c0,d0d0d0d0,51515151,d1d1d1d1,b9b9b9b9", "6.5"
  USERPAGE
  mov esp, VICTIM + 0xff8
  popad
  DONE
  SDM "far return over a missing page", "v=0e e=00000004 cr2=00c01000", "4.6.1"
  USERPAGE
  mov esp, VICTIM + 0xffc
  retf
  DONE
  TEST "call over a missing page"
  USERPAGE
  mov esp, VICTIM + 0x1004
  call .nowhere
.nowhere:
  DONE
  TEST "enter: the final stack"
  USERPAGE
  mov esp, VICTIM + 0x2010
  enter 0x1010, 0
  DONE
  TEST "fetch over a missing page"
  mov byte [FRAME + 0xfff], 0xb8
  mov eax, VICTIM + 0xfff
  call eax
  DONE
  TEST "fetch of the missing page"
  mov byte [FRAME + 0xfff], 0x90
  mov eax, VICTIM + 0xfff
  call eax
  DONE
  TEST "prefix over a missing page"
  mov byte [FRAME + 0xffe], 0x66
  mov byte [FRAME + 0xfff], 0x67
  USERPAGE
  mov eax, VICTIM + 0xffe
  call eax
  DONE
  TEST "undefined opcode at the end of a page"
  mov word [FRAME + 0xffe], 0x0b0f
  mov eax, VICTIM + 0xffe
  call eax
  DONE
  TEST "first bytes of an undefined opcode"
  mov byte [FRAME + 0xfff], 0x0f
  mov eax, VICTIM + 0xfff
  call eax
  DONE
  call frames
  ; The second page is there, but not for writing.
  call victim_rw
  mov eax, [step]
  and dword [PTV + eax], ~2
  mov eax, cr3
  mov cr3, eax
  CROSS "store over a read-only page", {mov [VICTIM + 0xffe], eax}
  CROSS "update over a read-only page", {sub [VICTIM + 0xffe], ax}
  CROSS "cmpxchg over a read-only page", {lock cmpxchg [VICTIM + 0xffe], ecx}
  CROSS "shift by zero over a read-only page", {shl dword [VICTIM + 0xffe], 32}
  TEST "test over a read-only page"
  test dword [VICTIM + 0xffe], 1
  DONE
  ret

; Descriptor tables and TSS are read as supervisor whatever the ring; SMAP does not let AC lift it for them.
implicit:
  call victim_rw
  and dword [PTV], ~4
  mov eax, cr3
  mov cr3, eax
  mov esi, gdt
  mov edi, FRAME
  mov ecx, 0x40
  rep movsd
  mov word [gdtr2], 0xff
  mov dword [gdtr2 + 2], VICTIM
  TEST "table in a supervisor page, from ring 3"
  lgdt [gdtr2]
  USERPAGE
  mov ax, DATA3
  mov gs, ax
  mov edx, gs
  DONE
  lgdt [gdtr]
  SET_DESC LDT, VICTIM, 0xff, 0x82, 0
  mov ax, LDT
  lldt ax
  TEST "local table in a missing page"
  and byte [PTV], ~1
  mov eax, cr3
  mov cr3, eax
  USERPAGE
  mov ax, DATA3 | 4
  mov gs, ax
  DONE
  call victim_rw
  TEST "local table in a supervisor page"
  and byte [PTV], ~4
  mov eax, cr3
  mov cr3, eax
  USERPAGE
  mov ax, DATA3 | 4
  mov gs, ax
  mov edx, gs
  DONE
  call victim_rw
  SDM "accessed bit in a read-only page", "v=0e e=00000003", "3.4.5.1, 4.6.1"
  mov byte [FRAME + SLOT_A + 5], 0xf2
  mov dword [FRAME + SLOT_A], 0xffff
  and byte [PTV], ~2
  mov eax, cr3
  mov cr3, eax
  USERPAGE
  mov ax, SLOT_A | 7
  mov gs, ax
  DONE
  call victim_rw
  SDM "local table in a user page with SMAP", "v=0e e=00000001", "4.6.1"
  mov eax, cr4
  or eax, CR4_SMAP
  mov cr4, eax
  push dword 0x40002
  popfd
  mov ax, DATA3 | 4
  mov gs, ax
  DONE
  push dword 2
  popfd
  mov eax, cr4
  and eax, ~CR4_SMAP
  mov cr4, eax
  TEST "interrupt table that ends in a missing page"
  mov word [idtr2], 0x90 * 8 - 1
  mov dword [idtr2 + 2], VICTIM
  mov esi, IDT_AT
  mov edi, FRAME
  mov ecx, 0x90 * 2
  rep movsd
  mov dword [FRAME + 0x20 * 8], 0
  lidt [idtr2]
  int 0x20
  DONE
  lidt [idtr]
  TEST "inner stack in a missing page"
  and byte [PTV], ~1
  mov eax, cr3
  mov cr3, eax
  mov dword [TSS_AT + 12], VICTIM + 0x800
  SET_GATE gdt + GATE, CODE1, .pad, 0xec, 0
  USERPAGE
  call GATE:0
.pad:
  DONE
  mov dword [TSS_AT + 12], STACK0 - 0xa00
  call frames
  call victim_rw
  ret

; What stays translated when the tables change, and what does not.
caching:
  mov eax, 0x11112222
  mov [FRAME], eax
  mov eax, 0x33334444
  mov [FRAME + 0x1000], eax
  call victim_rw
  TEST "INVLPG"
  mov eax, [VICTIM]
  mov dword [PTV], (FRAME + 0x1000) | 7
  invlpg [VICTIM + 0x123]
  mov ebx, [VICTIM]
  DONE
  call victim_rw
  TEST "CR3"
  mov eax, [VICTIM]
  mov dword [PTV], (FRAME + 0x1000) | 7
  mov ecx, cr3
  mov cr3, ecx
  mov ebx, [VICTIM]
  DONE
  mov dword [pteflags], 0x107
  call set_victim
  TEST "global page, CR4.PGE switched"
  mov eax, [VICTIM]
  mov dword [PTV], (FRAME + 0x1000) | 7
  mov ecx, cr4
  mov edx, ecx
  and ecx, ~CR4_PGE
  mov cr4, ecx
  mov cr4, edx
  mov ebx, [VICTIM]
  DONE
  mov dword [pteflags], 0x107
  call set_victim
  TEST "global page, INVLPG"
  mov eax, [VICTIM]
  mov dword [PTV], (FRAME + 0x1000) | 7
  invlpg [VICTIM]
  mov ebx, [VICTIM]
  DONE
  call victim_rw
  TEST "rights taken away are missed by nobody after a fault"
  mov eax, [VICTIM]
  mov dword [PTV], FRAME | 5
  invlpg [VICTIM]
  mov [VICTIM], eax
  DONE
  TEST "a page that becomes present needs no INVLPG"
  mov dword [PTV], 0
  invlpg [VICTIM]
  mov dword [PTV], FRAME | 7
  mov eax, [VICTIM]
  DONE
  call victim_rw
  mov byte [showpte], 1
  TEST "dirty only by the write"
  mov eax, [VICTIM]
  mov ecx, [PTV]
  mov [VICTIM], eax
  DONE
  call victim_rw
  SDM "not dirty by a fault", "v=0e e=00000007", "4.8"
  and byte [PTV], ~2
  USERPAGE
  mov [ss:VICTIM], eax
  DONE
  call victim_rw
  TEST "PG off and on"
  mov eax, [VICTIM]
  mov dword [PTV], (FRAME + 0x1000) | 7
  mov ecx, cr0
  mov edx, ecx
  and ecx, 0x7fffffff
  mov cr0, ecx
  mov cr0, edx
  mov ebx, [VICTIM]
  DONE
  mov byte [showpte], 0
  call frames
  ret

pae:
  call clear_tables
  mov dword [PDPT], PD | 1
  mov dword [PD], PT0 | 3
  mov dword [PD + (ALIAS >> 21) * 8], 0x87
  mov dword [PD + (ALIAS >> 21) * 8 + 8], 0x200087
  mov edi, PT0
  mov eax, 3
  mov ecx, 512
.fill:
  mov [edi], eax
  mov dword [edi + 4], 0
  add edi, 8
  add eax, 0x1000
  loop .fill
  mov dword [PD + 8], 0x200083
  mov dword [pdeat], PD + (VICTIM >> 21) * 8
  mov dword [step], 8
  mov eax, cr4
  or eax, CR4_PAE | CR4_PGE
  mov cr4, eax
  mov ecx, 0xc0000080
  xor edx, edx
  mov eax, 0x800
  wrmsr
  mov eax, PDPT
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  PS "PAE"
  ENDROW
  call rights_table
  mov dword [nx], 0x80000000
  PS "PAE, no execution"
  ENDROW
  call rights_table
  mov dword [nx], 0
  call crossing
  call implicit
  call caching
  call pae_reserved
  ret

; SHOULD name, code: what a changed entry gives
%macro ENTRY 4-5 ; name, address, low, high, the manual's result where QEMU leaves P out of the error code
  call victim_rw
  mov dword [%2], %3
  mov dword [%2 + 4], %4
%if %0 == 5
  SDM %1, %5, "4.7"
%else
  TEST %1
%endif
  mov eax, cr3
  mov cr3, eax
  mov eax, [VICTIM]
  DONE
  mov dword [%2 + 4], 0
%endmacro
VPDE equ PD + (VICTIM >> 21) * 8

pae_reserved:
  ENTRY "page, bit 40", PTV, FRAME | 7, 0x100, "v=0e e=00000009"
  ENTRY "page, bit 51", PTV, FRAME | 7, 0x80000, "v=0e e=00000009"
  ENTRY "page, bit 52", PTV, FRAME | 7, 0x100000, "v=0e e=00000009"
  ENTRY "page, bit 62", PTV, FRAME | 7, 0x40000000, "v=0e e=00000009"
  ENTRY "page, not present and reserved", PTV, FRAME | 6, 0x100
  ENTRY "directory, bit 40", VPDE, PTV | 7, 0x100, "v=0e e=00000009"
  ENTRY "directory, no execution", VPDE, PTV | 7, 0x80000000
  ENTRY "large page", VPDE, 0x87, 0
  ENTRY "large page, bit 13", VPDE, 0x2087, 0, "v=0e e=00000009"
  ENTRY "large page, bit 12 is PAT", VPDE, 0x1087, 0
  ENTRY "large page, bit 20", VPDE, 0x100087, 0, "v=0e e=00000009"
  call victim_rw
  ; A reserved bit wins over rights; a right missing in the directory is no reserved bit.
  mov dword [PTV], FRAME | 5
  mov dword [PTV + 4], 0x100
  SDM "reserved bit and missing right", "v=0e e=0000000f", "4.7"
  mov eax, cr3
  mov cr3, eax
  USERPAGE
  mov [ss:VICTIM], eax
  DONE
  mov ecx, 0xc0000080
  xor edx, edx
  xor eax, eax
  wrmsr
  ENTRY "no-execute bit without EFER.NXE", PTV, FRAME | 7, 0x80000000, "v=0e e=00000009"
  call victim_rw
  TEST "fetch error code without NXE"
  mov dword [PTV], 0
  mov eax, cr3
  mov cr3, eax
  mov eax, VICTIM
  call eax
  DONE
  ; The directory pointers are registers: a change counts when CR3 is loaded.
  call victim_rw
  mov dword [PDPT + 8], 0
  TEST "directory pointer not present"
  mov eax, cr3
  mov cr3, eax
  mov eax, [0x40000000]
  DONE
  SDM "directory pointer set, CR3 not loaded", "v=0e e=00000000", "4.4.1"
  mov dword [PDPT + 8], PD | 1
  invlpg [0x40000000]
  mov eax, [0x40000000 + FRAME]
  DONE
  TEST "directory pointer set, CR3 loaded"
  mov dword [PDPT + 8], PD | 1
  mov eax, cr3
  mov cr3, eax
  mov eax, [0x40000000 + FRAME]
  DONE
  SDM "directory pointer with a reserved bit", "v=0d e=00000000", "4.4.1"
  mov dword [PDPT + 8], PD | 3
  mov eax, cr3
  mov cr3, eax
  mov eax, [0x40000000 + FRAME]
  DONE
  mov dword [PDPT + 8], 0
  mov eax, cr3
  mov cr3, eax
  ret

section .data
combo: dd 0
pdeflags: dd 7
pteflags: dd 7
pdeat: dd 0
step: dd 4
nx: dd 0
gdtr2: times 3 dw 0
idtr2: times 3 dw 0
showpte: db 0
section .text
PROTECTED_CODE
