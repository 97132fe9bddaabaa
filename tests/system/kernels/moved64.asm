; Code with addresses of a kernel's image in it, as constants and as displacements. A test runs it a second time with all of them
; moved, with the translations of the first time: what a loader does to a kernel that moves itself at every boot.
%include "long.inc"
ROUNDS equ 40 ; enough for translations of every tier
MARK equ 0xffffffff81237654
MARK32 equ 0x81237654
OTHER32 equ 0x81230018
ALIGNED equ 0xffffffff81230000
MASK equ 0x80000000 ; no address
START
main:
  ENTER64
  call moved_tests
  jmp exit64

bits 64
; rbx: what makes [rbx + MARK] the frame, wherever the mark is
to_frame:
  mov ebx, FRAME
  mov rcx, MARK
  sub rbx, rcx
  ret

moved_block: ; one block
  add rax, [rbx + MARK]
  add rax, MARK
  mov rdx, strict qword MARK
  xor rax, rdx
  mov dword [rbx + MARK], MARK32
  mov dword [rbx + MARK + 4], OTHER32
  lea rsi, [rdi * 8 + MARK]
  add rax, rsi
  mov r8d, MARK32
  add rax, r8
  imul r9, rcx, MARK
  add rax, r9
  and r8d, MASK
  sub rax, r8
  ret

moved_loop: ; a region
  mov edx, 200
.next:
  add rax, MARK
  rol rax, 5
  xor eax, OTHER32
  mov rsi, [rbx + MARK]
  add rax, rsi
  mov [rbx + MARK + 8], rax
  cmp rcx, MARK
  je .same
  xor rax, rax
.same:
  test eax, MASK
  jz .even
  sub rax, MARK
.even:
  dec edx
  jnz .next
  ret

; The operand `[gs:rip + MARK32]` of an instruction with that opcode and ModRM byte: as a kernel reaches a CPU's own data.
%macro OWN 2
  db 0x65, %1, %2
  dd MARK32
%endmacro

; GS: what makes [gs:rip + MARK] the frame, for a RIP behind .own
own_base:
  mov eax, FRAME
  mov rcx, MARK
  sub rax, rcx
  lea rcx, [rel moved_own]
  sub rax, rcx
  mov rdx, rax
  shr rdx, 32
  mov ecx, 0xc0000101 ; IA32_GS_BASE
  wrmsr
  ret

moved_own: ; one block, then a region
  OWN 0xff, 0x05 ; inc dword
  OWN 0x8b, 0x15 ; mov edx
  add rax, rdx
  mov edx, 100
.next:
  OWN 0x01, 0x05 ; add [], eax
  OWN 0x03, 0x05 ; add eax, []
  rol rax, 5
  cmp rax, ALIGNED
  jb .below
  add rax, ALIGNED
.below:
  dec edx
  jnz .next
  ret

moved_tests:
  TEST "data of a CPU"
  call own_base
  xor eax, eax
  mov r12d, ROUNDS
.own:
  call moved_own
  dec r12d
  jnz .own
  DONE
  TEST "blocks"
  call to_frame
  xor eax, eax
  mov edi, 3
  mov r12d, ROUNDS
.blocks:
  call moved_block
  dec r12d
  jnz .blocks
  DONE
  TEST "loops"
  call to_frame
  xor eax, eax
  mov r12d, ROUNDS
.loops:
  call moved_loop
  dec r12d
  jnz .loops
  DONE
  TEST "flags"
  mov rcx, MARK
  cmp rcx, MARK + 1
  DONE
  ret
LONG_CODE
