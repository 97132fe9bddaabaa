/** A guest for lockstep: loops that get hot, interrupts of a timer, exceptions, strings, code that changes itself, HLT, typing. */

/** Immediate of the instruction that a broken translation gets wrong: no other constant looks like it. */
export const MARKED = 0x13579bd

/** For `buildTinyKernel`. Says `r`, waits for a byte, says `d` and powers off. */
export const LOCKSTEP_GUEST = `
%macro gate 2
  lea rax, [rel %2]
  mov rdi, 0x200000 + %1 * 16
  mov [rdi], ax
  mov bx, cs
  mov [rdi + 2], bx
  mov word [rdi + 4], 0x8e00
  shr rax, 16
  mov [rdi + 6], ax
  shr rax, 16
  mov [rdi + 8], rax
%endmacro
  mov rsp, 0x300000
  mov rax, cr0
  and eax, ~4
  or eax, 2
  mov cr0, rax
  mov rax, cr4
  or eax, 0x600
  mov cr4, rax
  gate 6, undefined
  gate 0, divided
  gate 0x20, timer
  lidt [rel idtr]
  mov ebx, 0xfee00000
  mov dword [rbx + 0xf0], 0x1ff
  mov dword [rbx + 0x3e0], 0xb
  mov dword [rbx + 0x320], 0x20020
  mov dword [rbx + 0x380], 300000
  xor r15d, r15d
  sti
  mov ecx, 12000
  mov rdi, 0x210000
outer:
  add eax, ${MARKED}
  rol eax, 3
  mov edx, ecx
  and edx, 0xfff
  mov [rdi + rdx * 4], eax
  adc qword [rdi + rdx * 4 + 0x4000], 5
  call work
  test ecx, 0xff
  jnz near .on
  ud2
  xor edx, edx
  mov r8d, 1
  push rax
  mov eax, 7
  xor r9d, r9d
  div r9d
  pop rax
  rdtsc
  mov [rdi + 0x20000], eax
  push rcx
  push rdi
  mov ecx, 3000
  mov esi, 0x210000
  mov edi, 0x240000
  rep movsd
  mov ecx, 77
  rep stosb
  pop rdi
  pop rcx
  inc byte [rel work.patched + 1]
.on:
  dec ecx
  jnz near outer
  mov rbx, r15
  add rbx, 3
wait_for_timer:
  hlt
  cmp r15, rbx
  jb wait_for_timer
  say 'r'
  hear
  out dx, al
  say 'd'
  poweroff
  hlt
align 4096
work:
  push rcx
  mov ecx, 40
  cvtsi2sd xmm0, eax
  mov r10, 0x220000
.inner:
  mulsd xmm0, xmm0
  movsd [r10 + rcx * 8], xmm0
.patched:
  mov dl, 1
  add [r10 + rcx], dl
  movzx r11d, byte [r10 + rcx * 2]
  cmp r11, rcx
  cmovb r11, r10
  loop .inner
  pop rcx
  ret
undefined:
  add qword [rsp], 2
  iretq
divided:
  add qword [rsp], 3
  iretq
timer:
  push rax
  inc r15
  mov eax, 0xfee000b0
  mov dword [rax], 0
  pop rax
  iretq
idtr:
  dw 0x21 * 16 - 1
  dq 0x200000
`
