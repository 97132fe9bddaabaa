; Accesses near one another by one base register, at every place around the end of a page whose neighbour stands elsewhere in
; memory: what a translation concludes from the first about the others must hold at each.
%include "long.inc"
FIRST equ VICTIM + 0xf80
PLACES equ 0x100
ROUNDS equ 24 ; enough for translations of every tier
START
main:
  ENTER64
  call near_tests
  call fault_tests
  jmp exit64

bits 64
; The second frame, then the first.
set_pages: ; rdi: flags of the second page, of the first ones are 7
  mov eax, PDPTV | 7
  mov [PML4 + 8], rax
  mov eax, PDV | 7
  mov [PDPTV], rax
  mov eax, PTV | 7
  mov [PDV], rax
  mov eax, (FRAME + 0x1000) | 7
  mov [PTV], rax
  lea rax, [rdi + FRAME]
  mov [PTV + 8], rax
  mov rax, cr3
  mov cr3, rax
  ret

clear_frames:
  mov edi, FRAME
  xor eax, eax
  mov ecx, 0x2000 / 8
  rep stosq
  ret

; rbx: where, rdx: what; rax takes it all in
near_data:
  mov [rbx], rdx
  add rax, [rbx + 8]
  mov [rbx + 8], rax
  xor rax, [rbx]
  mov [rbx - 8], eax
  add [rbx + 12], rdx
  movzx ecx, word [rbx + 21]
  add rax, rcx
  mov [rbx + 30], al
  movdqu xmm0, [rbx + 40]
  movdqu [rbx + 3], xmm0
  lock xadd [rbx + 60], rdx
  sub rax, [rbx - 12]
  rol rax, 7
  ret

near_reads:
  mov rax, [rbx]
  add rax, [rbx + 4]
  add rax, [rbx + 40]
  add rax, [rbx - 16]
  add rax, [rbx + 100]
  cmp byte [rbx + 44], 7
  adc rax, rdx
  ret

near_stack:
  mov rbp, rsp
  mov rsp, rbx
  push rax
  push rdx
  push rbx
  pushfq
  mov ecx, [rsp + 4]
  pop rsi
  pop rdi
  push si
  pop r8w
  pop r9
  pop r10
  mov rsp, rbp
  and esi, 0x8d5
  add rax, rsi
  xor rax, rdi
  add rax, rcx
  sub rax, r9
  ret

; A routine at every place, again and again; rax and the frames are what came of it.
%macro AT_EVERY_PLACE 1
  call clear_frames
  xor eax, eax
  mov edx, 0x01020304
  mov r12d, ROUNDS
%%round:
  mov rbx, FIRST
  mov r13d, PLACES
%%place:
  call %1
  inc rbx
  dec r13d
  jnz %%place
  dec r12d
  jnz %%round
  call sum_frames
%endmacro

; rdx: sum over both frames
sum_frames:
  mov esi, FRAME
  mov ecx, 0x2000 / 8
  xor edx, edx
.next:
  rol rdx, 3
  add rdx, [rsi]
  add esi, 8
  dec ecx
  jnz .next
  mov rsi, rdx
  ret

near_tests:
  mov edi, 7
  call set_pages
  TEST "reads and writes"
  AT_EVERY_PLACE near_data
  DONE
  TEST "reads"
  AT_EVERY_PLACE near_reads
  DONE
  TEST "stack"
  AT_EVERY_PLACE near_stack
  DONE
  ret

; The first access that reaches the second page faults, and what was done before it stands.
%macro FAULTS 3 ; name, routine, distance of the base from the page's end
  call clear_frames
  TEST %1
  mov rbx, VICTIM + 0x1000 - (%3)
  mov rax, 0x1122334455667788
  mov rdx, rax
  cmp eax, 0x7fffffff
  call %2
  DONE
  TEST %strcat(%1, ", frames")
  call sum_frames
  DONE
%endmacro
%macro EVERY_FAULT 2
  FAULTS %strcat(%1, ", base in the second page"), %2, 0
  FAULTS %strcat(%1, ", base across"), %2, 7
  FAULTS %strcat(%1, ", 8 below"), %2, 8
  FAULTS %strcat(%1, ", 15 below"), %2, 15
  FAULTS %strcat(%1, ", 24 below"), %2, 24
  FAULTS %strcat(%1, ", 50 below"), %2, 50
  FAULTS %strcat(%1, ", 68 below"), %2, 68
  FAULTS %strcat(%1, ", none"), %2, 110
%endmacro

fault_tests:
  xor edi, edi
  call set_pages
  EVERY_FAULT "absent", near_data
  EVERY_FAULT "absent for reads", near_reads
  mov edi, 5
  call set_pages
  mov rax, cr0
  bts rax, 16
  mov cr0, rax
  EVERY_FAULT "read-only", near_data
  EVERY_FAULT "read-only for reads", near_reads
  ret
LONG_CODE
