; Code in several pages that one translation may be made from: loops that lie across a page's end, at every place, with functions
; called through a register in a third page. The code changes, from outside and from within the loop; so do the pages it stands in.
%include "long.inc"
FRAMES equ 0x60000 ; five: the loop's two, another second one, and two for what is called
CALLED equ VICTIM + 0x2000
TURNS equ 24
GLOBAL_PAGE equ 0x107 ; jumps from page to page are remembered for global pages
START
main:
  ENTER64
  call pages_tests
  jmp exit64

bits 64
set_pages:
  mov eax, PDPTV | 7
  mov [PML4 + 8], rax
  mov eax, PDV | 7
  mov [PDPTV], rax
  mov eax, PTV | 7
  mov [PDV], rax
  mov eax, FRAMES | GLOBAL_PAGE
  mov [PTV], rax
  mov eax, (FRAMES + 0x1000) | GLOBAL_PAGE
  mov [PTV + 8], rax
  mov eax, (FRAMES + 0x3000) | GLOBAL_PAGE
  mov [PTV + 16], rax
flush:
  mov rax, cr4
  btr rax, 7
  mov cr4, rax
  bts rax, 7
  mov cr4, rax
  ret

; What the loops call, in the fourth frame and in the fifth. rax takes what came of it.
first_called:
  add rax, 0x01234567
  rol rax, 5
  ret
.end:
second_called:
  xor rax, 0x07654321
  ror rax, 3
  ret
.end:
%macro COPY 2 ; code, where
  mov esi, %1
  mov rdi, %2
  mov ecx, %1.end - %1
  rep movsb
%endmacro

; ecx: turns, rdx: called, rbx: called by turns with it
plain_loop:
.again:
  add rax, rcx
  xor rax, 0x1234567
  call rdx
  lea rax, [rax + rax*4 + 0x11223344]
  dec ecx
  jnz .again
  ret
.end:
turning_loop:
.again:
  add rax, rcx
  call rdx
  xchg rdx, rbx
  xor rax, 0x1234567
  dec ecx
  jnz .again
  ret
.end:
; r8: a byte of the code called, as data
changing_loop:
.again:
  add rax, rcx
  call rdx
  inc byte [r8]
  call rdx
  dec ecx
  jnz .again
  ret
.end:
; r8: the entry of a page table, r10 and r12: its values by turns, r11: in the page
mapping_loop:
.again:
  add rax, rcx
  call rdx
  mov [r8], r10
  invlpg [r11]
  xchg r10, r12
  call rdx
  dec ecx
  jnz .again
  ret
.end:

; A loop, so many of its bytes in the first page.
%macro RUN_ACROSS 2
  push rax
  COPY %1, VICTIM + 0x1000 - (%2)
  pop rax
  mov ecx, TURNS
  mov rdx, CALLED
  mov rbx, CALLED + 0x40
  mov rbp, VICTIM + 0x1000 - (%2)
  call rbp
%endmacro
%macro EVERY_PLACE 1
%assign bytes 0
%rep 30
  RUN_ACROSS %1, bytes
%assign bytes bytes + 1
%endrep
%endmacro

prepare:
  call set_pages
  COPY first_called, FRAMES + 0x3000
  COPY second_called, FRAMES + 0x3040
  COPY second_called, FRAMES + 0x4000
  COPY first_called, FRAMES + 0x4040
  xor eax, eax
  ret

pages_tests:
  call prepare
  TEST "across"
  EVERY_PLACE plain_loop
  DONE
  call prepare
  TEST "called by turns"
  EVERY_PLACE turning_loop
  DONE

%macro CHANGES 2 ; bytes in the first page, as text
  call prepare
  TEST %strcat("called code changed between, ", %2)
  RUN_ACROSS plain_loop, %1
  mov byte [FRAMES + 0x3002], 0x55
  mov ecx, TURNS
  call rbp
  mov byte [FRAMES + 0x3002], 0x66
  mov ecx, TURNS
  call rbp
  DONE
  call prepare
  TEST %strcat("called code changed within, ", %2)
  mov r8d, FRAMES + 0x3002
  RUN_ACROSS changing_loop, %1
  DONE
  call prepare
  TEST %strcat("called code elsewhere, ", %2)
  RUN_ACROSS plain_loop, %1
  mov dword [PTV + 16], (FRAMES + 0x4000) | GLOBAL_PAGE
  invlpg [rdx]
  mov ecx, TURNS
  call rbp
  mov dword [PTV + 16], (FRAMES + 0x3000) | GLOBAL_PAGE
  push rax
  call flush
  pop rax
  mov ecx, TURNS
  call rbp
  DONE
  call prepare
  TEST %strcat("called code elsewhere within, ", %2)
  mov r8d, PTV + 16
  mov r10d, (FRAMES + 0x4000) | GLOBAL_PAGE
  mov r12d, (FRAMES + 0x3000) | GLOBAL_PAGE
  mov r11, CALLED
  RUN_ACROSS mapping_loop, %1
  DONE
  call prepare
  RUN_ACROSS plain_loop, %1
  TEST %strcat("called code absent, ", %2)
  mov dword [PTV + 16], 0
  invlpg [rdx]
  mov ecx, TURNS
  call rbp
  DONE
%endmacro

  CHANGES 7, "7"
  CHANGES 50, "50"

%macro SECOND_PAGE 2
  call prepare
  TEST %strcat("the loop's second page changed, ", %2)
  RUN_ACROSS plain_loop, %1
  mov byte [FRAMES + 0x1000 + 18 - %1], 0x55 ; in the LEA's displacement
  mov ecx, TURNS
  call rbp
  DONE
  call prepare
  TEST %strcat("the loop's second page elsewhere, ", %2)
  RUN_ACROSS plain_loop, %1
  mov esi, FRAMES + 0x1000
  mov edi, FRAMES + 0x2000
  mov ecx, 0x1000 / 8
  rep movsq
  mov byte [FRAMES + 0x2000 + 18 - %1], 0x55
  mov dword [PTV + 8], (FRAMES + 0x2000) | GLOBAL_PAGE
  mov rcx, VICTIM + 0x1000
  invlpg [rcx]
  mov ecx, TURNS
  call rbp
  mov dword [PTV + 8], (FRAMES + 0x1000) | GLOBAL_PAGE
  mov rcx, VICTIM + 0x1000
  invlpg [rcx]
  mov ecx, TURNS
  call rbp
  DONE
  call prepare
  RUN_ACROSS plain_loop, %1
  TEST %strcat("the loop's second page absent, ", %2)
  mov dword [PTV + 8], 0
  mov rcx, VICTIM + 0x1000
  invlpg [rcx]
  mov ecx, TURNS
  call rbp
  DONE
%endmacro
  SECOND_PAGE 7, "7"
  SECOND_PAGE 9, "9"
  ret
LONG_CODE
