; What a translation takes for granted about where jumps go: loops that are entered past their heads, with flags that cross the jump,
; blocks that go on behind loads of segments and flags, and calls to an address whose code another address space, INVLPG or a change of
; paging exchanges. SDM vol. 3, 4.10.4.
%include "protected.inc"
PD_A equ 0x40000
PD_B equ 0x41000
PT_A equ 0x42000
PT_B equ 0x43000
FRAME equ 0x50000 ; two frames of code that calls to the victim find
VICTIM equ 0x00c00000
ROUNDS equ 40
TURNS equ 300
CR0_PG equ 0x80000000
CR4_PSE equ 0x10
CR4_PGE equ 0x80
PTE_G equ 0x100

START
main:
  ENTER32
  call loop_tests
  call space_tests
  jmp exit32

bits 32
; eax takes it all in. One loop, of which the turns around it enter the head, the middle or the end, and leave again soon.
entered_late:
  mov ebp, TURNS
  xor eax, eax
.turn:
  mov ecx, 4
  test ebp, 1
  jz .even
  cmp eax, ebp
  jmp .middle
.even:
  test ebp, 2
  jz .head
  sub edx, eax
  jmp .end
.head:
  adc eax, ecx
  rol eax, 3
  inc edx
.middle:
  adc eax, ebp
  xor edx, eax
.end:
  sbb edx, 5
  dec ecx
  jz .out
  cmp al, 0xc0
  ja .head
.out:
  dec ebp
  jnz .turn
  ret

; A loop whose first block only its end leads to: it is entered at its test.
entered_at_test:
  mov ebp, TURNS
  xor eax, eax
.turn:
  lea ecx, [ebp + 7]
  and ecx, 15
  jmp .test
.body:
  adc eax, ecx
  ror eax, 5
.test:
  sub ecx, 1
  jns .body
  add edx, eax
  dec ebp
  jnz .turn
  ret

; Two loops in one another, of which each turn enters the inner one in its middle, from two places.
entered_inside:
  mov ebp, TURNS
  xor eax, eax
.turn:
  mov ecx, 5
  bt ebp, 2
  jc .second
.outer:
  add eax, ebp
  jmp .inner
.first:
  rcl eax, 1
  xor eax, ebp
.inner:
  neg edx
.second:
  adc edx, eax
  dec ecx
  jz .done
  test edx, 1
  jnz .first
  test edx, 2
  jnz .outer
.done:
  dec ebp
  jnz .turn
  ret

; Every second turn DS has a base, which the instructions behind its load see at once; so do pushed and popped segments.
other_segment:
  SET_DESC SLOT_A, 4, 0xfffff, 0x93, 0xc
  mov dword [FRAME], 0x1234567
  mov dword [FRAME + 4], 0x89abcdef
  mov ebp, TURNS
  xor eax, eax
.turn:
  mov ecx, DATA0
  test ebp, 1
  jz .flat
  mov ecx, SLOT_A
.flat:
  mov ds, ecx
  add eax, [FRAME]
  rol eax, 5
  push ds
  pop es
  xor eax, [es:FRAME]
  push dword DATA0
  pop ds
  add edx, [FRAME]
  dec ebp
  jnz .turn
  mov ecx, DATA0
  mov es, ecx
  ret

; Flags that were popped are there for the next instruction, in its block; between STI and CLI interrupts might come, but all are masked.
popped_flags:
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  mov ebp, TURNS
  xor eax, eax
.turn:
  mov ecx, ebp
  and ecx, 0x8d5 ; all arithmetic flags, DF is clear
  or ecx, 2
  push ecx
  popfd
  adc eax, ebp
  pushfd
  sti
  pop ecx
  cli
  xor edx, ecx
  rol edx, 3
  dec ebp
  jnz .turn
  ret

%macro FLOW 2
  TEST %1
  xor edx, edx
  call %2
  DONE
%endmacro

loop_tests:
  FLOW "entered past its head", entered_late
  FLOW "entered at its test", entered_at_test
  FLOW "inner loop entered from outside both", entered_inside
  FLOW "segments change within a block", other_segment
  FLOW "flags are popped within a block", popped_flags
  ret

; edi: flags of the low pages, esi: of the victim's
set_spaces:
  mov dword [FRAME], 0xff03c06b ; imul eax, eax, 3; inc eax; ret
  mov dword [FRAME + 4], 0x9090c3c0
  mov dword [FRAME + 0x1000], 0x90c3d803 ; add ebx, eax; ret
  lea eax, [edi + 0x83]
  mov [PD_A], eax
  mov [PD_B], eax
  mov dword [PD_A + (VICTIM >> 22) * 4], PT_A | 3
  mov dword [PD_B + (VICTIM >> 22) * 4], PT_B | 3
  lea eax, [esi + FRAME]
  mov [PT_A], eax
  lea eax, [esi + FRAME + 0x1000]
  mov [PT_B], eax
  mov eax, cr4
  or eax, CR4_PSE | CR4_PGE
  mov cr4, eax
  mov eax, PD_A
  mov cr3, eax
  mov eax, cr0
  or eax, CR0_PG
  mov cr0, eax
  ret

; Calls by a register and by memory, both from the same places: 4 of them.
call_victim:
  mov ecx, 2
.again:
  mov edx, VICTIM
  call edx
  call [target]
  dec ecx
  jnz .again
  ret

by_cr3:
  mov ebp, ROUNDS
.round:
  call call_victim
  mov edx, PD_B
  mov cr3, edx
  call call_victim
  mov edx, PD_A
  mov cr3, edx
  dec ebp
  jnz .round
  ret

by_invlpg:
  mov ebp, ROUNDS
.round:
  call call_victim
  xor dword [PT_A], 0x1000
  invlpg [VICTIM]
  dec ebp
  jnz .round
  ret

by_cr4:
  mov ebp, ROUNDS
.round:
  call call_victim
  xor dword [PT_A], 0x1000
  mov edx, cr4
  xor edx, CR4_PGE
  mov cr4, edx
  dec ebp
  jnz .round
  ret

; Without paging the victim's address is another frame.
by_paging:
  mov ebp, ROUNDS
.round:
  call call_victim
  mov edx, cr0
  xor edx, CR0_PG
  mov cr0, edx
  dec ebp
  jnz .round
  ret

%macro SPACE 4 ; name, routine, flags of the low pages, flags of the victim's page
  mov edi, %3
  mov esi, %4 | 3
  call set_spaces
  TEST %1
  mov eax, 1
  xor ebx, ebx
  call %2
  DONE
  mov eax, cr0
  and eax, ~CR0_PG
  mov cr0, eax
%endmacro

%macro SPACES 2
  SPACE %1, %2, 0, 0
  SPACE %strcat(%1, ", global kernel"), %2, PTE_G, 0
  SPACE %strcat(%1, ", all global"), %2, PTE_G, PTE_G
%endmacro

space_tests:
  mov dword [VICTIM], 0x90c3d831 ; xor eax, ebx; ret
  SPACE "exchanged by CR3", by_cr3, 0, 0
  SPACE "exchanged by CR3, global kernel", by_cr3, PTE_G, 0
  SPACES "exchanged by INVLPG", by_invlpg
  SPACES "exchanged by CR4", by_cr4
  SPACES "exchanged by CR0", by_paging
  ret

section .data
target: dd VICTIM
section .text
PROTECTED_CODE
