; Data near other data in loops, which a translation may take for one page: at every place around a page's end, and where the page is
; mapped elsewhere, clean or closed to writes between one access and the next.
%include "long.inc"
FRAMES equ 0x60000 ; two that follow one another, and another first one
DATA equ VICTIM + 0x2000
TURNS equ 24
OPEN equ 7
CLOSED equ 5
START
main:
  ENTER64
  call spans_tests
  jmp exit64

bits 64
prepare:
  mov eax, PDPTV | 7
  mov [PML4 + 8], rax
  mov eax, PDV | 7
  mov [PDPTV], rax
  mov eax, PTV | 7
  mov [PDV], rax
  mov eax, FRAMES | OPEN
  mov [PTV + 16], rax
  mov eax, (FRAMES + 0x1000) | OPEN
  mov [PTV + 24], rax
  mov rax, cr3
  mov cr3, rax
  mov edi, FRAMES
  mov eax, 0x9e3779b9
.more:
  mov [rdi], eax
  imul eax, eax, 0x19660d
  add eax, 0x3c6ef35f
  add edi, 4
  cmp edi, FRAMES + 0x3000
  jb .more
  ret

; rdx: data, ecx: turns. rax takes what came of it.
spanning_loop:
  add rax, [rdx]
  mov [rdx + 8], rax
  add rax, [rdx + 16]
  add [rdx + 4], eax
  xor rax, [rdx - 8]
  mov [rdx + 24], ecx
  adc al, [rdx + 27]
  add rax, [rdx + 24]
  sub rax, [rdx + 3]
  rol rax, 7
  dec ecx
  jnz spanning_loop
  ret
; r8: the entry of the page table, r10 and r12: its values by turns
mapping_loop:
  add rax, [rdx]
  mov [r8], r10
  invlpg [rdx]
  xchg r10, r12
  add [rdx + 8], rax
  xor rax, [rdx + 16]
  dec ecx
  jnz mapping_loop
  ret
; The store sets the page's dirty flag behind a load that found it clean.
clean_loop:
  mov [r8], r10
  invlpg [rdx]
  add rax, [rdx]
  add rax, [r8]
  mov [rdx + 8], rax
  add rax, [r8]
  xor rax, [rdx + 16]
  rol rax, 3
  dec ecx
  jnz clean_loop
  ret
; Closed to writes in the last turn.
closing_loop:
  add rax, [rdx]
  mov [rdx + 8], rax
  cmp ecx, 1
  jne .open
  mov [r8], r10
  invlpg [rdx]
.open:
  add rax, [rdx + 16]
  mov [rdx + 24], rax
  dec ecx
  jnz closing_loop
  ret
; Through a base that moves by less than a page.
walking_loop:
  mov eax, [rdx]
  add [rdx + 4], eax
  add [rdx + 8], ecx
  add rdx, 12
  dec ecx
  jnz walking_loop
  ret

%macro RUN 3 ; name, loop, data
  call prepare
  TEST %1
  xor eax, eax
  mov ecx, TURNS
  mov rdx, %3
  mov r8d, PTV + 16
  mov r10d, NEXT
  mov r12d, FRAMES | OPEN
  call %2
  DONE
%endmacro

spans_tests:
%define NEXT (FRAMES + 0x2000) | OPEN
%assign before 44
%rep 56
  RUN %strcat("spanning, ", %num(before), " bytes before the end"), spanning_loop, DATA + 0x1000 - (before)
%assign before before - 1
%endrep
  RUN "walking", walking_loop, DATA + 0x1000 - 100
  RUN "mapped elsewhere within", mapping_loop, DATA + 0x100
%define NEXT FRAMES | OPEN
  RUN "clean", clean_loop, DATA + 0x100
%define NEXT 0
  RUN "absent", closing_loop, DATA + 0x100
%define NEXT FRAMES | CLOSED
  mov rax, cr0
  bts rax, 16
  mov cr0, rax
  RUN "closed to writes", closing_loop, DATA + 0x100
  ret
LONG_CODE
