; Four-level paging: every access to every kind of page, reserved bits at every level, large pages, what stays translated.
; SDM vol. 3, 4.5 to 4.10.
%include "long.inc"
CR0_WP equ 0x10000
SMEP equ 0x100000
SMAP equ 0x200000
START
main:
  ENTER64
  mov edi, FRAME
  mov ecx, 0x2000
  mov al, 0xc3
  rep stosb
  call rights
  call levels
  call large
  call caching
  call crossing
  jmp exit64

bits 64
; The victim's entries as they would be fresh: [upper] flags above, [flags] and [high] below.
set_victim:
  push rax
  mov rax, [upper]
  lea rax, [rax + PDPTV]
  mov [PML4 + 8], rax
  mov rax, [upper]
  lea rax, [rax + PDV]
  mov [PDPTV], rax
  mov rax, [upper]
  lea rax, [rax + PTV]
  mov [PDV], rax
  mov rax, [flags]
  or rax, FRAME
  mov [PTV], rax
  add rax, 0x1000
  mov [PTV + 8], rax
  mov rax, cr3
  mov cr3, rax
  pop rax
  ret

victim_rw:
  mov qword [upper], 7
  mov qword [flags], 7
  jmp set_victim

%macro ACCESS 2
  call set_victim
  CASE
  mov rbx, VICTIM
%if %1 == 3
  USER
%endif
  %2
  RESULT
  PX [PTV], 3
  mov al, ' '
  out PORT_LOG, al
%endmacro

rights:
  mov dword [combo], 0
.row:
  mov eax, [combo]
  and eax, 7
  mov [flags], rax
  test dword [combo], 8
  jz .executable
  bts qword [flags], 63
.executable:
  mov eax, [combo]
  shr eax, 3
  and eax, 6
  or eax, 1
  mov [upper], rax
  mov rax, cr0
  and rax, ~CR0_WP
  test dword [combo], 0x40
  jz .nowp
  or rax, CR0_WP
.nowp:
  mov cr0, rax
  mov rax, cr4
  and rax, ~(SMEP | SMAP)
  test dword [combo], 0x80
  jz .nosmep
  or rax, SMEP
.nosmep:
  test dword [combo], 0x100
  jz .nosmap
  or rax, SMAP
.nosmap:
  mov cr4, rax
  ROW "rights ", [combo], 3
  ACCESS 0, {mov rax, [rbx]}
  ACCESS 0, {mov [rbx + 8], rax}
  ACCESS 0, {call rbx}
  ACCESS 3, {mov rax, [rbx]}
  ACCESS 3, {mov [rbx + 8], rax}
  ACCESS 3, {call rbx}
  call set_victim
  CASE
  mov rbx, VICTIM
  push 0x40002
  popfq
  mov rax, [rbx]
  mov [rbx + 8], rax
  RESULT
  ENDROW
  inc dword [combo]
  cmp dword [combo], 0x200
  jb .row
  mov rax, cr4
  and rax, ~(SMEP | SMAP)
  mov cr4, rax
  mov rax, cr0
  or rax, CR0_WP
  mov cr0, rax
  call victim_rw
  TEST "stac and clac"
  mov rax, cr4
  or rax, SMAP
  mov cr4, rax
  mov rbx, VICTIM
  stac
  mov rcx, [rbx]
  clac
  mov rdx, [rbx]
  DONE
  TEST "stac in ring 3"
  USER
  stac
  DONE
  mov rax, cr4
  and rax, ~SMAP
  mov cr4, rax
  ret

; Each level on its own: rights and no-execute taken away, reserved and ignored bits set. QEMU leaves P out of the error code
; of reserved bits.
%macro LEVEL 4-5 ; name, entry, bits to clear, bits to set, the manual's result
  call victim_rw
%if %0 == 5
  SDM %1, %5, "4.7"
%else
  TEST %1
%endif
  mov rax, %3
  not rax
  and [%2], rax
  mov rax, %4
  or [%2], rax
  mov rax, cr3
  mov cr3, rax
  mov rbx, VICTIM
  add rbx, [offset]
  mov rcx, [rbx]
  mov [rbx + 8], rcx
  call rbx
  USER
  mov [rbx + 16], rcx
  call rbx
  DONE
%endmacro
%define RSVD "v=0e e=00000009"

levels:
  LEVEL "PML4 not present", PML4 + 8, 1, 0
  LEVEL "PDPT not present", PDPTV, 1, 0
  LEVEL "PD not present", PDV, 1, 0
  LEVEL "PML4 read-only", PML4 + 8, 2, 0
  LEVEL "PDPT read-only", PDPTV, 2, 0
  LEVEL "PML4 supervisor", PML4 + 8, 4, 0
  LEVEL "PDPT supervisor", PDPTV, 4, 0
  LEVEL "PD supervisor", PDV, 4, 0
  LEVEL "PML4 no execution", PML4 + 8, 0, 1 << 63
  LEVEL "PDPT no execution", PDPTV, 0, 1 << 63
  LEVEL "PD no execution", PDV, 0, 1 << 63
  LEVEL "PML4 with PS", PML4 + 8, 0, 0x80, RSVD
  LEVEL "PML4 bit 40", PML4 + 8, 0, 1 << 40, RSVD
  LEVEL "PDPT bit 51", PDPTV, 0, 1 << 51, RSVD
  LEVEL "PD bit 45", PDV, 0, 1 << 45, RSVD
  LEVEL "PT bit 40", PTV, 0, 1 << 40, RSVD
  LEVEL "bits 52 to 62 of PML4", PML4 + 8, 0, 0x7ff << 52
  LEVEL "bits 52 to 62 of PT", PTV, 0, 0x7ff << 52
  LEVEL "bits 9 to 11 everywhere", PDV, 0, 0xe00
  LEVEL "reserved, not present", PDV, 1, 1 << 45
  ret

large: ; from physical address 0
  mov qword [offset], FRAME
  LEVEL "2 MiB page", PDV, 0x7ffff000, 0x80
  LEVEL "2 MiB page, PAT bit", PDV, 0x7ffff000, 0x1080
  LEVEL "2 MiB page, bit 13", PDV, 0x7ffff000, 0x2080, RSVD
  LEVEL "2 MiB page, bit 20", PDV, 0x7ffff000, 0x100080, RSVD
  LEVEL "1 GiB page", PDPTV, 0x7ffff000, 0x80
  LEVEL "1 GiB page, bit 13", PDPTV, 0x7ffff000, 0x2080, RSVD
  LEVEL "1 GiB page, bit 29", PDPTV, 0x7ffff000, 0x20000080, RSVD
  call victim_rw
  mov qword [PDPTV], 0x87
  TEST "1 GiB page: accessed, dirty, addresses"
  mov rbx, VICTIM
  mov rcx, [rbx + FRAME + 0x1000]
  mov rdx, [PDPTV]
  mov [rbx + FRAME + 8], rcx
  mov rsi, [PDPTV]
  DONE
  call victim_rw
  mov qword [PDV], 0x87
  TEST "2 MiB page: accessed, dirty, INVLPG of any part"
  mov rbx, VICTIM
  mov rcx, [rbx + FRAME]
  mov rdx, [PDV]
  mov [rbx + FRAME + 8], rcx
  mov rsi, [PDV]
  mov rax, PTV | 7
  mov [PDV], rax
  invlpg [rbx + 0x1ff000]
  mov rdi, [rbx]
  mov rcx, rbx
  DONE
  ret

caching:
  mov rax, 0x1111
  mov [FRAME], rax
  mov rax, 0x2222
  mov [FRAME + 0x1000], rax
  call victim_rw
  TEST "INVLPG"
  mov rbx, VICTIM
  mov rcx, [rbx]
  mov qword [PTV], (FRAME + 0x1000) | 7
  invlpg [rbx]
  mov rdx, [rbx]
  DONE
  TEST "INVLPG of a non-canonical address"
  mov rbx, 0x800000000000
  invlpg [rbx]
  DONE
  TEST "INVLPG in ring 3"
  USER
  invlpg [rbx]
  DONE
  call victim_rw
  TEST "CR3"
  mov rbx, VICTIM
  mov rcx, [rbx]
  mov qword [PTV], (FRAME + 0x1000) | 7
  mov rax, cr3
  mov cr3, rax
  mov rdx, [rbx]
  DONE
  mov qword [upper], 7
  mov qword [flags], 0x107
  call set_victim
  TEST "PGE switched drops global pages"
  mov rbx, VICTIM
  mov rcx, [rbx]
  mov qword [PTV], (FRAME + 0x1000) | 7
  mov rax, cr4
  mov rdx, rax
  and al, 0x7f
  mov cr4, rax
  mov cr4, rdx
  mov rdx, [rbx]
  DONE
  call victim_rw
  TEST "changed upper entry"
  mov rbx, VICTIM
  mov rcx, [rbx]
  mov qword [PDPTV], 0
  mov rax, cr3
  mov cr3, rax
  mov rdx, [rbx]
  DONE
  call victim_rw
  TEST "code page exchanged"
  mov rbx, VICTIM
  mov byte [FRAME + 0x100], 0xb8 ; mov eax, 1; ret
  mov dword [FRAME + 0x101], 1
  mov byte [FRAME + 0x105], 0xc3
  mov byte [FRAME + 0x1100], 0xb8 ; mov eax, 2; ret
  mov dword [FRAME + 0x1101], 2
  mov byte [FRAME + 0x1105], 0xc3
  add rbx, 0x100
  call rbx
  mov ecx, eax
  mov qword [PTV], (FRAME + 0x1000) | 7
  invlpg [rbx]
  call rbx
  DONE
  ret

; Pages that an access crosses.
crossing:
  call victim_rw
  and qword [PTV + 8], ~1
  mov rax, cr3
  mov cr3, rax
  TEST "16-byte store over a missing page"
  mov rbx, VICTIM
  movups [rbx + 0xff8], xmm0
  DONE
  TEST "fetch over a missing page"
  mov rbx, VICTIM
  mov word [FRAME + 0xffe], 0xb848
  add rbx, 0xffe
  call rbx
  DONE
  TEST "syscall entry in a missing page"
  mov ecx, 0xc0000082
  mov rax, VICTIM + 0x1000
  mov rdx, rax
  shr rdx, 32
  wrmsr
  mov ecx, 0xc0000081
  mov edx, 0x00180008
  xor eax, eax
  wrmsr
  USER
  syscall
  DONE
  TEST "interrupt stack in a missing page: double fault on its own stack"
  mov rax, VICTIM + 0x1800
  mov [TSS_AT + 4], rax
  mov byte [IDT_AT + 8 * 16 + 4], 1
  USER
  ud2
  DONE
  call tss_reset
  ret

section .data
align 8
combo: dq 0
upper: dq 7
flags: dq 7
offset: dq 0
section .text
LONG_CODE
